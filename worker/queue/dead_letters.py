"""Where jobs go that nobody can run: into the database or, while that refuses them, into Redis. Nothing is dropped here."""

import asyncio
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, cast

import structlog
from arq.connections import ArqRedis
from arq.utils import timestamp_ms

from jobs.dead_letters import (
    DeadLetter,
    bury,
    count_dead_letters,
    dead_letters_of,
    delete_dead_letter,
    oldest_dead_letters,
    page_of_dead_letters,
)
from jobs.transaction import Transaction
from worker import metrics
from worker.database.retry import DatabaseError
from worker.database.transactions import Database, Isolation
from worker.errors import printable
from worker.queue import wire
from worker.queue.background import Background

logger = structlog.get_logger()

MOVE_SECONDS: Final = 5.0  # between tries to bring letters from Redis into the database
BURY_SECONDS: Final = 1.0  # no new attempt after these: the job that is buried has to end in time
PAGE: Final = 100
FINGERPRINT: Final = 32  # characters of one
A_BUG: Final = (
    "a fault of the worker: the request is kept as a dead letter, and has its outcome when that is replayed"
)
SUFFIX: Final = ":dead"  # of the hash, named after the queue, in Redis
_JOB: Final = "dead_letters"


def dead_letter(  # noqa: PLR0913  # what there is to know
    job_id: str,
    job: str,
    request: Any,  # noqa: ANN401  # whatever is fit for JSON
    error: BaseException | str,
    *,
    tries: int = 1,
    enqueued_at: datetime | None = None,
) -> DeadLetter:
    """A letter of this moment."""
    why = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return DeadLetter(
        job_id=job_id, job=job, request=request, error=printable(why), tries=tries, enqueued_at=enqueued_at,
        buried_at=datetime.now(UTC),
    )  # fmt: skip


class DeadLetters:
    """All letters: those in the database, and those that wait in Redis to be moved there.

    The hash in Redis has no bound: each letter takes the place of its job there, and to bound it would be to lose them.
    """

    def __init__(self, database: Database, redis: ArqRedis) -> None:
        self._database = database
        self._redis = redis
        self._hash = redis.default_queue_name + SUFFIX
        self._mover = Background(self._move_until_done)

    async def bury(self, *letters: DeadLetter) -> None:
        """Keep letters for good; to bury one again is the same letter. Raises only where neither server takes them."""
        try:
            await self._transact(partial(bury, letters=letters), attempts_seconds=BURY_SECONDS)
        except DatabaseError as error:
            logger.warning("dead letters wait in Redis", letters=len(letters), error=str(error))
            kept = {_field(letter): letter.model_dump_json() for letter in letters}
            await _answer(self._redis.hset(self._hash, mapping=cast("Any", kept)))
            self.start()
        for letter in letters:
            metrics.BURIED.labels(letter.job).inc()
            logger.error(
                "buried", job=letter.job, job_id=letter.job_id, tries=letter.tries, error=letter.error,
                show=f"lockstep dead show {letter.job_id}",
            )  # fmt: skip

    def start(self) -> None:
        """Move what is in Redis, also what an earlier worker has left there."""
        self._mover.wake()

    async def stop(self) -> None:
        """What is still in Redis stays there, for the next worker."""
        await self._mover.stop()

    async def count(self) -> int:
        """How many there are, in both places."""
        waiting = await _answer(self._redis.hlen(self._hash))
        return await count_dead_letters(self._database) + int(waiting)

    async def oldest(self, size: int) -> list[DeadLetter]:
        """The first that were buried, up to so many; those of the database without their requests."""
        letters = await oldest_dead_letters(self._database, size)
        async for letter in self._waiting():
            letters = sorted([*letters, letter], key=lambda letter: letter.buried_at)[:size]
        return letters

    async def of(self, job_id: str) -> list[DeadLetter]:
        """The letters of one job id: more than one where it came with other content, too."""
        pattern = "?" * FINGERPRINT + ":" + re.sub(r"[*?[\]\\]", r"\\\g<0>", job_id)
        waiting = [letter async for letter in self._waiting(pattern)]
        letters = [*waiting, *await dead_letters_of(self._database, job_id)]
        return list({letter.fingerprint: letter for letter in letters}.values())

    async def job_ids(self) -> AsyncIterator[list[str]]:
        """The job ids that have letters, a page at a time; letters may be removed meanwhile."""
        if waiting := await _answer(self._redis.hkeys(self._hash)):
            yield sorted({field.decode().partition(":")[2] for field in waiting})
        after = ""
        while page := await page_of_dead_letters(self._database, after, PAGE):
            yield page
            after = page[-1]

    async def remove(self, letter: DeadLetter) -> None:
        """Remove a letter from both places."""
        await self._transact(partial(delete_dead_letter, letter=letter))
        await _answer(self._redis.hdel(self._hash, _field(letter)))

    async def move(self) -> None:
        """Bring the letters of Redis into the database. What it refuses stays, and is in nobody's way."""
        async for letter in self._waiting():
            try:
                await self._transact(partial(bury, letters=[letter]))
            except DatabaseError as error:
                if error.is_transient:
                    raise
                logger.exception("the database refuses a dead letter", job_id=letter.job_id)
            else:
                await _answer(self._redis.hdel(self._hash, _field(letter)))

    async def _transact(
        self, work: Callable[[Transaction], Awaitable[None]], attempts_seconds: float | None = None
    ) -> None:
        await self._database.transact(
            work, job=_JOB, isolation=Isolation.READ_COMMITTED, attempts_seconds=attempts_seconds
        )

    async def _move_until_done(self) -> None:
        while True:
            with suppress(DatabaseError, OSError, *wire.QUEUE_ERRORS):  # an outage: everybody else says so
                return await self.move()
            await asyncio.sleep(MOVE_SECONDS)

    async def _waiting(self, fields: str | None = None) -> AsyncIterator[DeadLetter]:
        """Those in Redis, a page at a time; one may come twice while others are added."""
        async for _, kept in self._redis.hscan_iter(self._hash, match=fields, count=PAGE):
            yield DeadLetter.model_validate_json(kept)


def message_of(letter: DeadLetter) -> bytes:
    """The packed job, as it was: what could not be read goes back byte by byte."""
    if letter.job == wire.UNREADABLE:
        return b64decode(letter.request)
    return wire.pack(wire.Message(letter.job, letter.job_id, letter.request), timestamp_ms())


def _field(letter: DeadLetter) -> str:
    return f"{letter.fingerprint}:{letter.job_id}"


def _answer(answer: Awaitable[Any] | Any) -> Awaitable[Any]:  # noqa: ANN401
    """Of Redis: redis-py's types are of both its clients."""
    return cast("Awaitable[Any]", answer)
