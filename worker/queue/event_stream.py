"""The Redis stream that events are published to, each once, and counted there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

import orjson
from redis.asyncio import Redis

from jobs.outbox import RecordedEvent
from worker import tracing
from worker.queue import seconds
from worker.queue.connection import connection_pool
from worker.queue.seconds import PRODUCTS_SUFFIX, SECOND, packed

REMEMBER_SECONDS: Final = 3600  # how long an event that was published is known: 8 bytes each
_PAGE: Final = 512  # ids in one set: Redis packs sets of integers up to this size

# Each event is added unless its mark is in the set of its page, and marked after that: a script that fails half-way
# stays done so far. An id alone is no mark: a database that was restored gives the same ids to other events, and those
# must not be lost. What was added is counted in the record of the second, also if the script fails half-way.
_PUBLISH: Final = f"""
local stream, kept, remember_seconds, keep_seconds = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local call, published, counts, products, last_page = redis.call, 0, {{}}, {{}}, ''
local function publish()
  for i = 4, #ARGV, 10 do
    local page, mark, outcome, traceparent = stream .. ':published:' .. ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 9]
    if call('SISMEMBER', page, mark) == 0 then
      local entry = {{'event_id', ARGV[i + 4], 'kind', ARGV[i + 5], 'order_id', ARGV[i + 6], 'body', ARGV[i + 7],
        'recorded_at', ARGV[i + 8]}}
      if traceparent ~= '' then entry[11], entry[12] = 'traceparent', traceparent end
      call('XADD', stream, 'MAXLEN', '~', kept, '*', unpack(entry))
      call('SADD', page, mark)
      if page ~= last_page then call('EXPIRE', page, remember_seconds) end
      published, last_page, counts[outcome] = published + 1, page, (counts[outcome] or 0) + 1
      products[published] = ARGV[i + 3]
    end
  end
end
local done, trouble = pcall(publish)
if published > 0 then
  local record = stream .. '{SECOND}' .. call('TIME')[1]
  for outcome, count in pairs(counts) do call('HINCRBY', record, outcome, count) end
  call('APPEND', record .. '{PRODUCTS_SUFFIX}', table.concat(products))
  call('EXPIRE', record, keep_seconds)
  call('EXPIRE', record .. '{PRODUCTS_SUFFIX}', keep_seconds)
end
if not done then error(trouble) end
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
            arguments: list[Any] = [self._kept, REMEMBER_SECONDS, seconds.KEEP_SECONDS]
            for event in events:
                body = event.told()
                arguments += *_mark(event), *_counted(event.kind, body)
                arguments += *_entry(event, body), _traced(event, spans) or ""
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


def _counted(kind: str, body: Mapping[str, Any]) -> tuple[str, bytes]:
    """The field in the record of the second, and the products of a placed order."""
    status = kind.removeprefix("order.")
    reason = body.get("reason")
    ids = [line["product_id"] for line in body["lines"]] if status == "placed" and "lines" in body else []
    return f"{status}:{reason}" if reason else status, packed(ids)


def _traced(event: RecordedEvent, spans: ExitStack) -> str | None:
    """What whoever reads the event goes on with."""
    if event.traceparent is None:
        return None
    publishing = tracing.span(f"publish {event.kind}", "PRODUCER", parent=event.traceparent)
    return spans.enter_context(publishing)


def _entry(event: RecordedEvent, body: Mapping[str, Any]) -> tuple[int, str, str, bytes, str]:
    return (
        event.event_id,
        event.kind,
        str(UUID(event.order_id)),
        orjson.dumps(body),
        f"{event.recorded_at.replace(' ', 'T')}Z",
    )
