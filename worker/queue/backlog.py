"""What lies in the queue at this moment."""

from collections.abc import Awaitable
from typing import Final, NamedTuple, cast

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix

LOOKED_AT: Final = 1000  # jobs, the oldest first: more than one worker claims at a time
# Milliseconds since the oldest due job became due that is not claimed, or was due so long ago that this does not matter.
_WAITING: Final = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #due, 2 do
  local age_ms = now_ms - tonumber(due[i + 1])
  if age_ms >= tonumber(ARGV[2]) or redis.call('EXISTS', ARGV[1] .. due[i]) == 0 then return age_ms end
end
return 0
"""


class Backlog(NamedTuple):
    """How many jobs wait, run or are put off, and for how long the oldest has been due."""

    jobs: int
    oldest_seconds: float


async def read_backlog(redis: ArqRedis) -> Backlog:
    """As of now, by the clock of Redis alone."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.zcard(redis.default_queue_name)
        pipe.zrange(redis.default_queue_name, 0, 0, withscores=True)
        (seconds, microseconds), jobs, oldest = await pipe.execute()
    due_at = oldest[0][1] / 1000 if oldest else float("inf")
    return Backlog(jobs, max(0.0, seconds + microseconds / 1e6 - due_at))


async def read_waiting_seconds(redis: ArqRedis, recovery_seconds: float) -> float:
    """For how long the oldest due job has waited, by the clock of Redis; 0 if none waits.

    A job that a worker has claimed counts after `recovery_seconds`, in which the jobs of a worker that has died are
    claimed by another: until then it does not say that others wait.
    """
    limits = [str(int(recovery_seconds * 1000)), str(LOOKED_AT)]
    asked = redis.eval(_WAITING, 1, redis.default_queue_name, in_progress_key_prefix, *limits)
    return await cast("Awaitable[int]", asked) / 1000
