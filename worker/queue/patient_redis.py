"""A connection that answers the question for due jobs when there are some: arq, which asks, need not ask often."""

from typing import Any, Final, cast

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.utils import timestamp_ms
from redis.asyncio.client import Pipeline
from redis.exceptions import WatchError

from worker.queue.connection import connection_pool
from worker.queue.wire import EXPIRES_MS, WAKE_SUFFIX, deserialize_job, serialize

LOOK_SECONDS: Final = 0.1  # jobs of those who do not wake a worker start this late


# The first due ids that nobody has in hand, `most` of them, however many others have in hand before those.
_FREE: Final = """
local queue, due, most, in_progress = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local free, start = {}, 0
repeat
  local ids = redis.call('ZRANGEBYSCORE', queue, '-inf', due, 'LIMIT', start, most)
  for _, id in ipairs(ids) do
    if redis.call('EXISTS', in_progress .. id) == 0 then free[#free + 1] = id end
    if #free == most then break end
  end
  start = start + most
until #ids < most or #free == most
return free
"""


class _PatientPipeline(Pipeline):
    """arq claims jobs with it, one by one, and puts them off."""

    async def immediate_execute_command(self, *words: Any, **options: Any) -> Any:  # noqa: ANN401  # as redis-py has it
        """Where the connection is lost between WATCH and MULTI, which would end arq, somebody else is said to have the job.

        Then arq leaves it, and finds it again with its next look.
        """
        execute: Any = super().immediate_execute_command  # it has no types
        try:
            return await execute(*words, **options)
        except WatchError:
            return words[0] == "EXISTS"  # the mark of who has it in hand; of its place in the queue, nothing

    def zincrby(self, name: Any, amount: float, value: Any) -> Any:  # noqa: ANN401  # the same
        """Put a job off, unless somebody else has ended it meanwhile: it would come back without its content."""
        return self.zadd(name, {value: amount}, xx=True, incr=True)


class PatientRedis(ArqRedis):
    """What arq takes as `redis_pool`."""

    @classmethod
    def at(cls, url: str, queue_name: str) -> "PatientRedis":
        """Connects when it is first used."""
        return cls(
            connection_pool(url, retries=15),
            job_serializer=serialize,
            job_deserializer=deserialize_job,
            default_queue_name=queue_name,
            expires_extra_ms=EXPIRES_MS,
        )

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: FBT001, FBT002  # as redis-py has it
        """One that stands what arq's own does not."""
        return _PatientPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)

    async def zrangebyscore(self, name: str, *, max: int, num: int, **_: Any) -> list[bytes]:  # type: ignore[override]  # noqa: A002, ANN401  # as arq asks
        """Where nothing is due that nobody has in hand, wait until somebody enqueues, or a little while."""
        if free := await self._free(name, max, num):
            return free
        await cast("Any", self).blpop(
            name + WAKE_SUFFIX, LOOK_SECONDS
        )  # redis-py's type knows whole seconds only
        return await self._free(name, timestamp_ms(), num)

    async def _free(self, queue: str, due_ms: int, most: int) -> list[bytes]:
        """Without those in hand: arq would ask for each of them by itself, and find nothing behind a crowd of them."""
        free: list[bytes] = await self.register_script(_FREE)([queue], [due_ms, most, in_progress_key_prefix])
        return free
