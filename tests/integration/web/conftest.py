"""The application on the test's own servers, and what its answers say."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from jobs.orders.requests import PlaceOrder
from worker.settings import Settings
from worker.web.application import make_application
from worker.web.preferences import MOST_WAIT_SECONDS

Client = TestClient[web.Request, web.Application]
WAIT: Final = {"Prefer": f"wait={MOST_WAIT_SECONDS}"}
PROBLEM: Final = "application/problem+json"


@pytest.fixture
async def door(settings: Settings) -> AsyncIterator[Client]:
    """A client on this machine, where no key is needed."""
    async with TestClient(TestServer(make_application(settings, is_open=True))) as opened:
        yield opened


def body(order: PlaceOrder) -> dict[str, Any]:
    """An order as a client sends it."""
    return order.model_dump(mode="json", exclude_none=True)


async def problem(response: ClientResponse) -> dict[str, Any]:
    """The answer, which must be a problem that gives its own status."""
    content: dict[str, Any] = await response.json(content_type=PROBLEM)
    assert content["status"] == response.status
    return content
