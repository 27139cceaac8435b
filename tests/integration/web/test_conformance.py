"""Whatever is sent, the answer is one that the OpenAPI document describes, and never a fault of the server.

Schemathesis makes requests of the document that is served: such as it allows, and such as it does not.
"""

import asyncio
from typing import Any, Final

import pytest
import schemathesis
from arq.worker import Worker
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.web.conftest import WAIT, Client, body
from tests.shop import an_order, open_shop
from tests.suite.sample import size
from worker.database.transactions import Database
from worker.web.contract import OPERATIONS, document
from worker.web.openapi import Operation

EXAMPLES: Final = size(10, 100)
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
]
schema: Final = schemathesis.openapi.from_dict(document())


def check(case: Case[Any], client: Client, **options: Any) -> Any:
    """Send it, and check the answer; what that says."""
    return case.call_and_validate(base_url=str(client.make_url("")), checks=CHECKS, timeout=60, **options)


@pytest.mark.sampled(inside=True)
@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        pytest.param(operation, mode, id=f"{operation.method} {operation.path} {mode.value}")
        for operation in OPERATIONS
        for mode in GenerationMode
        if mode is GenerationMode.POSITIVE
        or operation.body
        or "{" in operation.path  # there is something to get wrong
    ],
)
async def test_every_request_gets_an_answer_that_is_described(
    operation: Operation, mode: GenerationMode, door: Client, database: Database, worker: Worker
) -> None:
    await open_shop(database, {1: 5})

    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[operation.path][operation.method].as_strategy(generation_mode=mode))
    def send_all(case: Case[Any]) -> None:
        check(case, door)

    await asyncio.to_thread(send_all)


async def test_every_outcome_is_one_that_is_described(
    door: Client, database: Database, worker: Worker
) -> None:
    await open_shop(database, {1: 5})
    orders = [an_order({1: 1}), an_order({1: 1}), an_order({1: 9})]
    first, second, short = (str(order.order_id) for order in orders)

    async def send(method: str, path: str, order_id: str | None = None, sent: Any = None) -> Any:
        options: dict[str, Any] = {"body": sent, "media_type": "application/json"} if sent else {}
        if order_id:
            options["path_parameters"] = {"order_id": order_id}
        case = schema[path][method].Case(headers=WAIT, **options)
        return (await asyncio.to_thread(check, case, door)).json()

    assert (await send("POST", "/orders", sent=body(orders[0])))["status"] == "placed"
    statuses = [each["status"] for each in await send("POST", "/orders", sent=[*map(body, orders)])]
    assert statuses == ["placed", "placed", "rejected"]
    assert (await send("POST", "/orders", sent=body(an_order({2: 1}, order_id=orders[0].order_id))))[
        "status"
    ] == 409
    for order_id, asked, status in [
        (first, "cancel", "cancelled"),
        (first, "ship", "already_cancelled"),
        (second, "ship", "shipped"),
        (second, "cancel", "already_shipped"),
        (short, "cancel", "rejected"),
        (short, "ship", "rejected"),
    ]:
        assert (await send("POST", f"/orders/{{order_id}}/{asked}", order_id))["status"] == status
    for order_id, status in [(first, "cancelled"), (second, "shipped"), (short, "rejected")]:
        assert (await send("GET", "/orders/{order_id}", order_id))["status"] == status
