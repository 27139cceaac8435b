"""The application without any server: for what needs none."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from worker.settings import Settings
from worker.web.application import make_application

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Nothing listens where its settings point."""
    settings = Settings(mysql_url="mysql://u:p@127.0.0.1:1/x", redis_url="redis://127.0.0.1:1/0")
    async with TestClient(TestServer(make_application(settings))) as opened:
        yield opened
