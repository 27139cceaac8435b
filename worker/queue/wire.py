"""What goes over Redis: job names, the serializer, and how a job is enqueued. The contract is in docs/wire.md."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import Annotated, Any, Final, NamedTuple, cast

import msgpack
from arq.connections import ArqRedis
from arq.constants import job_key_prefix, result_key_prefix
from arq.jobs import serialize_job, serialize_result
from arq.utils import timestamp_ms
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.exceptions import RedisError, ResponseError

from jobs.contract import Outcome
from jobs.orders.requests import PlaceOrder
from worker import tracing
from worker.errors import LockstepError, sentence

PLACE_ORDER: Final = "place_order"
PLACE_ORDERS: Final = "place_orders"
CANCEL_ORDER: Final = "cancel_order"
SHIP_ORDER: Final = "ship_order"
RESTOCK: Final = "restock"
UNREADABLE: Final = "unreadable"  # never enqueued: what a message becomes that cannot be decoded
MAX_KEPT_BYTES: Final = (
    1024 * 1024
)  # of such a message, which fits into a statement; a larger one is only answered

QUEUE_ERRORS: Final = (RedisError,)  # what any call on the queue may raise in an outage

MAX_REQUEST_BYTES: Final = 256 * 1024
MAX_BATCH_LINES: Final = 20_000  # of one place_orders job, and of one transaction: about 2 MB a statement
# Of one place_orders job, and so of any message. The most lines in the most orders come to 720 KB; whoever fills it with
# empty maps instead makes a worker take some 80 MB while it reads them.
MAX_BATCH_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 8  # nearly twice what any request needs
# arq drops a job that is older: an order must outlast any outage.
EXPIRES_MS: Final = int(timedelta(weeks=4).total_seconds() * 1000)

WAKE_SUFFIX: Final = ":wake"  # of the list, named after the queue, on which idle workers wait
MOST_WOKEN: Final = 16

# Each job and its place in the queue, unless it waits, runs or has its outcome there; one round trip for all.
# For each new one an idle worker is woken. What wakes nobody is taken by the next who is idle, to no harm.
_ENQUEUE: Final = """
local queue, expires_ms, now_ms, wake, most_woken = KEYS[1], ARGV[1], ARGV[2], KEYS[1] .. ARGV[3], tonumber(ARGV[4])
local accepted, woken = {}, redis.call('LLEN', wake)
for i = 2, #KEYS, 2 do
  local job_key, result_key, job_id, job = KEYS[i], KEYS[i + 1], ARGV[i + 3], ARGV[i + 4]
  if redis.call('ZSCORE', queue, job_id) or redis.call('EXISTS', result_key) > 0 then
    accepted[i / 2] = 0
  else
    redis.call('SET', job_key, job, 'PX', expires_ms)
    redis.call('ZADD', queue, now_ms, job_id)
    if woken < most_woken then
      redis.call('RPUSH', wake, '')
      woken = woken + 1
    end
    accepted[i / 2] = 1
  end
