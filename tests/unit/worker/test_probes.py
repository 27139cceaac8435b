import asyncio
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from worker import metrics, probes
from worker.errors import LockstepError
from worker.probes import DATABASE, EVENT_LOOP, REDIS, Health, serving, watch_event_loop


class Clock:
    """Stands still unless it is put on: a process that is paused is not silent."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(probes, "time", clock)
    monkeypatch.setattr(probes._Handler, "timeout", 60)  # who is paused has not said nothing
    return clock


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def url(health: Health) -> Iterator[str]:
    with serving("127.0.0.1", 0, health) as port:
        yield f"http://127.0.0.1:{port}"


def ask(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def be_silent(health: Health, *who: str) -> None:
    for one in who:
        health._answered_at[one] = Clock.now - probes.LATELY_SECONDS - 1


def test_metrics_are_told_as_prometheus_reads_them(url: str) -> None:
    with urlopen(f"{url}/metrics", timeout=60) as answer:
        assert answer.headers["Content-Type"] == metrics.CONTENT_TYPE
        assert "# TYPE lockstep_queue_jobs gauge" in answer.read().decode()


def test_a_process_whose_event_loop_answers_lives_whatever_the_servers_do(url: str, health: Health) -> None:
    assert ask(f"{url}/healthz") == (200, "ok\n")
    be_silent(health, EVENT_LOOP)
    assert ask(f"{url}/healthz") == (503, "no answer for 10 s: the event loop\n")


def test_it_is_ready_when_database_and_redis_have_answered_and_no_longer_than_they_do(
    url: str, health: Health
) -> None:
    assert ask(f"{url}/readyz") == (503, "no answer for 10 s: the database, Redis\n")
    health.answered(DATABASE)
    health.answered(REDIS)
    assert ask(f"{url}/readyz") == (200, "ok\n")
    be_silent(health, REDIS)
    assert ask(f"{url}/readyz") == (503, "no answer for 10 s: Redis\n")


def test_another_path_is_told_which_there_are(url: str) -> None:
    assert ask(f"{url}/") == (404, "there are /metrics, /healthz and /readyz\n")


def test_who_connects_and_says_nothing_is_in_nobodys_way(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))):
        assert ask(f"{url}/healthz")[0] == 200


def test_requests_are_not_logged(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    ask(f"{url}/healthz")
    assert capfd.readouterr() == ("", "")


def test_the_port_is_free_again_at_the_end(health: Health) -> None:
    with serving("127.0.0.1", 0, health) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        HTTPConnection("127.0.0.1", port).connect()


def test_a_port_that_is_taken_is_told_with_what_to_set(health: Health) -> None:
    with (
        serving("127.0.0.1", 0, health) as port,
        pytest.raises(LockstepError) as raised,
        serving("127.0.0.1", port, health),
    ):
        pass
    assert str(raised.value) == (
        f"the metrics cannot be served at 127.0.0.1:{port} (Address already in use):"
        " set LOCKSTEP_METRICS_PORT to a port that is free, or to 0."
    )


def test_a_host_that_is_not_this_one_is_told(health: Health) -> None:
    with (
        pytest.raises(LockstepError, match="cannot be served at not a host:"),
        serving("not a host", 0, health),
    ):
        pass


def test_it_answers_over_ipv6(health: Health) -> None:
    with serving("::1", 0, health) as port:
        assert ask(f"http://[::1]:{port}/healthz") == (200, "ok\n")


async def test_a_loop_that_is_held_up_is_measured(
    health: Health, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "TICK_SECONDS", 0.001)
    before = metrics.LOOP_LAG_SECONDS.cumulative()[-1], metrics.LOOP_LAG_SECONDS.sum()
    be_silent(health, EVENT_LOOP)
    watching = asyncio.create_task(watch_event_loop(health))
    await asyncio.sleep(0)  # it waits now
    clock.now += 0.2  # for so long nothing else runs
    while health.silent(EVENT_LOOP):
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait([watching])
    assert metrics.LOOP_LAG_SECONDS.cumulative()[-1] > before[0]
    assert metrics.LOOP_LAG_SECONDS.sum() - before[1] == pytest.approx(0.2 - probes.TICK_SECONDS)
