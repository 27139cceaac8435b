"""The door for orders: place, look up, cancel and ship. The contract is in docs/http.md."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from aiohttp import web
from pydantic import ValidationError

from jobs.contract import Conflict, Dead, Outcome
from jobs.dead_letters import dead_letters_of
from jobs.orders.order_status import Accepted, Ask, OrderNow, find_order
from jobs.orders.outcomes import AnyOutcome, NotFound
from jobs.orders.requests import MAX_ORDERS, PlaceOrder
from worker.client import Receipt
from worker.errors import printable, sentence
from worker.queue import wire
from worker.web.accepting import accept, outcome_of
from worker.web.authentication import needs_key
from worker.web.bodies import answer, check_size, parse, read_body
from worker.web.preferences import preferred_wait
from worker.web.problems import OrderError, Problem
from worker.web.servers import BUSY, CLIENT, DATABASE, QUEUE

NO_ID: Final = (
    "order_id: make it yourself (a UUID, version 7 is best), keep it, and send it again whenever you repeat the order:"
    " it is what makes a repeat safe"
)
UNPLACED: Final = "nobody can run it now: it is a dead letter, and has its outcome when that is replayed"
BEHIND: Final = "the workers are behind: nothing was done"
routes: Final = web.RouteTableDef()


@routes.post("/orders")
@needs_key
async def place(request: web.Request) -> web.Response:
    """One order or an array; of an array all are valid, or none is accepted."""
    wait_seconds, waits_until = _wait(request)
    body = await read_body(request, wire.MAX_BATCH_BYTES)
    if not body.lstrip().startswith(b"["):
        check_size(len(body), wire.MAX_REQUEST_BYTES)
    asked = parse(body)
    if isinstance(asked, list):
        results, retry_seconds = await accept(request.app, _orders(asked), waits_until)
        return _reply(results, wait_seconds, retry_seconds)
    (result,), retry_seconds = await accept(request.app, [_order(asked)], waits_until)
    if isinstance(result, Conflict):
        raise Problem(HTTPStatus.CONFLICT, f"{result.id} belongs to an order with other content")
    return _reply(result, wait_seconds, retry_seconds, Location=f"/orders/{result.order_id}")


@routes.get("/orders/{order_id}")
@needs_key
async def look_up(request: web.Request) -> web.Response:
    """What an order is now."""
    return answer(await _known(request.app, _order_id(request)))


@routes.post("/orders/{order_id}/cancel")
@needs_key
async def cancel(request: web.Request) -> web.Response:
    """Ask a worker to cancel an order."""
    return await _ask(request, "cancel", request.app[CLIENT].cancel)


@routes.post("/orders/{order_id}/ship")
@needs_key
async def ship(request: web.Request) -> web.Response:
    """Ask a worker to ship an order."""
    return await _ask(request, "ship", request.app[CLIENT].ship)


async def _ask(request: web.Request, what: Ask, send: Callable[[UUID], Awaitable[Receipt]]) -> web.Response:
    order_id, (wait_seconds, waits_until) = _order_id(request), _wait(request)
    order = await _known(request.app, order_id)
    if not isinstance(order, OrderNow):
        raise Problem(HTTPStatus.CONFLICT, f"{order_id} has no outcome yet: ask again when it has one")
    outcome: AnyOutcome | None = order.decided(what)
    if outcome is None:
        # Unlike an order it is not staged, and each time that it is asked for it is another job.
        if retry_seconds := await request.app[BUSY].retry_seconds(what):
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, BEHIND, retry_seconds=retry_seconds)
        outcome = await outcome_of(await send(order_id), waits_until)
    if isinstance(outcome, NotFound):  # purged in this moment
        raise _not_found(order_id)
    return _reply(outcome or Accepted(order_id=order_id), wait_seconds, Location=f"/orders/{order_id}")


def _wait(request: web.Request) -> tuple[int, float]:
    """The seconds that are asked for, and until when, by the clock of the event loop: they include all that comes first."""
    wait_seconds = preferred_wait(request)
    return wait_seconds, asyncio.get_running_loop().time() + wait_seconds


async def _known(application: web.Application, order_id: UUID) -> OrderNow | Accepted | Dead:
    database, job_id = application[DATABASE], str(order_id)
    found = await find_order(database, order_id)
    if isinstance(found, OrderNow):
        return found
    if await dead_letters_of(database, job_id):
        return Dead(job_id=job_id, error=UNPLACED)
    if found is None and await wire.is_queued(application[QUEUE], job_id):
        return Accepted(order_id=order_id)
    found = found or await find_order(database, order_id)  # it may have left the queue in between
    if found is None:
        raise _not_found(order_id)
    return found


def _not_found(order_id: UUID) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, f"there is no order {order_id}")


def _order_id(request: web.Request) -> UUID:
    text = request.match_info["order_id"]
    try:
        return UUID(text)
    except ValueError:
        raise Problem(HTTPStatus.BAD_REQUEST, f"order_id: {printable(text)[:80]} is no UUID") from None


def _order(asked: Any) -> PlaceOrder:  # noqa: ANN401  # whatever somebody sends
    try:
        return PlaceOrder.model_validate(asked)
    except ValidationError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, _why(asked, error)) from error


def _orders(asked: list[Any]) -> list[PlaceOrder]:
    if not 1 <= len(asked) <= MAX_ORDERS:
        raise Problem(HTTPStatus.BAD_REQUEST, f"an array has 1 to {MAX_ORDERS} orders, not {len(asked)}")
    lines = sum(map(_count_lines, asked))
    if lines > wire.MAX_BATCH_LINES:
        raise Problem(
            HTTPStatus.BAD_REQUEST, f"an array has {wire.MAX_BATCH_LINES} lines at most, not {lines}"
        )
    orders, errors = [], []
    for index, item in enumerate(asked):
        try:
            orders.append(PlaceOrder.model_validate(item))
        except ValidationError as error:
            errors.append(OrderError(index=index, detail=_why(item, error)))
    if errors:
        detail = f"{len(errors)} of {len(asked)} orders are invalid, so none is accepted"
        raise Problem(HTTPStatus.BAD_REQUEST, detail, errors)
    return orders


def _count_lines(asked: Any) -> int:  # noqa: ANN401  # whatever somebody sends
    lines = asked.get("lines") if isinstance(asked, dict) else None
    return len(lines) if isinstance(lines, list) else 0


def _why(asked: Any, error: ValidationError) -> str:  # noqa: ANN401  # whatever somebody sends
    return NO_ID if isinstance(asked, dict) and "order_id" not in asked else sentence(error)


def _reply(
    result: Outcome | Sequence[Outcome], wait_seconds: int, retry_seconds: int = 0, **headers: str
) -> web.Response:
    """202 as long as a part of it has no outcome yet."""
    results = result if isinstance(result, Sequence) else [result]
    waits = any(isinstance(each, Accepted) for each in results)
    if retry_seconds:
        headers["Retry-After"] = str(retry_seconds)
    elif wait_seconds:
        headers["Preference-Applied"] = f"wait={wait_seconds}"
    return answer(result, HTTPStatus.ACCEPTED if waits else HTTPStatus.OK, headers)
