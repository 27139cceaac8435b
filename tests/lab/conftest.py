"""The server of the lab, and `--record`."""

from collections.abc import AsyncIterator

import pytest

from tests.lab.server import Server
from worker.embedded import Servers


@pytest.fixture(scope="session")
async def server(servers: Servers) -> AsyncIterator[Server]:
    """The suite's server."""
    async with Server.connect(servers.migration_url) as connected:
        yield connected