end
return accepted
"""


class Message(NamedTuple):
    """A job on its way: the name of a task, its job id and its request, fit for JSON.

    `traceparent` is of the span that sent it; of a bulk job whose orders come from several, a list.
    """

    task: str
    job_id: str
    payload: Any
    traceparent: str | Sequence[Any] | None = None


def placing(order: PlaceOrder) -> Message:
    """An order as a job of its own, under its own id, in the trace of the span that this task is in."""
    request = order.model_dump(mode="json", exclude_none=True)
    return Message(PLACE_ORDER, str(order.order_id), request, tracing.current())


def bulk(payloads: Sequence[Any]) -> Message:
    """Orders as one job, whose id is made from them: Redis knows the same orders again, and no others for these."""
    packed = msgpack.packb(payloads)
    return Message(PLACE_ORDERS, f"bulk:{blake2b(packed, digest_size=16).hexdigest()}", payloads)


@dataclass(frozen=True, slots=True)
class Payload:
    """The argument of a job, as somebody sent it.

    arq prints the arguments of every job, for a line that it may not even log: an order is nobody's business there,
    and to print a hundred of them takes longer than to place one.
    """

    content: Any
    traceparent: Any = None

    def __repr__(self) -> str:
        return "…"

    def traceparents(self, orders: int) -> list[str | None]:
        """Of each of so many orders; None where what was sent is none."""
        if isinstance(self.traceparent, list) and len(self.traceparent) == orders:
            return [tracing.valid(one) for one in self.traceparent]
        return [tracing.valid(self.traceparent)] * orders


def serialize(content: dict[str, Any]) -> bytes:
    """Msgpack; an exception (the result of a job that arq gave up) becomes its text.

    The result of a bulk job goes without its request: that is most of it, and nobody reads it. Nor what was unreadable.
    """
    if "r" in content and content.get("f") in {PLACE_ORDERS, UNREADABLE}:
        content = {**content, "a": []}
    packed: bytes = msgpack.packb(content, default=_simple)
    return packed


def _simple(value: object) -> object:
    return value.content if isinstance(value, Payload) else str(value)


def deserialize(data: bytes) -> dict[str, Any]:
    """The inverse of `serialize`."""
    content: dict[str, Any] = msgpack.unpackb(data)
    return content


class _Envelope(BaseModel):
    """What arq reads of a job, in the types that it takes for granted."""

    model_config = ConfigDict(strict=True)

    t: Annotated[int, Field(ge=0, lt=1_000_000)] | None
    f: str
    a: list[Any]
    k: dict[Any, Any]
    et: Annotated[int, Field(ge=0, lt=2**42)]  # Unix time in ms, until the year 2109
    traceparent: Any = None  # a bad one costs the trace alone


def deserialize_job(data: bytes) -> dict[str, Any]:
    """A job that somebody enqueued: one that cannot be read becomes an `unreadable` job that says why.

    Left to arq, a bad message would be deleted without an answer, or end the worker.
    """
    try:
        return _read(data)
    except ValidationError as error:
        reason = sentence(error)
    except Exception as error:  # noqa: BLE001  # msgpack raises nearly anything
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    why = f"the message cannot be read: {reason}"
    kept = data if len(data) <= MAX_KEPT_BYTES else None
    return {"t": None, "f": UNREADABLE, "a": (why, Payload(kept)), "k": {}, "et": timestamp_ms()}


def _read(data: bytes) -> dict[str, Any]:
    _check_size(data, MAX_BATCH_BYTES)  # before anything is made of it
    content = deserialize(data)
    if not isinstance(content, dict):
        raise ValueError("it is no map")  # noqa: TRY004  # of a message, not of a caller
    envelope = _Envelope.model_validate(content)
    name = envelope.f
    if name != PLACE_ORDERS:
        _check_size(data, MAX_REQUEST_BYTES)
    if name not in {PLACE_ORDER, PLACE_ORDERS, CANCEL_ORDER, SHIP_ORDER, RESTOCK}:
        raise ValueError(f"there is no job named {name[:80]!r}")
    if _is_deeper(envelope.a, MAX_DEPTH):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if envelope.k or len(envelope.a) != 1:
        raise ValueError(f"{name} takes one argument, its request")
    payload = Payload(envelope.a[0], envelope.traceparent)
    return {"t": envelope.t, "f": name, "a": (payload,), "k": {}, "et": envelope.et}


def _check_size(data: bytes, limit: int) -> None:
    if len(data) > limit:
        raise ValueError(f"it has {len(data)} bytes, {limit} are allowed")


def _is_deeper(values: list[Any], levels: int) -> bool:
    """Nested so deep that the result, which carries the request, might not be packed.

    Level by level and by exact types, in a quarter of the time of a recursion: each line of a bulk job is looked at.
    """
    for _ in range(levels):
        inner: list[Any] = []
        for value in values:
            if type(value) is dict:
                inner += value.values()
            elif type(value) is list:
                inner += value
        values = inner
    return bool(values)


def pack(message: Message, now_ms: int) -> bytes:
    """A job of this moment, as it lies in Redis."""

    def serialize_traced(job: dict[str, Any]) -> bytes:
        return serialize({**job, "traceparent": message.traceparent} if message.traceparent else job)

    packed = serialize_job(message.task, (message.payload,), {}, None, now_ms, serializer=serialize_traced)
    assert packed, "arq gives None for no arguments"
    return packed


async def enqueue(redis: ArqRedis, messages: Sequence[Message]) -> list[bool]:
    """Put jobs into the queue in one round trip; False for each whose id is known already.

    Raises LockstepError, and none of them is there, where Redis has no memory left.
    """
    now_ms = timestamp_ms()
    jobs = [(message.job_id, pack(message, now_ms)) for message in messages]
    return await enqueue_packed(redis, jobs, now_ms)


async def enqueue_packed(redis: ArqRedis, jobs: Sequence[tuple[str, bytes]], now_ms: int) -> list[bool]:
    """The same, with job ids and packed jobs."""
    keys: list[str] = [redis.default_queue_name]
    arguments: list[Any] = [EXPIRES_MS, now_ms, WAKE_SUFFIX, MOST_WOKEN]
    for job_id, packed in jobs:
        keys += [job_key_prefix + job_id, result_key_prefix + job_id]
        arguments += [job_id, packed]
    asked = redis.eval(_ENQUEUE, len(keys), *keys, *arguments)
    try:
        accepted = await cast("Awaitable[list[int]]", asked)
    except ResponseError as error:
        if is_full(error):
            raise LockstepError("Redis has no memory left for new orders: raise its maxmemory.") from error
        raise
    return [bool(new) for new in accepted]


def is_full(error: BaseException) -> bool:
    """Redis is at its maxmemory. Before Redis 7 an error inside a script has no type of its own."""
    return isinstance(error, ResponseError) and "command not allowed when used memory" in str(error)


async def enqueue_afresh(redis: ArqRedis, messages: Sequence[Message]) -> list[bool]:
    """The same for orders that have no outcome: what Redis has as a result under their ids answers something else."""
    await redis.delete(*(result_key_prefix + message.job_id for message in messages))
    return await enqueue(redis, messages)


async def is_queued(redis: ArqRedis, job_id: str) -> bool:
    """Whether a job waits or runs under this id."""
    return await redis.zscore(redis.default_queue_name, job_id) is not None


async def answer(redis: ArqRedis, outcomes: Mapping[str, Outcome], keep_seconds: int) -> None:
    """Results of orders that need no job, by order id, for whoever waits; one that is there stays."""
    now_ms = timestamp_ms()
    async with redis.pipeline(transaction=False) as pipe:
        for job_id, outcome in outcomes.items():
            result = serialize_result(
                PLACE_ORDER, (), {}, 1, now_ms, True, outcome.model_dump(mode="json"), now_ms, now_ms,
                f"{job_id}:{PLACE_ORDER}", redis.default_queue_name, job_id=job_id, serializer=serialize,
            )  # fmt: skip
            assert result, "an outcome can always be packed"
            pipe.set(result_key_prefix + job_id, result, ex=keep_seconds, nx=True)
        await pipe.execute()


class Timing(NamedTuple):
    """When a job was enqueued, started for the last time and finished (Unix time in ms), on which try."""

    enqueued_ms: int
    started_ms: int
    finished_ms: int
    job_try: int


async def read_timings(redis: ArqRedis, job_ids: Sequence[str]) -> list[Timing]:
    """Timings of those jobs whose outcome Redis still keeps."""
    results = await redis.mget([result_key_prefix + job_id for job_id in job_ids])
    kept = (deserialize(result) for result in results if result is not None)
    return [Timing(job["et"], job["st"], job["ft"], job["t"]) for job in kept]
