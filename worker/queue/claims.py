"""The scripts by which a worker claims jobs, keeps them, and gives them back.

The keys, their types and their meaning are arq's.
"""

import os
from collections.abc import Iterable, Sequence
from socket import gethostname
from typing import Any, Final, NamedTuple
from uuid import uuid4

import structlog
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from redis.exceptions import ResponseError

logger = structlog.get_logger()

LEASE_SECONDS: Final = 15  # after which the jobs of a worker that has died are claimed by others
KEEP_TRIES_SECONDS: Final = 88_400  # as arq does
_PAGE: Final = 500  # ids that are read at a time
_PREFIXES: Final = (in_progress_key_prefix, job_key_prefix, retry_key_prefix)

# The first due jobs that no worker has claimed, with their content; the try is counted.
# What has the mark of this claim was claimed by it before, and the answer was lost.
# Answers of each job its id, score, content and try. No content: it has expired; an error instead of either: its key is
# of a wrong type. The tries of such a key are counted from the start, or no job would run.
_CLAIM: Final = """
local queue, claim, due, lease_ms, keep_tries = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local most, bytes, page, in_progress = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local job, retry = ARGV[9], ARGV[10]
local claimed, start = {}, 0
repeat
  local ids = redis.call('ZRANGEBYSCORE', queue, '-inf', due, 'WITHSCORES', 'LIMIT', start, page)
  for i = 1, #ids, 2 do
    if #claimed == most or bytes <= 0 then return claimed end
    local id, score = ids[i], tonumber(ids[i + 1])
    local holder = redis.pcall('GET', in_progress .. id)
    if score ~= 0 and (not holder or holder == claim) then
      local content = redis.pcall('GET', job .. id)
      redis.call('SET', in_progress .. id, claim, 'PX', lease_ms)
      local try = redis.pcall('INCRBY', retry .. id, holder and 0 or 1)
      if type(try) == 'table' then redis.call('SET', retry .. id, 1) end
      redis.call('EXPIRE', retry .. id, keep_tries)
      claimed[#claimed + 1] = {id, score, content, try}
      bytes = bytes - (type(content) == 'string' and #content or 0)
    end
  end
  start = start + page
until #ids < 2 * page
return claimed
"""

# Renew the leases of these jobs. One that has run out meanwhile is taken again, unless another worker has the job.
_RENEW: Final = """
local queue, lease_ms, in_progress = KEYS[1], ARGV[1], ARGV[2]
for i = 3, #ARGV, 2 do
  local claim, id = ARGV[i], ARGV[i + 1]
  local holder = redis.pcall('GET', in_progress .. id)
  if holder == claim or (not holder and redis.call('ZSCORE', queue, id)) then
    redis.call('SET', in_progress .. id, claim, 'PX', lease_ms)
  end
end
"""

# As if these jobs had not been claimed, unless another worker has them by now.
_GIVE_BACK: Final = """
local in_progress, retry = ARGV[1], ARGV[2]
for i = 3, #ARGV, 2 do
  local claim, id = ARGV[i], ARGV[i + 1]
  if redis.pcall('GET', in_progress .. id) == claim then
    redis.call('DEL', in_progress .. id)
    redis.call('DECR', retry .. id)
  end
end
"""


class Claimed(NamedTuple):
    """A job that this worker has claimed: its content, None if it has expired, or why that cannot be read.

    Ids are any bytes.
    """

    job_id: bytes
    score: int
    content: bytes | ResponseError | None
    job_try: int
    claim: str

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return len(self.content) if isinstance(self.content, bytes) else 0

    @property
    def name(self) -> str:
        """The id for people."""
        return self.job_id.decode(errors="backslashreplace")


async def claim(redis: ArqRedis, queue: str, *, due_ms: int, jobs: int, size: int) -> list[Claimed]:
    """At most so many jobs that are due, until their contents have so many bytes."""
    # A new one per claim: redis-py repeats a command whose answer is lost.
    name = f"{gethostname()}:{os.getpid()}:{uuid4().hex}"
    arguments: list[Any] = [
        name,
        due_ms,
        LEASE_SECONDS * 1000,
        KEEP_TRIES_SECONDS,
        jobs,
        size,
        _PAGE,
        *_PREFIXES,
    ]
    rows = await redis.register_script(_CLAIM)([queue], arguments)
    return [_read(name, *row) for row in rows]


async def renew(redis: ArqRedis, queue: str, jobs: Iterable[Claimed]) -> None:
    """Keep them for another lease."""
    arguments: list[Any] = [LEASE_SECONDS * 1000, in_progress_key_prefix, *_named(jobs)]
    await redis.register_script(_RENEW)([queue], arguments)


async def give_back(redis: ArqRedis, jobs: Sequence[Claimed]) -> None:
    """Leave them to other workers, their tries not counted."""
    if jobs:
        await redis.register_script(_GIVE_BACK)([], [in_progress_key_prefix, retry_key_prefix, *_named(jobs)])


async def claimed_by(redis: ArqRedis, pid: int) -> set[str]:
    """Ids of the jobs that a worker on this machine has claimed. Looks through all keys: not for a busy server."""
    marks = [key async for key in redis.scan_iter(in_progress_key_prefix + "*")]
    claims = await redis.mget(marks) if marks else []
    own = f"{gethostname()}:{pid}:".encode()
    return {
        mark.decode().removeprefix(in_progress_key_prefix)
        for mark, name in zip(marks, claims, strict=True)
        if name and name.startswith(own)
    }


def _named(jobs: Iterable[Claimed]) -> list[Any]:
    return [part for job in jobs for part in (job.claim, job.job_id)]


def _read(
    claim: str,
    job_id: bytes,
    score: int,
    content: bytes | ResponseError | None,
    job_try: int | ResponseError,
) -> Claimed:
    job = Claimed(job_id, score, content, 1 if isinstance(job_try, ResponseError) else job_try, claim)
    if isinstance(job_try, ResponseError):
        logger.error("tries are counted from the start", key=retry_key_prefix + job.name, error=str(job_try))
    return job
