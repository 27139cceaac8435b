"""Servers that a test may stop, kill and start again: what they hold is there again, and so is their address."""

import asyncio
import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

import pytest

from tests.asking import until
from worker import embedded
from worker.embedded import Servers


def free_port() -> int:
    """One that the system gives to no connection meanwhile: those are from 32768 on."""
    while True:
        port = random.randrange(15_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class OwnDatabase:
    """The private one of `worker.embedded`, always at the same port."""

    def __init__(self, folder: Path) -> None:
        self._pid_file = folder / "mysql.pid"
        self._port = free_port()
        sockets = folder / "sockets"
        sockets.mkdir()
        accounts = embedded._accounts("password", "owner-password")
        self._run: Callable[[], AbstractContextManager[str]] = lambda: embedded._mysql(
            folder, sockets, accounts
        )
        self._running = ExitStack()
        address = f"127.0.0.1:{self._port}/lockstep"
        self.url = f"mysql://lockstep:password@{address}"
        self.owner_url = f"mysql://lockstep_owner:owner-password@{address}"

    async def start(self) -> None:
        """It has started when it takes connections."""

        def run() -> None:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(embedded, "_free_port", lambda: self._port)
                self._running.enter_context(self._run())

        await asyncio.to_thread(run)

    async def kill(self) -> None:
        """SIGKILL."""
        os.kill(int(self._pid_file.read_text()), signal.SIGKILL)
        await self.stop()

    async def stop(self) -> None:
        await asyncio.to_thread(self._running.close)


class OwnRedis:
    """It writes to the disk before it answers."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._command = [
            "redis-server", "--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(folder),
            "--appendonly", "yes", "--appendfsync", "always",
        ]  # fmt: skip

    async def start(self, *options: str) -> None:
        """It has started when it takes connections."""
        self._process = subprocess.Popen([*self._command, *options], stdout=subprocess.DEVNULL)  # noqa: ASYNC220

        async def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self._port)) == 0

        await until(listens, "Redis to listen")

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


class OwnServers:
    """Both, with the tables."""

    def __init__(self, folder: Path) -> None:
        self.database, self.redis = OwnDatabase(folder), OwnRedis(folder)

    @property
    def servers(self) -> Servers:
        return Servers(self.database.url, self.redis.url, self.database.owner_url)
