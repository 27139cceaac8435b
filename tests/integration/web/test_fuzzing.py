"""Whatever is posted, it is answered, and the fault is never the server's."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.asking import PATIENCE_SECONDS
from tests.integration.web.conftest import PROBLEM, Client, body
from tests.shop import an_order
from tests.suite.sample import size

EXAMPLES: Final = size(40, 300)
pytestmark = pytest.mark.sampled(inside=True)
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
NUMBERS: Final = st.integers(-(2**70), 2**70) | st.sampled_from([0, 1, 2**63 - 1, 2**63, 10_000, 10_001])
UUIDS: Final = st.uuids().map(str) | st.uuids().map(lambda order_id: order_id.hex)
TIMES: Final = st.datetimes().map(str) | st.sampled_from(
    ["0001-01-01", "9999-12-31T23:59:59-14:00", "2026-01-31T00:00Z"]
)


def either(likely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return likely | likely | likely | JSON


LINES: Final = st.lists(
    either(st.fixed_dictionaries({"product_id": either(NUMBERS), "quantity": either(NUMBERS)})), max_size=4
)
ORDERS: Final = st.fixed_dictionaries(
    {"order_id": either(UUIDS), "customer_id": either(NUMBERS), "lines": either(LINES)},
    optional={"placed_at": either(TIMES), "more": JSON},
)


def run_all(
    loop: asyncio.AbstractEventLoop, send: Callable[[Any], Coroutine[Any, Any, None]], strategy: Any
) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    @given(strategy)
    def send_all(content: Any) -> None:
        asyncio.run_coroutine_threadsafe(send(content), loop).result(PATIENCE_SECONDS)

    send_all()


async def test_whatever_json_is_posted_it_is_accepted_or_a_problem(door: Client) -> None:
    async def send(content: Any) -> None:
        async with door.post("/orders", json=content) as response:
            told = await response.json(content_type=None)
            if response.status == 202:
                assert response.content_type == "application/json"
            elif response.status == 200:  # the ids of an array may all be those of earlier orders
                assert [each["status"] for each in told] == ["conflict"] * len(told)
            else:
                assert 400 <= response.status < 500, told
                assert response.content_type == PROBLEM
                assert told["detail"]

    anything = JSON | ORDERS | ORDERS | st.lists(ORDERS, max_size=4)
    await asyncio.to_thread(run_all, asyncio.get_running_loop(), send, anything)


async def test_whatever_bytes_are_posted_they_are_a_problem(door: Client) -> None:
    valid = str(body(an_order({1: 1}))).encode()

    async def send(content: tuple[bytes, str]) -> None:
        data, media_type = content
        async with door.post("/orders", data=data, headers={"Content-Type": media_type}) as response:
            assert 400 <= response.status < 500
            assert response.content_type == PROBLEM

    damaged = st.binary(max_size=200) | st.integers(0, len(valid) - 1).map(lambda end: valid[:end])
    types = st.sampled_from(["application/json", "application/json; charset=latin-1", "text/json", "x"])
    await asyncio.to_thread(run_all, asyncio.get_running_loop(), send, st.tuples(damaged, types))
