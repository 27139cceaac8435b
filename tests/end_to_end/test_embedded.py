"""The private servers: nothing is left behind, and mistakes are named."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asking import open_session
from worker.embedded import Servers, running_servers
from worker.errors import LockstepError

HOLD = "import sys; from pathlib import Path; from worker.embedded import running_servers\nwith running_servers(Path(sys.argv[1])): print('running', flush=True); sys.stdin.read()"


def pids(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in sorted(folder.glob("*.pid"))]


def test_servers_that_a_killed_program_has_left_are_ended_and_their_data_kept(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"running\n"
        with pytest.raises(LockstepError, match="another lockstep is running"), running_servers(tmp_path):
            pass
        left = pids(tmp_path)
        assert len(left) == 2
        holder.send_signal(signal.SIGKILL)
    with running_servers(tmp_path) as servers:
        again = pids(tmp_path)
        assert set(again).isdisjoint(left)
        assert servers.mysql_url.startswith("mysql://lockstep:")
        for pid in left:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
    assert pids(tmp_path) == []


@pytest.fixture(scope="module")
def servers_in_an_odd_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers") / "a café dir" / ("deep" * 20) / ("deeper" * 15)
    with running_servers(folder) as servers:
        yield servers


def test_a_folder_may_have_spaces_and_a_long_name(servers_in_an_odd_folder: Servers) -> None:
    assert servers_in_an_odd_folder.redis_url


async def test_a_server_keeps_its_temporary_tables_to_itself(servers_in_an_odd_folder: Servers) -> None:
    """Another one that starts on this machine would remove them."""
    async with open_session(servers_in_an_odd_folder.migration_url) as session:
        folder = Path(await session.value("SELECT @@tmpdir"))
    assert folder.name.startswith("lockstep-")


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("worker.embedded.SYSTEM_FOLDERS", "")
    with (
        pytest.raises(LockstepError, match="mariadbd or mysqld is not installed: run `make setup`"),
        running_servers(tmp_path),
    ):
        pass


def test_a_server_that_does_not_start_names_its_log(tmp_path: Path) -> None:
    with running_servers(tmp_path):
        pass
    (tmp_path / "mysql" / "ibdata1").write_bytes(b"damaged")
    with pytest.raises(LockstepError, match=r"did not start: see .*mysql\.log"), running_servers(tmp_path):
        pass


def test_a_data_folder_that_cannot_be_made_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in {"mariadbd": "echo MariaDB", "mariadb-install-db": "exit 1"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with (
        pytest.raises(LockstepError, match="the database's folder could not be made: see"),
        running_servers(tmp_path),
    ):
        pass


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(LockstepError, match="servers cannot be run in"),
        running_servers(tmp_path / "file" / "x"),
    ):
        pass
