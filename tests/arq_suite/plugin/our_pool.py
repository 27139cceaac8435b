"""A plugin of the pytest that runs arq's tests: it gives them our pool in place of arq's, and a server of ours.

It lies in a folder of its own, which is on that pytest's path: arq's tests are the package `tests` there.
"""

import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self, cast
from urllib.parse import urlsplit

import arq.connections
import arq.worker
import pytest
from arq.connections import ArqRedis

from worker.queue.paged_redis import PagedRedis

SERVER: Final = urlsplit(os.environ["ARQ_SUITE_REDIS"])
RESULTS: Final = Path(os.environ["ARQ_SUITE_RESULTS"])
UNTIL: Final = float(os.environ.get("LOCKSTEP_TEST_UNTIL", math.inf))  # as tests/suite/deadline.py
POOL_FIXTURES: Final = "arq_redis"  # how the names of those begin that build a pool for a test


class Now:
    """What runs."""

    test = ""
    fixture = ""


@dataclass(slots=True)
class Noted:
    """What happened, by the ids of tests."""

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    out_of_time: list[str] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)  # a Worker asked the pool for jobs
    built: set[str] = field(default_factory=set)  # a pool of its own, not by one of arq's fixtures
    built_reached: set[str] = field(default_factory=set)  # a Worker asked that one for jobs


noted: Final = Noted()


class Counting(ArqRedis):
    """Connects to the server with its password, which arq's tests do not know, and notes who uses it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "password": SERVER.password})
        self._is_own = not Now.fixture.startswith(POOL_FIXTURES)
        if self._is_own:
            noted.built.add(Now.test)

    async def zrangebyscore(self, *arguments: Any, **options: Any) -> Any:
        noted.reached.add(Now.test)
        if self._is_own:
            noted.built_reached.add(Now.test)
        return await super().zrangebyscore(*arguments, **options)


class Ours(Counting, PagedRedis):  # type: ignore[misc]  # redis-py's own bases contradict each other
    """The pool of the worker."""


class RedisContainer:
    """Of testcontainers, which would start a server in Docker."""

    port = 6379

    def __init__(self, image: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get_container_host_ip(self) -> str:
        return str(SERVER.hostname)

    def get_exposed_port(self, _: int) -> int:
        return cast("int", SERVER.port)


def replace(pool: type[ArqRedis]) -> None:
    """Before the tests are imported: arq's `create_pool`, which its Worker calls as well, looks the class up here."""
    assert Path(arq.__file__).is_relative_to(sys.prefix), f"{arq.__file__} is not the arq of the worker"
    for module in (arq, arq.connections, arq.worker):
        vars(module)["ArqRedis"] = pool
    containers = ModuleType("testcontainers.redis")
    vars(containers)["RedisContainer"] = RedisContainer
    sys.modules |= {"testcontainers": ModuleType("testcontainers"), "testcontainers.redis": containers}


replace(Counting if os.environ["ARQ_SUITE_POOL"] == "stock" else Ours)


def pytest_deselected(items: list[pytest.Item]) -> None:
    noted.left_out += [item.nodeid for item in items]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """No test starts when the time is over."""
    Now.test = item.nodeid
    if time.time() >= UNTIL:
        noted.out_of_time.append(item.nodeid)
        return True
    return None


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
    Now.fixture = fixturedef.argname
    try:
        return (yield)
    finally:
        Now.fixture = ""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        noted.failed[report.nodeid] = (
            f"{report.when}: {crash.message.splitlines()[0] if crash else 'see above'}"
        )
    elif report.skipped:
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longreprtext
        noted.skipped[report.nodeid] = str(reason).removeprefix("Skipped: ")
    elif report.when == "teardown" and report.nodeid not in {*noted.failed, *noted.skipped}:
        noted.passed.append(report.nodeid)


def pytest_sessionfinish() -> None:
    RESULTS.write_text(json.dumps(asdict(noted), default=sorted))
