"""Runs arq's tests in a process of their own, on a Redis of their own: they empty it."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

from worker import embedded
from worker.errors import LockstepError

Pool = Literal["ours", "stock"]
SERVER_FOLDER: Final = Path(".lockstep/arq-suite")
PLUGIN_FOLDER: Final = Path(__file__).parent / "plugin"
PLUGINS: Final = ("our_pool", "pytest_asyncio.plugin", "pytest_mock", "pytest_timeout", "no:cacheprovider")
OPTIONS: Final = (
    *("-q", "--tb=short", "-c", "pyproject.toml"),
    "--override-ini=timeout=60",  # arq's own 10 s are those of a fast machine
    # arq's tests call `close` of redis-py, which its lock file has in version 4. Other warnings are errors, as there.
    *("-W", "ignore:Call to deprecated close:DeprecationWarning"),
)
_RAN: Final = {0, 1}  # pytest's exit codes: all passed, some failed


class Results(NamedTuple):
    """By the ids of tests, as plugin/our_pool.py notes them."""

    passed: Sequence[str] = ()
    failed: dict[str, str] = {}  # noqa: RUF012  # nothing changes it
    skipped: dict[str, str] = {}  # noqa: RUF012  # the same
    left_out: Sequence[str] = ()
    out_of_time: Sequence[str] = ()
    reached: Sequence[str] = ()
    built: Sequence[str] = ()
    built_reached: Sequence[str] = ()


@contextmanager
def own_redis() -> Iterator[str]:
    """The URL of a private server that is empty, whatever LOCKSTEP_TEST_REDIS_URL names."""
    folder = SERVER_FOLDER.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    password = secrets.token_hex(24)
    with embedded._alone_in(folder), embedded._redis(folder, password, fresh=True) as url:
        yield url


def run(
    suite: Path, tools: Path, redis_url: str, pool: Pool, *options: str, until: str | None = None
) -> Results:
    """Run pytest with these options; its output stands in ours."""
    results = suite.parent.resolve() / "results.json"
    results.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(tools.resolve()), str(PLUGIN_FOLDER.resolve())]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the plugins of .venv are for another pytest
        "ARQ_SUITE_REDIS": redis_url,
        "ARQ_SUITE_RESULTS": str(results),
        "ARQ_SUITE_POOL": pool,
        "LOCKSTEP_TEST_UNTIL": until or "inf",
    }
    plugins = [word for plugin in PLUGINS for word in ("-p", plugin)]
    command = [sys.executable, "-m", "pytest", *plugins, *OPTIONS, *options]
    code = subprocess.run(command, cwd=suite, env=environment, check=False).returncode
    if code not in _RAN or not results.exists():
        raise LockstepError(f"pytest did not run arq's tests (exit code {code}, see above).")
    return Results(**json.loads(results.read_text()))
