"""What may not come over the queue, each as the Python value that msgpack makes of it."""

import math
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from jobs.contract import Request
from jobs.orders.requests import CancelOrder, PlaceOrder, Restock, ShipOrder
from worker.errors import sentence

ORDER_ID = "01937a5c-7e00-7000-8000-000000000001"


def payload(**changes: object) -> dict[str, Any]:
    return {
        "order_id": ORDER_ID,
        "customer_id": 1,
        "lines": [{"product_id": 1, "quantity": 1}],
        **changes,
    }


def refusal(content: object, model: type[Request] = PlaceOrder) -> str:
    with pytest.raises(ValidationError) as raised:
        model.model_validate(content)
    return sentence(raised.value)


def refusal_of_line(**changes: object) -> str:
    good = {"product_id": 1, "quantity": 1}
    return refusal(payload(lines=[good, {**good, **changes}]))


def test_a_good_order_is_accepted() -> None:
    order = PlaceOrder.model_validate(payload())
    assert (order.order_id, order.customer_id, order.quantities) == (UUID(ORDER_ID), 1, {1: 1})


def test_the_greatest_of_everything_is_accepted() -> None:
    greatest = {"product_id": 2**63 - 1, "quantity": 10_000}
    order = PlaceOrder.model_validate(payload(customer_id=2**63 - 1, lines=[greatest] * 500))
    assert order.quantities == {2**63 - 1: 5_000_000}


@pytest.mark.parametrize("value", ["", "7", "not a uuid", ORDER_ID[:-1], ORDER_ID + "0", f"g{ORDER_ID[1:]}"])
def test_an_order_id_that_is_not_a_uuid_is_refused(value: str) -> None:
    text = refusal(payload(order_id=value))
    assert text.startswith("order_id: Input should be a valid UUID")
    assert text.endswith(f"(got {value!r})")


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}])
def test_an_order_id_of_another_type_is_refused(value: object) -> None:
    text = refusal(payload(order_id=value))
    assert text.startswith("order_id: ")
    assert text.endswith(f"(got {value!r})")


def test_an_order_without_lines_is_refused() -> None:
    text = refusal(payload(lines=[]))
    assert text.startswith("lines: ")
    assert "at least 1" in text
    assert text.endswith("(got [])")


def test_an_order_of_more_than_500_lines_is_refused() -> None:
    text = refusal(payload(lines=[{"product_id": 1, "quantity": 1}] * 501))
    assert text.startswith("lines: ")
    assert "at most 500" in text


@pytest.mark.parametrize("value", [None, "lines", 1, {}, {"product_id": 1, "quantity": 1}])
def test_lines_of_another_type_are_refused(value: object) -> None:
    text = refusal(payload(lines=value))
    assert text.startswith("lines: ")
    assert text.endswith(f"(got {value!r})")


@pytest.mark.parametrize("value", [None, 1, "1", [1, 1]])
def test_a_line_of_another_type_is_refused(value: object) -> None:
    text = refusal(payload(lines=[{"product_id": 1, "quantity": 1}, value]))
    assert text.startswith("lines.1: ")
    assert f"(got {value!r})" in text


@pytest.mark.parametrize("value", [0, -1, 10_001, 2**64 - 1])
def test_a_quantity_out_of_range_is_refused(value: int) -> None:
    text = refusal_of_line(quantity=value)
    assert text.startswith("lines.1.quantity: ")
    assert text.endswith(f"(got {value})")


def test_a_boolean_is_no_quantity() -> None:
    assert refusal_of_line(quantity=True) == "lines.1.quantity: Input should be a valid integer (got True)"


def test_a_number_in_a_string_is_no_quantity() -> None:
    assert refusal_of_line(quantity="1") == "lines.1.quantity: Input should be a valid integer (got '1')"


def test_a_float_is_no_quantity() -> None:
    assert refusal_of_line(quantity=1.0) == "lines.1.quantity: Input should be a valid integer (got 1.0)"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_no_quantity(value: float) -> None:
    assert (
        refusal_of_line(quantity=value) == f"lines.1.quantity: Input should be a valid integer (got {value})"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_no_moment(value: float) -> None:
    text = refusal(payload(placed_at=value))
    assert text.startswith("placed_at: ")
    assert text.endswith(f"(got {value})")


@pytest.mark.parametrize("value", ["", "yesterday", "2026-02-30T00:00:00", True, [], {}])
def test_a_moment_that_is_none_is_refused(value: object) -> None:
    text = refusal(payload(placed_at=value))
    assert text.startswith("placed_at: ")
    assert text.endswith(f"(got {value!r})")


@pytest.mark.parametrize("value", [0, -1, 2**63, 2**64 - 1])
def test_a_customer_id_out_of_range_is_refused(value: int) -> None:
    text = refusal(payload(customer_id=value))
    assert text.startswith("customer_id: ")
    assert text.endswith(f"(got {value})")


@pytest.mark.parametrize("value", [0, -1, 2**63, 2**64 - 1])
def test_a_product_id_out_of_range_is_refused(value: int) -> None:
    text = refusal_of_line(product_id=value)
    assert text.startswith("lines.1.product_id: ")
    assert text.endswith(f"(got {value})")


@pytest.mark.parametrize("value", [None, "1", True, 1.0, math.nan, [], {}])
def test_an_id_of_another_type_is_refused(value: object) -> None:
    assert refusal(payload(customer_id=value)).startswith("customer_id: Input should be a valid integer")
    assert refusal_of_line(product_id=value).startswith("lines.1.product_id: Input should be a valid integer")


def test_an_unknown_field_is_refused() -> None:
    assert refusal(payload(note="quick")) == "note: Extra inputs are not permitted (got 'quick')"


def test_an_unknown_field_of_a_line_is_refused() -> None:
    assert refusal_of_line(price_cents=0) == "lines.1.price_cents: Extra inputs are not permitted (got 0)"


@pytest.mark.parametrize("field", ["order_id", "customer_id", "lines"])
def test_a_missing_field_is_named(field: str) -> None:
    content = payload()
    del content[field]
    assert refusal(content).startswith(f"{field}: Field required")


@pytest.mark.parametrize("value", [None, 1, "order", b"order", [], [payload()]])
def test_a_request_that_is_no_map_is_refused(value: object) -> None:
    assert refusal(value).startswith("request: Input should be a valid dictionary")


@pytest.mark.parametrize("field", ["order_id", "customer_id", "lines", "placed_at", "note"])
def test_a_huge_string_is_refused_and_cut(field: str) -> None:
    text = refusal(payload(**{field: "x" * 200_000}))
    assert text.startswith(f"{field}: ")
    assert "(got 'xxx" in text
    assert len(text) < 250


@pytest.mark.parametrize("model", [CancelOrder, ShipOrder])
def test_cancelling_and_shipping_take_an_order_id_alone(model: type[Request]) -> None:
    assert refusal({"order_id": "7"}, model).startswith("order_id: Input should be a valid UUID")
    assert refusal({"order_id": ORDER_ID, "customer_id": 1}, model).startswith("customer_id: Extra inputs")
    assert refusal({}, model).startswith("order_id: Field required")


@pytest.mark.parametrize("value", [0, -1, 1_000_000_001, True, "1", 1.0, math.nan, None])
def test_a_restock_takes_whole_quantities_up_to_a_thousand_million(value: object) -> None:
    content = {"restock_id": ORDER_ID, "product_id": 1, "quantity": value}
    text = refusal(content, Restock)
    assert text.startswith("quantity: ")
    assert text.endswith(f"(got {value!r})")
