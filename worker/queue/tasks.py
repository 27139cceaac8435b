"""The arq functions: a request comes in, an outcome goes out, and no error loses a job."""

import asyncio
import random
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, ExitStack
from contextvars import copy_context
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from arq.worker import Function, Retry, RetryJob, func
from pydantic import BaseModel, ValidationError

from jobs.contract import Dead, Invalid, Outcome
from jobs.orders.cancel_order import Taken, cancel_order, read_taken
from jobs.orders.known_orders import KnownOrder, find_placed_order
from jobs.orders.outcomes import PlaceOutcome
from jobs.orders.requests import MAX_ORDERS, CancelOrder, PlaceOrder, Restock, ShipOrder
from jobs.orders.ship_order import ship_order
from worker import metrics, tracing
from worker.database.retry import DatabaseError
from worker.database.transactions import Database
from worker.errors import sentence
from worker.queue import wire
from worker.queue.dead_letters import A_BUG, dead_letter
from worker.queue.group_commit import GroupCommit, OverdueError
from worker.queue.idempotency import restock_once

logger = structlog.get_logger()

DATABASE_KEY: Final = "database"  # in arq's ctx
GROUP_COMMIT_KEY: Final = "group_commit"
DEAD_LETTERS_KEY: Final = "dead_letters"
JOB_SECONDS_KEY: Final = "job_seconds"
OUTAGE_DEFER_SECONDS: Final = 3.0  # the longest: orders go on soon after the server is back
Context = dict[Any, Any]
Orders = GroupCommit[PlaceOrder, PlaceOutcome]
Asked = TypeVar("Asked", bound=BaseModel)
Result = TypeVar("Result")
Run = Callable[[Context, Asked], Coroutine[Any, Any, Outcome]]


def _is_again(ctx: Context) -> bool:
    return bool(ctx["job_try"] > 1)


async def _place_order(ctx: Context, order: PlaceOrder) -> Outcome:
    group_commit: Orders = ctx[GROUP_COMMIT_KEY]
    return await group_commit.run(order, again=_is_again(ctx))


async def _place_all(
    ctx: Context, orders: list[PlaceOrder], traceparents: Sequence[str | None]
) -> list[Outcome]:
    """The orders of a bulk job: one that nobody can place is buried by itself, under its own id."""
    results = await _place_traced(ctx, orders, traceparents)
    for result in results:
        if isinstance(result, Exception) and _is_transient(result):
            raise result
    failed = [
        (str(order.order_id), wire.PLACE_ORDER, order, result)
        for order, result in zip(orders, results, strict=True)
        if isinstance(result, Exception)
    ]
    dead = iter(await _bury(ctx, failed))
    return [next(dead) if isinstance(result, Exception) else result for result in results]


async def _place_traced(
    ctx: Context, orders: list[PlaceOrder], traceparents: Sequence[str | None]
) -> list[PlaceOutcome | Exception]:
    """Together, in one span; in a span per order if each comes from a trace of its own, since they share a job by chance."""
    group_commit: Orders = ctx[GROUP_COMMIT_KEY]
    spans = traceparents[:1] if len(set(traceparents)) == 1 else traceparents
    with ExitStack() as stack:
        own = [_enter_apart(stack, _span(ctx, wire.PLACE_ORDERS, one)) for one in spans]
        own *= len(orders) // max(1, len(own))
        return await group_commit.run_each(orders, own, again=_is_again(ctx))


def _enter_apart(stack: ExitStack, span: AbstractContextManager[str | None]) -> str | None:
    """Begin a span that is not below those that were begun before it."""
    context = copy_context()

    def leave(*error: Any) -> bool | None:  # noqa: ANN401  # as of every context manager
        return context.run(span.__exit__, *error)

    own = context.run(span.__enter__)
    stack.push(leave)
    return own


def _one_of_many(run: Run[Asked]) -> Run[Asked]:
    """For jobs with a transaction each: however many wait for rows, what serves all finds a connection."""

    async def run_in_turn(ctx: Context, request: Asked) -> Outcome:
        database: Database = ctx[DATABASE_KEY]
        try:
            async with asyncio.timeout(ctx[JOB_SECONDS_KEY]):
                await database.one_of_many.acquire()
        except TimeoutError:
            raise OverdueError(f"it had no connection within {ctx[JOB_SECONDS_KEY]} s") from None
        try:
            return await _to_its_end(run(ctx, request))
        finally:
            database.one_of_many.release()

    return run_in_turn


