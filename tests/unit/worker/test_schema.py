import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest

from jobs.contract import Outcome
from jobs.orders.outcomes import AnyOutcome, Rejected
from worker.schema import wire_schema

REPOSITORY = Path(__file__).resolve().parents[3]
JOBS = ["place_order", "place_orders", "cancel_order", "ship_order", "restock"]
TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
# Of draft 2020-12, with OpenAPI's discriminator: what this schema may use, so that a typing error is noticed.
KEYWORDS = {
    "$ref", "additionalProperties", "anyOf", "const", "default", "description", "discriminator", "enum", "format",
    "items", "maxItems", "maximum", "minItems", "minimum", "oneOf", "properties", "required", "title", "type",
}  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return wire_schema()


def schemas_in(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema and all schemas below it."""
    yield node
    below = [*node.get("properties", {}).values(), *node.get("anyOf", []), *node.get("oneOf", [])]
    if "items" in node:
        below.append(node["items"])
    for child in below:
        yield from schemas_in(child)


def all_schemas(schema: dict[str, Any]) -> list[dict[str, Any]]:
    roots = [*schema["requests"].values(), schema["outcome"], *schema["$defs"].values()]
    return [node for root in roots for node in schemas_in(root)]


def resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    resolved: dict[str, Any] = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return resolved


def test_the_published_schema_is_that_of_the_code(schema: dict[str, Any]) -> None:
    published = (REPOSITORY / "docs" / "wire-schema.json").read_text(encoding="utf-8")
    assert json.loads(published) == schema


def test_every_job_has_a_request(schema: dict[str, Any]) -> None:
    assert sorted(schema["requests"]) == sorted(JOBS)


def test_every_outcome_is_in_the_schema(schema: dict[str, Any]) -> None:
    models: tuple[type[Outcome], ...] = get_args(get_args(AnyOutcome)[0])
    statuses = {model.model_fields["status"].default for model in models}
    branches = [resolve(schema, branch) for branch in schema["outcome"]["oneOf"]]
    assert {branch["properties"]["status"]["const"] for branch in branches} == statuses
    assert set(schema["outcome"]["discriminator"]["mapping"]) == statuses


def test_every_outcome_must_have_its_status(schema: dict[str, Any]) -> None:
    branches = [resolve(schema, branch) for branch in schema["outcome"]["oneOf"]]
    assert len(branches) == 12
    assert [branch["title"] for branch in branches if "status" not in branch["required"]] == []


def test_every_outcome_has_all_of_its_fields(schema: dict[str, Any]) -> None:
    rejected = Rejected(order_id=UUID(int=1), reason="credit_limit").model_dump(mode="json")
    assert sorted(schema["$defs"]["Rejected"]["required"]) == sorted(rejected)
    for branch in schema["outcome"]["oneOf"]:
        outcome = resolve(schema, branch)
        assert sorted(outcome["required"]) == sorted(outcome["properties"])


def test_a_batch_takes_1_to_500_orders(schema: dict[str, Any]) -> None:
    batch = schema["requests"]["place_orders"]
    assert (batch["type"], batch["minItems"], batch["maxItems"]) == ("array", 1, 500)
    assert batch["items"] == schema["requests"]["place_order"]


def test_the_limits_of_an_order_are_in_the_schema(schema: dict[str, Any]) -> None:
    order = resolve(schema, schema["requests"]["place_order"])
    line = resolve(schema, order["properties"]["lines"]["items"])
    assert order["required"] == ["order_id", "customer_id", "lines"]
    assert (order["properties"]["lines"]["minItems"], order["properties"]["lines"]["maxItems"]) == (1, 500)
    assert (line["properties"]["quantity"]["minimum"], line["properties"]["quantity"]["maximum"]) == (
        1,
        10_000,
    )
    for identity in (order["properties"]["customer_id"], line["properties"]["product_id"]):
        assert (identity["minimum"], identity["maximum"]) == (1, 2**63 - 1)


def test_requests_allow_no_field_that_is_not_listed(schema: dict[str, Any]) -> None:
    requests = [schema["requests"][name] for name in JOBS if name != "place_orders"]
    closed = [resolve(schema, request)["additionalProperties"] for request in requests]
    assert closed == [False] * 4
    assert schema["$defs"]["Line"]["additionalProperties"] is False


def test_the_schema_is_of_draft_2020_12(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(schema)) == schema


def test_every_keyword_is_one_of_json_schema(schema: dict[str, Any]) -> None:
    assert {keyword for node in all_schemas(schema) for keyword in node} - KEYWORDS == set()


def test_every_type_is_one_of_json(schema: dict[str, Any]) -> None:
    assert {node["type"] for node in all_schemas(schema) if "type" in node} - TYPES == set()


def test_every_reference_leads_to_a_definition_and_every_definition_is_referred_to(
    schema: dict[str, Any],
) -> None:
    references = {node["$ref"] for node in all_schemas(schema) if "$ref" in node}
    assert references == {f"#/$defs/{name}" for name in schema["$defs"]}
    assert set(schema["outcome"]["discriminator"]["mapping"].values()) <= references


def test_every_required_field_is_a_property(schema: dict[str, Any]) -> None:
    for node in all_schemas(schema):
        assert set(node.get("required", ())) <= set(node.get("properties", ()))


def test_no_bound_is_above_its_counterpart(schema: dict[str, Any]) -> None:
    bounded = [node for node in all_schemas(schema) if "maximum" in node]
    assert bounded
    assert all(node["minimum"] <= node["maximum"] for node in bounded)
