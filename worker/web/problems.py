"""Errors as problem+json (RFC 9457): what is wrong, in one sentence."""

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Final, Literal

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError

from worker.database.retry import DatabaseError, Kind
from worker.errors import LockstepError, sentence
from worker.queue import wire

logger = structlog.get_logger()

RETRY_SECONDS: Final = 1
PROBLEM: Final = "application/problem+json"
_HEADERS: Final = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": 'Bearer realm="lockstep"'},
}
_OUTAGES: Final = (LockstepError, *wire.QUEUE_ERRORS)


class OrderError(BaseModel):
    """What is wrong with one order of an array."""

    index: int
    detail: str


class ProblemBody(BaseModel):
    """What is wrong (RFC 9457)."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    detail: str
    errors: Sequence[OrderError] | None = None


class Problem(Exception):  # noqa: N818  # the word of RFC 9457
    """A request that gets no more than this answer."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        errors: Sequence[OrderError] | None = None,
        *,
        retry_seconds: int = RETRY_SECONDS,
    ) -> None:
        """`retry_seconds`: when to come again; a 503 says so."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.retry_seconds = retry_seconds


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """No traceback leaves the server. Who can send a request again is told after how many seconds."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        return _answer(Problem(HTTPStatus(error.status), error.reason), error.headers.get("Allow"))
    except Exception as error:  # noqa: BLE001  # whatever it is, the client is owed an answer
        return _answer(_problem(error))


def _problem(error: Exception) -> Problem:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, Problem):
            return cause
        if isinstance(cause, ValidationError):
            return Problem(HTTPStatus.BAD_REQUEST, sentence(cause))
    for cause in causes:
        if isinstance(cause, DatabaseError) and (cause.kind is not Kind.BUG or cause.statement == "connect"):
            logger.warning("overload", error=str(cause))
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the database does not answer in time")
        if isinstance(cause, _OUTAGES):
            logger.warning("overload", error=f"{type(cause).__name__}: {cause}")
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the queue does not answer in time")
    logger.error("bug", exc_info=error)
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of this server; its log says more")


def _causes(error: Exception) -> Iterator[Exception]:
    """The error, or those of a group: of queries that ran at the same time."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error


def _answer(problem: Problem, allow: str | None = None) -> web.Response:
    headers = {"Allow": allow} if allow else _HEADERS.get(problem.status)
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers = {"Retry-After": str(problem.retry_seconds)}
    body = ProblemBody(
        title=problem.status.phrase, status=problem.status, detail=problem.detail, errors=problem.errors
    )
    return web.Response(
        text=body.model_dump_json(exclude_none=True),
        status=problem.status,
        headers=headers,
        content_type=PROBLEM,
    )
