import json
import math
import pickle
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.offenders import assert_none
from worker.queue import wire

ORDER = {
    "order_id": "01937a5c-7e00-7000-8000-000000000001",
    "customer_id": 1,
    "lines": [{"product_id": 1, "quantity": 1}],
}
JOBS = ["place_order", "place_orders", "cancel_order", "ship_order", "restock"]
UNREADABLE = "the message cannot be read: "


def job(**changes: object) -> dict[str, Any]:
    return {"t": None, "f": "place_order", "a": [ORDER], "k": {}, "et": 1_760_000_000_000, **changes}


def as_passed(content: dict[str, Any]) -> dict[str, Any]:
    """What arq gets of a right message: its argument is one that does not print itself."""
    return {**content, "a": (wire.Payload(*content["a"]),)}


def complaint(data: bytes) -> str:
    """The sentence of the unreadable job that these bytes become."""
    unreadable = wire.deserialize_job(data)
    text, message = unreadable["a"]
    assert unreadable == {"t": None, "f": "unreadable", "a": (text, message), "k": {}, "et": unreadable["et"]}
    assert message.content == (data if len(data) <= wire.MAX_KEPT_BYTES else None)
    assert isinstance(unreadable["et"], int)
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("name", JOBS)
def test_a_right_message_passes_unchanged(name: str) -> None:
    assert wire.deserialize_job(wire.serialize(job(f=name))) == as_passed(job(f=name))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        wire.serialize(job())[:-1],
        wire.serialize(job()) + b"\x00",
        b"\xd9\x01\xff",
        b"\x91" * 2000,
        json.dumps(job()).encode(),
        pickle.dumps(job()),
    ],
    ids=["nothing", "no type", "cut off", "trailing", "not UTF-8", "too deep", "JSON", "pickle"],
)
def test_a_message_that_is_not_msgpack_is_unreadable(data: bytes) -> None:
    assert complaint(data).startswith(UNREADABLE)


@pytest.mark.parametrize("content", [None, 7, "place_order", [], [job()]])
def test_a_message_that_is_no_map_is_unreadable(content: object) -> None:
    text = complaint(msgpack.packb(content))
    assert text.startswith(f"{UNREADABLE}it is no map")


@pytest.mark.parametrize("field", ["t", "f", "a", "k", "et"])
def test_a_field_that_is_missing_is_named(field: str) -> None:
    content = job()
    del content[field]
    text = complaint(wire.serialize(content))
    assert text.startswith(f"{UNREADABLE}{field}: Field required (got ")


def test_every_field_that_is_missing_is_named() -> None:
    problems = complaint(wire.serialize({})).removeprefix(UNREADABLE).split("; ")
    assert problems == [f"{field}: Field required (got {{}})" for field in ("t", "f", "a", "k", "et")]


@pytest.mark.parametrize("value", [None, "now", [], {}, True, 1.0, math.nan, math.inf])
def test_a_time_that_is_no_integer_is_unreadable(value: object) -> None:
    text = complaint(wire.serialize(job(et=value)))
    assert text == f"{UNREADABLE}et: Input should be a valid integer (got {value!r})"


@pytest.mark.parametrize("value", [-1, 2**42, 1_760_000_000_000_000, 2**63, 2**64 - 1])
def test_a_time_that_arq_cannot_tell_is_unreadable(value: int) -> None:
    text = complaint(wire.serialize(job(et=value)))
    assert text.startswith(f"{UNREADABLE}et: Input should be ")
    assert text.endswith(f"(got {value})")


@pytest.mark.parametrize("value", [0, 2**42 - 1])
def test_the_first_and_the_last_time_pass(value: int) -> None:
    assert wire.deserialize_job(wire.serialize(job(et=value))) == as_passed(job(et=value))


@pytest.mark.parametrize("value", ["1", "now", [], {}, True, 1.0, math.nan])
def test_a_try_that_is_no_integer_is_unreadable(value: object) -> None:
    text = complaint(wire.serialize(job(t=value)))
    assert text == f"{UNREADABLE}t: Input should be a valid integer (got {value!r})"