async def _to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """What it returns, although the caller is cancelled meanwhile: it may have been committed."""
    running = asyncio.create_task(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        return await running


@_one_of_many
async def _cancel_order(ctx: Context, request: CancelOrder) -> Outcome:
    database: Database = ctx[DATABASE_KEY]
    taken = await read_taken(database, request.order_id)
    if not isinstance(taken, Taken):
        return taken
    work = partial(cancel_order, taken=taken, traceparent=tracing.current())
    return await database.transact(work, job=wire.CANCEL_ORDER)


@_one_of_many
async def _ship_order(ctx: Context, request: ShipOrder) -> Outcome:
    database: Database = ctx[DATABASE_KEY]
    order = await find_placed_order(database, request.order_id)
    if not isinstance(order, KnownOrder):
        return order
    work = partial(ship_order, order=order, traceparent=tracing.current())
    return await database.transact(work, job=wire.SHIP_ORDER)


@_one_of_many
async def _restock(ctx: Context, request: Restock) -> Outcome:
    return await restock_once(ctx[DATABASE_KEY], request)


def _task(name: str, model: type[Asked], run: Run[Asked]) -> Function:
    async def run_or_bury(ctx: Context, request: Asked) -> Outcome:
        try:
            return await run(ctx, request)
        except Exception as error:
            if _is_transient(error):
                raise
            # An order by its own id, under which everybody looks for it, also where its job had another.
            job_id = str(request.order_id) if isinstance(request, PlaceOrder) else ctx["job_id"]
            (dead,) = await _bury(ctx, [(job_id, name, request, error)])
            return dead

    async def task(ctx: Context, payload: wire.Payload) -> dict[str, Any]:
        try:
            request = model.model_validate(payload.content)
        except ValidationError as error:
            return _answer(ctx, name, Invalid(error=sentence(error)))
        with _span(ctx, name, *payload.traceparents(1)):
            return _answer(ctx, name, await _lose_nothing(ctx, name, run_or_bury(ctx, request)))

    return func(task, name=name)


async def _place_orders(ctx: Context, payload: wire.Payload) -> list[dict[str, Any]] | dict[str, Any]:
    if not isinstance(payload.content, list) or not 1 <= len(payload.content) <= MAX_ORDERS:
        error = f"{wire.PLACE_ORDERS} takes a list of 1 to {MAX_ORDERS} orders"
        return _answer(ctx, wire.PLACE_ORDERS, Invalid(error=error))
    outcomes: list[Outcome | None] = []
    orders: list[PlaceOrder] = []
    traceparents: list[str | None] = []
    for order, traceparent in zip(payload.content, payload.traceparents(len(payload.content)), strict=True):
        try:
            orders.append(PlaceOrder.model_validate(order))
            traceparents.append(traceparent)
            outcomes.append(None)
        except ValidationError as wrong:
            outcomes.append(Invalid(error=sentence(wrong)))
    if sum(len(order.lines) for order in orders) > wire.MAX_BATCH_LINES:
        error = f"{wire.PLACE_ORDERS} takes {wire.MAX_BATCH_LINES} lines at most, over all orders"
        return _answer(ctx, wire.PLACE_ORDERS, Invalid(error=error))
    placed = iter(await _lose_nothing(ctx, wire.PLACE_ORDERS, _place_all(ctx, orders, traceparents)))
    return _answers(ctx, wire.PLACE_ORDERS, [outcome or next(placed) for outcome in outcomes])


async def _unreadable(ctx: Context, why: str, message: wire.Payload) -> dict[str, Any]:
    if message.content is None:
        logger.warning("unreadable", job_id=ctx["job_id"], error=why)
        return _answer(ctx, wire.UNREADABLE, Invalid(error=why))
    letter = dead_letter(
        ctx["job_id"], wire.UNREADABLE, b64encode(message.content).decode(), why, tries=ctx["job_try"]
    )
    await _lose_nothing(ctx, wire.UNREADABLE, ctx[DEAD_LETTERS_KEY].bury(letter))
    dead = Dead(job_id=letter.job_id, error=f"{why}; it is kept as a dead letter")
    return _answer(ctx, wire.UNREADABLE, dead)


FUNCTIONS: Final = [
    _task(wire.PLACE_ORDER, PlaceOrder, _place_order),
    func(_place_orders, name=wire.PLACE_ORDERS),
    _task(wire.CANCEL_ORDER, CancelOrder, _cancel_order),
    _task(wire.SHIP_ORDER, ShipOrder, _ship_order),
    _task(wire.RESTOCK, Restock, _restock),
    func(_unreadable, name=wire.UNREADABLE),
]


async def _lose_nothing(ctx: Context, job: str, work: Awaitable[Result]) -> Result:
    """Turn every failure into another try: arq would take any other exception for the end of the job.

    A job that has not begun goes back to the queue as it was, for any worker.
    """
    try:
        return await work
    except asyncio.CancelledError:  # the worker stops, or arq aborts the job
        ctx["redis"].give_back(ctx["job_id"])
        raise
    except OverdueError as error:
        ctx["redis"].give_back(ctx["job_id"])
        logger.info("given back", job=job, job_id=ctx["job_id"], reason=str(error))
        raise RetryJob from error
    except Exception as error:
        metrics.DEFERRED.labels(job).inc()
        seconds = _defer_seconds(ctx["job_try"])
        logger.warning(
            "deferred",
            job=job,
            job_id=ctx["job_id"],
            job_try=ctx["job_try"],
            error=f"{type(error).__name__}: {error}",
            defer_seconds=round(seconds, 2),
        )
        task = asyncio.current_task()
        # The worker stops: Python 3.11's wait_for does not look at how this task ends.
        if task and task.cancelling():
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        raise Retry(defer=seconds) from error


async def _bury(ctx: Context, failed: Sequence[tuple[str, str, BaseModel, Exception]]) -> list[Dead]:
    """Keep requests that failed for a bug (job id, job, request, error), and say so to those who wait for them."""
    # Each kind once: a trace takes longer to print than an order to place, and a bug may be that of all.
    for job_id, job, error in {str(error): (job_id, job, error) for job_id, job, _, error in failed}.values():
        logger.error("bug", job=job, job_id=job_id, job_try=ctx["job_try"], exc_info=error)
    letters = []
    for job_id, job, request, error in failed:
        content = request.model_dump(mode="json", exclude_none=True)
        letters.append(
            dead_letter(job_id, job, content, error, tries=ctx["job_try"], enqueued_at=ctx["enqueue_time"])
        )
    if letters:
        await ctx[DEAD_LETTERS_KEY].bury(*letters)
    return [Dead(job_id=letter.job_id, error=A_BUG) for letter in letters]


def _is_transient(error: BaseException) -> bool:
    """No fault of the job."""
    if isinstance(error, DatabaseError):
        return error.is_transient
    return isinstance(error, OverdueError)


def _span(ctx: Context, task: str, traceparent: str | None) -> AbstractContextManager[str | None]:
    about = {"job_id": ctx["job_id"], "job_try": ctx["job_try"]}
    return tracing.span(f"process {task}", "CONSUMER", parent=traceparent, **about)


def _defer_seconds(job_try: int) -> float:
    return random.uniform(0.5, 1.0) * min(OUTAGE_DEFER_SECONDS, 0.5 * 2.0 ** min(job_try, 10))  # noqa: S311  # jitter


def _answer(ctx: Context, job: str, outcome: Outcome) -> dict[str, Any]:
    (answer,) = _answers(ctx, job, [outcome])
    return answer


def _answers(ctx: Context, job: str, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """What goes back to Redis; the job is over."""
    metrics.count_outcomes(job, outcomes)
    seconds = time.time() - ctx["enqueue_time"].timestamp()  # by the clock of who enqueued it
    metrics.JOB_SECONDS.observe(max(0.0, seconds), job)
    return [outcome.model_dump(mode="json") for outcome in outcomes]
