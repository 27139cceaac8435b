"""Every route as its callers see it: what `/openapi.json` and `/docs` say."""

from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

from worker.web import order_operations, shop_operations
from worker.web.openapi import Answer, Operation, openapi

DESCRIPTION: Final = (
    "Each order gets exactly one outcome, however often it is sent: its id, which you make, is its idempotency key."
    " An order that is answered with 202 is in the database, and is placed or rejected by a worker."
    " docs/http.md says what a client may rely on."
)
OPERATIONS: Final = (
    *order_operations.OPERATIONS,
    *shop_operations.OPERATIONS,
    Operation(
        method="GET",
        path="/openapi.json",
        summary="This document",
        answers={HTTPStatus.OK: Answer("OpenAPI 3.1.", dict[str, Any])},
    ),
    Operation(
        method="GET",
        path="/docs",
        summary="This document for people",
        answers={HTTPStatus.OK: Answer("A page.", texts=["text/html"])},
    ),
)


@cache
def document() -> dict[str, Any]:
    """The whole document."""
    return openapi(OPERATIONS, title="Lockstep", version=version("lockstep-orders"), description=DESCRIPTION)