@pytest.mark.parametrize("value", [-1, 1_000_000, 2**33, 2**63])
def test_a_try_out_of_range_is_unreadable(value: int) -> None:
    text = complaint(wire.serialize(job(t=value)))
    assert text.startswith(f"{UNREADABLE}t: Input should be ")
    assert text.endswith(f"(got {value})")


@pytest.mark.parametrize("value", [0, 1, 999_999])
def test_a_try_in_range_passes(value: int) -> None:
    assert wire.deserialize_job(wire.serialize(job(t=value))) == as_passed(job(t=value))


@pytest.mark.parametrize("value", [None, 7, True, b"place_order", [], ["place_order"], {}])
def test_a_name_that_is_no_text_is_unreadable(value: object) -> None:
    text = complaint(wire.serialize(job(f=value)))
    assert text == f"{UNREADABLE}f: Input should be a valid string (got {value!r})"


@pytest.mark.parametrize("value", [None, 7, "x", b"x", {}, {"order_id": "x"}])
def test_arguments_that_are_no_list_are_unreadable(value: object) -> None:
    text = complaint(wire.serialize(job(a=value)))
    assert text == f"{UNREADABLE}a: Input should be a valid list (got {value!r})"


@pytest.mark.parametrize("value", [None, 0, "", [], [1]])
def test_keyword_arguments_that_are_no_map_are_unreadable(value: object) -> None:
    text = complaint(wire.serialize(job(k=value)))
    assert text == f"{UNREADABLE}k: Input should be a valid dictionary (got {value!r})"


def test_a_field_that_arq_does_not_read_is_left_out() -> None:
    assert wire.deserialize_job(wire.serialize(job(note="quick"))) == as_passed(job())


@pytest.mark.parametrize("layer", [b"\x91", b"\x81\xa1x"], ids=["lists", "maps"])
@pytest.mark.parametrize("field", ["t", "f", "a", "k", "et"])
def test_a_message_nested_1000_deep_is_unreadable(field: str, layer: bytes) -> None:
    data = wire.serialize(job(**{field: ["nest"]}))
    assert complaint(data.replace(b"\x91\xa4nest", b"\x91" + layer * 999 + b"\xc0"))


def test_what_passes_can_be_logged_and_packed_again_however_deep_it_is() -> None:
    assert_none(
        f"{depth} deep: {fault}" for depth in range(900, 1100, 10) if (fault := fault_of_nesting(depth))
    )


def fault_of_nesting(depth: int) -> str | None:
    data = wire.serialize(job(a=["nest"])).replace(b"\xa4nest", b"\x91" * depth + b"\xc0")
    try:
        passed = wire.deserialize_job(data)
        return None if repr(passed["a"]) and wire.serialize(passed) else "nothing is logged or packed"
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what is wrong
        return repr(error)


def test_an_argument_is_not_printed_and_is_packed_as_it_was() -> None:
    passed = wire.deserialize_job(wire.serialize(job()))
    assert repr(passed["a"]) == "(…,)"
    assert wire.deserialize(wire.serialize(passed)) == job()


@pytest.mark.parametrize("name", ["place_order", "cancel_order", "ship_order", "restock"])
def test_a_message_over_256_kib_is_unreadable(name: str) -> None:
    data = wire.serialize(job(f=name, a=["x" * 256 * 1024]))
    assert complaint(data) == f"{UNREADABLE}it has {len(data)} bytes, 262144 are allowed"


def test_a_message_of_256_kib_passes() -> None:
    empty = len(wire.serialize(job(a=["x" * 100_000]))) - 100_000
    data = wire.serialize(job(a=["x" * (256 * 1024 - empty)]))
    assert len(data) == 256 * 1024
    assert wire.deserialize_job(data)["f"] == "place_order"


def test_a_batch_of_1_mib_passes_and_one_of_more_is_unreadable() -> None:
    batch = job(f="place_orders", a=[["x" * 1_048_000]])
    batch["a"][0][0] += "x" * (1024 * 1024 - len(wire.serialize(batch)))
    assert wire.deserialize_job(wire.serialize(batch)) == as_passed(batch)
    batch["a"][0][0] += "x"
    assert complaint(wire.serialize(batch)) == f"{UNREADABLE}it has 1048577 bytes, 1048576 are allowed"


