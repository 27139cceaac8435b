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
        path="/healthz",
        summary="Whether the server is alive",
        answers={HTTPStatus.OK: Answer("It is.", texts=["text/plain"])},
    ),
    Operation(
        method="GET",
        path="/readyz",
        summary="Whether the server can accept orders",
        description="It asks the database. Redis may be away.",
        answers={HTTPStatus.OK: Answer("It can.", texts=["text/plain"])},
        problems=(HTTPStatus.SERVICE_UNAVAILABLE,),
    ),
    Operation(
        method="GET",
        path="/metrics",
        summary="What the server has counted",
        answers={HTTPStatus.OK: Answer("As Prometheus reads it.", texts=["text/plain"])},
        problems=(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE),
        needs_key=True,
    ),
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
