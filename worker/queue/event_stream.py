"""The Redis stream that events are published to, each once."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

import orjson
from redis.asyncio import Redis

from jobs.outbox import RecordedEvent
from worker import tracing
from worker.queue.connection import connection_pool

REMEMBER_SECONDS: Final = 3600  # how long an event that was published is known: 8 bytes each
_PAGE: Final = 512  # ids in one set: Redis packs sets of integers up to this size

# Each event is added unless its mark is in the set of its page, and marked after that: a script that fails half-way
# stays done so far. An id alone is no mark: a database that was restored gives the same ids to other events, and those
# must not be lost.
_PUBLISH: Final = """
local stream, kept, remember_seconds = KEYS[1], ARGV[1], ARGV[2]
local published, i = 0, 3
while i <= #ARGV do
  local page, mark, last = stream .. ':published:' .. ARGV[i], ARGV[i + 1], i + 2 + ARGV[i + 2]
  if redis.call('SISMEMBER', page, mark) == 0 then
    redis.call('XADD', stream, 'MAXLEN', '~', kept, '*', unpack(ARGV, i + 3, last))
    redis.call('SADD', page, mark)
    redis.call('EXPIRE', page, remember_seconds)
    published = published + 1
  end
  i = last + 1
end
return published
"""


class EventStream:
    """Publishes events."""

    def __init__(self, redis_url: str, name: str, kept: int) -> None:
        self._redis = Redis(connection_pool=connection_pool(redis_url, retries=1))
        self._redis.auto_close_connection_pool = True
        self._publish = self._redis.register_script(_PUBLISH)
        self._name = name
        self._kept = kept

    async def publish(self, events: Sequence[RecordedEvent]) -> int:
        """Add those that were not published within REMEMBER_SECONDS, in their order; how many that were.

        One atomic step. Where it fails it may have been done all the same, so do it again.
        """
        with ExitStack() as spans:
            arguments: list[Any] = [self._kept, REMEMBER_SECONDS]
            for event in events:
                entry = _entry(event, _traced(event, spans))
                arguments += [*_mark(event), len(entry), *entry]
            return int(await self._publish([self._name], arguments))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


async def count_first_events(redis: Redis, name: str) -> int:
    """The orders of which a stream tells exactly once what became of them."""
    told = Counter(
        entry[b"order_id"]
        for _, entry in await redis.xrange(name)
        if entry[b"kind"] in {b"order.placed", b"order.rejected"}
    )
    return sum(times == 1 for times in told.values())


def _mark(event: RecordedEvent) -> tuple[int, int]:
    """The set that an event is looked for in, and what stands for it there."""
    digest = blake2b(f"{event.event_id} {event.order_id} {event.kind}".encode(), digest_size=8).digest()
    return event.event_id // _PAGE, int.from_bytes(digest, signed=True)


def _traced(event: RecordedEvent, spans: ExitStack) -> str | None:
    """What whoever reads the event goes on with."""
    if event.traceparent is None:
        return None
    publishing = tracing.span(f"publish {event.kind}", "PRODUCER", parent=event.traceparent)
    return spans.enter_context(publishing)


def _entry(event: RecordedEvent, traceparent: str | None) -> list[Any]:
    entry = [
        "event_id", event.event_id,
        "kind", event.kind,
        "order_id", str(UUID(event.order_id)),
        "body", orjson.dumps(event.told()),
        "recorded_at", f"{event.recorded_at.replace(' ', 'T')}Z",
    ]  # fmt: skip
    return [*entry, "traceparent", traceparent] if traceparent else entry
