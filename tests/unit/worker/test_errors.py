from typing import Any

import pytest
from pydantic import ValidationError

from jobs.orders.requests import PlaceOrder
from worker.errors import sentence

LINE = {"product_id": 1, "quantity": 1}


def sentence_of(**changes: object) -> str:
    content = {"order_id": "01937a5c-7e00-7000-8000-000000000001", "customer_id": 1, "lines": [LINE]}
    with pytest.raises(ValidationError) as raised:
        PlaceOrder.model_validate({**content, **changes})
    return sentence(raised.value)


def test_a_sentence_names_the_field_why_and_the_value() -> None:
    assert sentence_of(customer_id="7") == "customer_id: Input should be a valid integer (got '7')"


def test_a_sentence_says_where_in_a_list_the_value_stands() -> None:
    text = sentence_of(lines=[LINE, LINE, {**LINE, "quantity": 0}])
    assert text == "lines.2.quantity: Input should be greater than or equal to 1 (got 0)"


def test_a_list_whose_only_item_is_wrong_is_not_called_too_short() -> None:
    text = sentence_of(lines=[{**LINE, "quantity": 0}])
    assert text == "lines.0.quantity: Input should be greater than or equal to 1 (got 0)"


def test_a_sentence_names_every_field_that_is_wrong() -> None:
    text = sentence_of(customer_id=0, note=None)
    assert [part.split(":")[0] for part in text.split("; ")] == ["customer_id", "note"]


def test_a_sentence_names_five_fields_at_most() -> None:
    text = sentence_of(**{f"field{number}": number for number in range(9)})
    assert [part.split(":")[0] for part in text.split("; ")] == [f"field{number}" for number in range(5)]


def value_in(text: str) -> str:
    """What a sentence of one problem says of the value."""
    assert text.endswith(")")
    return text.partition(" (got ")[2][:-1]


def test_a_sentence_cuts_a_long_value_to_80_characters() -> None:
    value = value_in(sentence_of(note="first" + "x" * 1000 + "last"))
    assert len(value) == 80
    assert value.startswith("'firstxxx")
    assert "xxx...xxx" in value
    assert value.endswith("xxxlast'")


def test_a_sentence_leaves_a_value_of_80_characters_whole() -> None:
    assert value_in(sentence_of(note="x" * 78)) == f"'{'x' * 78}'"


def test_a_sentence_cuts_long_bytes_to_80_characters() -> None:
    assert len(value_in(sentence_of(note=b"x" * 1000))) == 80


def test_a_sentence_cuts_a_long_list() -> None:
    assert value_in(sentence_of(note=list(range(1000)))) == "[0, 1, 2, 3, 4, 5, ...]"


def test_a_sentence_cuts_a_long_map() -> None:
    value = value_in(sentence_of(note={str(number): number for number in range(10)}))
    assert value == "{'0': 0, '1': 1, '2': 2, '3': 3, ...}"


@pytest.mark.parametrize("layer", [list, dict])
def test_a_sentence_cuts_a_deep_value(layer: type[list[Any] | dict[str, Any]]) -> None:
    deep: Any = None
    for _ in range(5000):
        deep = [deep] if layer is list else {"x": deep}
    value = value_in(sentence_of(note=deep))
    assert "..." in value
    assert len(value) < 80


def test_a_sentence_cuts_a_long_name_after_80_characters() -> None:
    assert sentence_of(**{"x" * 1000: 1}) == f"{'x' * 80}: Extra inputs are not permitted (got 1)"


def test_a_sentence_cuts_a_long_name_in_a_list_after_80_characters() -> None:
    text = sentence_of(lines=[{**LINE, "x" * 1000: 1}])
    assert text == f"lines.0.{'x' * 80}: Extra inputs are not permitted (got 1)"


def test_a_request_that_is_no_map_has_no_field_to_name() -> None:
    with pytest.raises(ValidationError) as raised:
        PlaceOrder.model_validate(7)
    assert sentence(raised.value).startswith("request: ")
    assert sentence(raised.value).endswith("(got 7)")
