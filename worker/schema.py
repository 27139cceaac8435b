"""The JSON Schema of what goes over the queue, for services in any language."""

from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from jobs.contract import Request
from jobs.orders.outcomes import outcomes
from jobs.orders.requests import MAX_ORDERS, CancelOrder, PlaceOrder, Restock, ShipOrder

REQUESTS: Final[dict[str, type[Request]]] = {
    "place_order": PlaceOrder,
    "cancel_order": CancelOrder,
    "ship_order": ShipOrder,
    "restock": Restock,
}


def wire_schema() -> dict[str, Any]:
    """Requests by job name, and the outcome of every job, with shared `$defs` (draft 2020-12)."""
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (name, "validation", TypeAdapter(model)) for name, model in REQUESTS.items()
    ]
    schemas, shared = TypeAdapter.json_schemas([*inputs, ("outcome", "serialization", outcomes)])
    requests: dict[str, Any] = {name: schemas[name, "validation"] for name in REQUESTS}
    requests["place_orders"] = {
        "type": "array",
        "items": requests["place_order"],
        "minItems": 1,
        "maxItems": MAX_ORDERS,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lockstep: the jobs' requests and outcomes",
        "requests": requests,
        "outcome": schemas["outcome", "serialization"],
        **shared,
    }
