"""Whatever comes over the wire is a job, or an `unreadable` job; whatever is asked is a request, or one short sentence."""

import ast
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgpack
import pytest
from arq.jobs import serialize_job
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from jobs.contract import MAX_ID, Invalid
from jobs.orders.add_catalogue import NewCustomer, Product
from jobs.orders.outcomes import outcomes
from jobs.orders.requests import MAX_ORDERS, MAX_QUANTITY, CancelOrder, Line, PlaceOrder, Restock, ShipOrder
from worker.errors import MOST_CHARACTERS, sentence
from worker.queue import wire
from worker.queue.results import read_result

ROOT = Path(__file__).resolve().parents[3]
REQUESTS: list[type[BaseModel]] = [PlaceOrder, CancelOrder, ShipOrder, Restock, Product, NewCustomer]
JOBS = [wire.PLACE_ORDER, wire.PLACE_ORDERS, wire.CANCEL_ORDER, wire.SHIP_ORDER, wire.RESTOCK]
MODELS: list[type[BaseModel]] = [*REQUESTS, Line]
FIELDS = sorted({field for model in MODELS for field in model.model_fields})

# What msgpack and JSON make values of, and those that are nearly right.
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | st.uuids().map(str)
    | st.datetimes().map(str)
    | st.sampled_from(
        [0, 1, MAX_ID, MAX_ID + 1, MAX_QUANTITY, "1", "NaN", "\x00", "\ud7ff", "9999-12-31T23:59:59-23:59"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=5)
    ),
    max_leaves=12,
)
line = st.fixed_dictionaries({"product_id": st.integers(1, MAX_ID), "quantity": st.integers(1, MAX_QUANTITY)})
requests = st.fixed_dictionaries(
    {
        "order_id": st.uuids().map(str),
        "customer_id": st.integers(1, MAX_ID),
        "lines": st.lists(line | values, max_size=3),
    },
    optional={"placed_at": values, "restock_id": values, "note": values},
)


@given(st.sampled_from(REQUESTS), values | requests)
def test_any_value_is_a_request_or_a_short_sentence(model: type[BaseModel], value: Any) -> None:
    try:
        request = model.model_validate(value)
    except ValidationError as error:
        text = sentence(error)
        assert 0 < len(text) <= MOST_CHARACTERS
        assert text.isprintable()
        refusal = Invalid(error=text).model_dump(mode="json")
        assert outcomes.validate_python(msgpack.unpackb(wire.serialize(refusal))) == Invalid(error=text)
    else:
        assert model.model_validate(request.model_dump(mode="json")) == request


@given(st.sampled_from(REQUESTS), st.text() | st.binary())
def test_any_text_is_a_request_or_a_short_sentence(model: type[BaseModel], text: str | bytes) -> None:
    with pytest.raises(ValidationError) as raised:
        model.model_validate_json(text)
    assert 0 < len(sentence(raised.value)) <= MOST_CHARACTERS


@given(st.sampled_from(JOBS), requests | st.lists(requests, max_size=2), st.data())
def test_a_message_that_was_damaged_on_its_way_is_a_job_or_unreadable(
    name: str, request: Any, data: st.DataObject
) -> None:
    sent = bytearray(serialize_job(name, (request,), {}, None, 1_760_000_000_000, serializer=wire.serialize))
    for place in data.draw(st.lists(st.integers(0, len(sent) - 1), max_size=8)):
        sent[place] = data.draw(st.integers(0, 255))
    received = wire.deserialize_job(bytes(sent[: data.draw(st.integers(0, len(sent)))]))
    assert received["f"] in {wire.UNREADABLE, *JOBS}
    result = {**received, "s": True, "r": Invalid(error="x").model_dump(mode="json")}
    assert read_result(wire.serialize(result)).succeeded
    assert received["f"] == wire.UNREADABLE or repr(received["a"]) == "(…,)", "what arq prints"


@given(st.binary())
def test_any_bytes_are_a_result_or_one_that_failed(data: bytes) -> None:
    assert isinstance(read_result(data).content, object)


def test_the_largest_job_of_a_client_is_allowed() -> None:
    most = wire.MAX_BATCH_LINES // MAX_ORDERS
    order = PlaceOrder(
        order_id=UUID(int=2**128 - 1),
        customer_id=MAX_ID,
        lines=(Line(product_id=MAX_ID, quantity=MAX_QUANTITY),) * most,
        placed_at=datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    )
    job = wire.bulk([wire.placing(order).payload] * MAX_ORDERS)
    data = serialize_job(job.task, (job.payload,), {}, None, 2**42 - 1, serializer=wire.serialize)
    assert len(data) < wire.MAX_BATCH_BYTES
    assert wire.deserialize_job(data)["f"] == wire.PLACE_ORDERS


class Trap:
    """What a pickle may do to whoever loads it."""

    sprung = False

    def __reduce__(self) -> Any:
        return setattr, (Trap, "sprung", True)


def test_a_pickle_is_not_loaded() -> None:
    job = pickle.dumps({"t": None, "f": wire.PLACE_ORDER, "a": (Trap(),), "k": {}, "et": 1})
    received = wire.deserialize_job(job)
    assert received["f"] == wire.UNREADABLE
    assert received["a"][0].startswith("the message cannot be read: ")
    assert not read_result(job).succeeded
    assert not Trap.sprung
    pickle.loads(job)
    assert Trap.sprung, "it is one"


def test_no_module_can_load_code_from_data() -> None:
    """arq's own default is pickle: whatever makes a connection or a worker says what to use instead."""
    sources = [
        path for room in ("worker", "jobs", "benchmarks") for path in sorted((ROOT / room).rglob("*.py"))
    ]
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=names):
                    imported = {name.name.split(".")[0] for name in names}
                case ast.ImportFrom(module=str(module)):
                    imported = {module.split(".")[0]}
                case ast.Call(func=ast.Name(id="eval" | "exec" | "compile" | "__import__")):
                    imported = {"pickle"}
                case ast.Call(
                    func=ast.Name(id="ArqRedis" | "create_pool" | "Worker" | "Job"), keywords=keywords
                ):
                    given_names = {keyword.arg for keyword in keywords}
                    imported = (
                        set() if given_names & {"job_deserializer", "_deserializer", None} else {"pickle"}
                    )
                case _:
                    continue
            assert imported.isdisjoint({"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}), (
                f"{path}:{node.lineno}"
            )
