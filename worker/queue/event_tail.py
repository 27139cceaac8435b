"""The newest events of the stream: a look at what happens, not the way to miss nothing of it."""

from typing import Any, Final, NamedTuple

import orjson
from redis.asyncio import Redis

FIRST_SECONDS: Final = 60  # how far back the first reading goes
MOST_EVENTS: Final = 500


class TailEvent(NamedTuple):
    """An event, and the second in which it was published."""

    published_at: int
    kind: str
    body: dict[str, Any]


class Tail(NamedTuple):
    """One reading, at a second by the clock of Redis; `cut`: there were more events than it has."""

    at: int
    events: list[TailEvent]
    cut: bool


class EventTail:
    """Reads on from where it was. Where more than MOST_EVENTS have come since, the oldest of them are passed over."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._name = name
        self._after = b""

    async def read(self) -> Tail:
        """What is new, the newest first."""
        seconds, _ = await self._redis.time()
        after = self._after or b"%d" % ((seconds - FIRST_SECONDS) * 1000)
        entries = await self._redis.xrevrange(self._name, min=b"(" + after, count=MOST_EVENTS)
        self._after = entries[0][0] if entries else after
        return Tail(seconds, [_event(*entry) for entry in entries], cut=len(entries) == MOST_EVENTS)


def _event(entry_id: bytes, entry: dict[bytes, bytes]) -> TailEvent:
    milliseconds, _, _ = entry_id.partition(b"-")
    return TailEvent(int(milliseconds) // 1000, entry[b"kind"].decode(), orjson.loads(entry[b"body"]))
