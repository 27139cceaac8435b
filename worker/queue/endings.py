"""The ends of jobs: those of one moment go to Redis together."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from arq.constants import in_progress_key_prefix, job_key_prefix, result_key_prefix, retry_key_prefix
from arq.jobs import serialize_result
from arq.utils import timestamp_ms
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError

from worker.queue.claims import Claimed

KEEP_FAULT_SECONDS: Final = 3600
Command = tuple[Any, ...]


class Ending(NamedTuple):
    """A job, and the commands by which arq ends it or leaves it to a later try."""

    job: Claimed
    commands: Sequence[Command]

    @property
    def is_done(self) -> bool:
        """Whether the job leaves the queue."""
        return any(
            command[0] == "ZREM" and command[2] in (self.job.job_id, self.job.name)
            for command in self.commands
        )


def fault_of(job: Claimed) -> Exception | None:
    """Why arq cannot be given this job."""
    if isinstance(job.content, ResponseError):
        return job.content
    try:
        job.job_id.decode()
    except UnicodeDecodeError as error:
        return error
    return None


def failed(job: Claimed, error: Exception, queue: str, serializer: Any) -> Ending:  # noqa: ANN401  # arq's own
    """The end of a job that arq cannot be given, with the error as its result."""
    now_ms = timestamp_ms()
    result = serialize_result(
        "<unknown>", (), {}, job.job_try, 0, False, error, now_ms, now_ms,
        job.name, queue, job_id=job.name, serializer=serializer,
    )  # fmt: skip
    keys = [
        prefix.encode() + job.job_id for prefix in (in_progress_key_prefix, job_key_prefix, retry_key_prefix)
    ]
    commands: list[Command] = [("ZREM", queue, job.job_id), ("DEL", *keys)]
    if result:
        commands.append(("SET", result_key_prefix.encode() + job.job_id, result, "EX", KEEP_FAULT_SECONDS))
    return Ending(job, commands)


async def end_together(redis: Redis, endings: Sequence[Ending]) -> None:
    """All of it or nothing. What is deleted and removed by all of them takes one command each."""
    removed: dict[Command, list[Any]] = {}
    async with Pipeline(redis.connection_pool, redis.response_callbacks, True, None) as pipe:
        for ending in endings:
            for words in ending.commands:
                match words:
                    case ("DEL", *keys):
                        removed.setdefault(("DEL",), []).extend(keys)
                    case ("ZREM", key, *members):
                        removed.setdefault(("ZREM", key), []).extend(members)
                    case _:
                        pipe.execute_command(*words)
        for command, items in removed.items():
            pipe.execute_command(*command, *items)
        await pipe.execute()
