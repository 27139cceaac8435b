"""Refuses an arq whose loop is not the one that worker/queue/paged_redis.py was tested with."""

from hashlib import blake2b
from importlib.metadata import version
from inspect import getsource
from typing import Final

from arq.worker import Worker

from worker.errors import LockstepError

TESTED: Final = "0.28.0"
# Of their source texts. To test another arq: `make arq-suite`, and then what this module prints when it is run.
DIGESTS: Final = {
    "_poll_iteration": "536eac662613bbce",
    "start_jobs": "c592f4695fc20576",
    "run_job": "8a812973e52cf65f",
    "finish_job": "6d111b21599e1c4b",
    "finish_failed_job": "0c18409c46c0cdae",
}


def digest(method: str) -> str:
    """Of the source text of one of arq's methods."""
    return blake2b(getsource(getattr(Worker, method)).encode(), digest_size=8).hexdigest()


def check_arq() -> None:
    """Raise LockstepError if arq sends other commands than those that the pool answers."""
    changed = [method for method, tested in DIGESTS.items() if digest(method) != tested]
    if changed:
        raise LockstepError(
            f"arq {version('arq')} is not the one that this worker was tested with ({', '.join(changed)} differ):"
            f" install arq {TESTED}."
        )


if __name__ == "__main__":
    for name in DIGESTS:
        print(f'    "{name}": "{digest(name)}",')  # noqa: T201  # for DIGESTS
