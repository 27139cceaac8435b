"""Bodies in JSON: of requests, of the right type, no larger than allowed and read in time; and of answers."""

import asyncio
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel
from pydantic_core import to_json

from worker.web.problems import Problem

BODY_SECONDS: Final = 10.0  # who sends more slowly holds no handler
JSON: Final = "application/json"


async def read_json(request: web.Request, most_bytes: int) -> Any:  # noqa: ANN401  # whatever somebody sends
    """What the body says. Raises a Problem where it is not fit to be read."""
    return parse(await read_body(request, most_bytes))


async def read_body(request: web.Request, most_bytes: int) -> bytes:
    """Its bytes. What is too large is refused as soon as that is known."""
    if request.content_type != JSON:  # which a form of another site cannot send
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send it as {JSON}")
    check_size(request.content_length or 0, most_bytes)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT, f"the body was not there after {BODY_SECONDS:g} s"
        ) from None
    except (HttpProcessingError, web.RequestPayloadError) as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is not encoded as its header says") from error
    check_size(len(body), most_bytes)
    return body


def check_size(size: int, most_bytes: int) -> None:
    """Raise a Problem where it is too large."""
    if size > most_bytes:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has {size} bytes, {most_bytes} are allowed"
        )


def parse(body: bytes) -> Any:  # noqa: ANN401  # whatever somebody sends
    """The content of JSON. Raises a Problem where it is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}") from error


def answer(
    content: BaseModel | Sequence[BaseModel],
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A model, or an array of them, as JSON."""
    return web.Response(body=to_json(content), status=status, headers=headers, content_type=JSON)