def test_what_is_too_large_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "deserialize", None)
    assert complaint(bytes(2**20 + 1)) == f"{UNREADABLE}it has 1048577 bytes, 1048576 are allowed"


@pytest.mark.parametrize("name", JOBS)
def test_a_message_nested_9_deep_is_unreadable(name: str) -> None:
    data = wire.serialize(job(f=name, a=["nest"]))
    deep = data.replace(b"\xa4nest", b"\x91" * 8 + b"\xc0")
    assert complaint(deep) == f"{UNREADABLE}it is nested deeper than 8 levels"
    assert wire.deserialize_job(data.replace(b"\xa4nest", b"\x91" * 7 + b"\xc0"))["f"] == name


@pytest.mark.parametrize("name", ["place", "PLACE_ORDER", "", "unreadable"])
def test_a_job_that_nobody_knows_is_named(name: str) -> None:
    assert complaint(wire.serialize(job(f=name))) == f"{UNREADABLE}there is no job named {name!r}"


def test_a_long_name_is_cut() -> None:
    assert complaint(wire.serialize(job(f="x" * 1000))) == f"{UNREADABLE}there is no job named {'x' * 80!r}"


@pytest.mark.parametrize("arguments", [[], [ORDER, ORDER]])
@pytest.mark.parametrize("name", JOBS)
def test_a_job_takes_one_argument(name: str, arguments: list[object]) -> None:
    data = wire.serialize(job(f=name, a=arguments))
    assert complaint(data) == f"{UNREADABLE}{name} takes one argument, its request"


def test_a_job_takes_no_keyword_arguments() -> None:
    data = wire.serialize(job(k={"payload": ORDER}))
    assert complaint(data) == f"{UNREADABLE}place_order takes one argument, its request"


@given(st.binary())
def test_no_bytes_are_too_strange(data: bytes) -> None:
    assert wire.deserialize_job(data)["f"] in {"unreadable", *JOBS}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=6,
)


def or_anything(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return strategy | json_values | st.just(math.nan)


@given(
    st.fixed_dictionaries(
        {
            "t": or_anything(st.none()),
            "f": or_anything(st.sampled_from(JOBS)),
            "a": or_anything(st.lists(json_values, min_size=1, max_size=1)),
            "k": or_anything(st.just({})),
            "et": or_anything(st.integers(0, 2**42 - 1)),
        }
    )
)
def test_what_passes_has_the_types_that_arq_takes_for_granted(content: dict[str, Any]) -> None:
    passed = wire.deserialize_job(wire.serialize(content))
    if passed["f"] == "unreadable":
        assert complaint(wire.serialize(content))
        return
    assert passed == as_passed(content)
    assert passed["t"] is None or (type(passed["t"]) is int and 0 <= passed["t"] < 1_000_000)
    assert passed["f"] in JOBS
    assert (type(passed["a"]), len(passed["a"]), passed["k"]) == (tuple, 1, {})
    assert type(passed["et"]) is int
    assert 0 <= passed["et"] < 2**42


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_what_is_serialized_comes_back(content: dict[str, Any]) -> None:
    assert wire.deserialize(wire.serialize(content)) == content


def test_an_exception_is_serialized_as_its_text() -> None:
    assert wire.deserialize(wire.serialize({"r": ValueError("job expired")})) == {"r": "job expired"}


def test_the_result_of_a_bulk_job_goes_without_its_request() -> None:
    result = job(f="place_orders", a=[[ORDER, ORDER]]) | {"s": True, "r": [{"status": "placed"}]}
    assert wire.deserialize(wire.serialize(result)) == result | {"a": []}
    assert result["a"] == [[ORDER, ORDER]]


@pytest.mark.parametrize("name", ["place_order", "cancel_order", "ship_order", "restock"])
def test_any_other_result_keeps_its_request(name: str) -> None:
    result = job(f=name) | {"s": True, "r": {"status": "placed"}}
    assert wire.deserialize(wire.serialize(result)) == result


def test_a_bulk_job_keeps_its_request_until_it_is_done() -> None:
    bulk = job(f="place_orders", a=[[ORDER, ORDER]])
    assert wire.deserialize(wire.serialize(bulk)) == bulk
