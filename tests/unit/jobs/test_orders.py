import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from jobs.orders.outcomes import Placed, Rejected, outcomes
from jobs.orders.requests import Line, PlaceOrder

ORDER_ID = UUID(int=1)


def order(*lines: tuple[int, int], customer_id: int = 1, placed_at: object = None) -> PlaceOrder:
    payload: dict[str, Any] = {
        "order_id": ORDER_ID,
        "customer_id": customer_id,
        "lines": [{"product_id": product_id, "quantity": quantity} for product_id, quantity in lines],
        "placed_at": placed_at,
    }
    return PlaceOrder.model_validate(payload)


def lines() -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(1, 6), st.integers(1, 10_000)), min_size=1, max_size=8)


def test_lines_of_the_same_product_are_one() -> None:
    assert order((7, 2), (3, 1), (7, 10)).quantities == {3: 1, 7: 12}


@given(lines())
def test_quantities_come_by_ascending_product(asked: list[tuple[int, int]]) -> None:
    merged = order(*asked).quantities
    assert list(merged) == sorted({product_id for product_id, _ in asked})
    assert sum(merged.values()) == sum(quantity for _, quantity in asked)


@given(st.data(), lines())
def test_the_fingerprint_does_not_depend_on_the_order_of_the_lines(
    data: st.DataObject, asked: list[tuple[int, int]]
) -> None:
    permuted = data.draw(st.permutations(asked))
    assert order(*permuted).fingerprint == order(*asked).fingerprint


@given(lines(), st.integers(2, 10_000), st.data())
def test_the_fingerprint_does_not_depend_on_how_lines_are_split(
    others: list[tuple[int, int]], quantity: int, data: st.DataObject
) -> None:
    part = data.draw(st.integers(1, quantity - 1))
    whole, split = order((7, quantity), *others), order((7, part), *others, (7, quantity - part))
    assert split.fingerprint == whole.fingerprint


@given(lines(), lines(), st.integers(1, 3), st.integers(1, 3))
def test_fingerprints_are_the_same_for_the_same_content_only(
    some: list[tuple[int, int]], others: list[tuple[int, int]], one_customer: int, another_customer: int
) -> None:
    one, another = order(*some, customer_id=one_customer), order(*others, customer_id=another_customer)
    same = one_customer == another_customer and one.quantities == another.quantities
    assert (one.fingerprint == another.fingerprint) is same


@pytest.mark.parametrize(
    "other",
    [
        order((1, 2), customer_id=2),
        order((1, 3)),
        order((2, 2)),
        order((1, 2), (2, 1)),
    ],
    ids=["customer", "quantity", "product", "one line more"],
)
def test_the_fingerprint_tells_other_content(other: PlaceOrder) -> None:
    assert other.fingerprint != order((1, 2)).fingerprint


def test_the_fingerprint_is_32_hex_digits() -> None:
    assert len(bytes.fromhex(order((1, 2)).fingerprint)) == 16


def test_the_fingerprint_does_not_depend_on_when_the_order_was_placed() -> None:
    assert order((1, 2), placed_at="2026-01-02T03:04:05").fingerprint == order((1, 2)).fingerprint


def test_the_fingerprint_never_changes_between_versions() -> None:
    assert order((1, 2), (3, 4), customer_id=5).fingerprint == "32c4ea995fa555451caceba61fc4acb3"


@pytest.fixture
def _a_clock_in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as environment:
        environment.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_a_clock_in_new_york")
def test_a_moment_without_an_offset_is_utc() -> None:
    assert order((1, 1), placed_at="2026-01-02T03:04:05.678901").placed_at == datetime(
        2026, 1, 2, 3, 4, 5, 678901, UTC
    )


@pytest.mark.parametrize(
    "text", ["2026-01-02T03:04:05+05:30", "2026-01-01T21:34:05Z", "2026-01-01 20:34:05-01:00"]
)
def test_a_moment_with_an_offset_becomes_utc(text: str) -> None:
    moment = order((1, 1), placed_at=text).placed_at
    assert moment is not None
    assert moment.isoformat() == "2026-01-01T21:34:05+00:00"


def test_an_order_may_leave_its_moment_to_the_transaction() -> None:
    assert order((1, 1)).placed_at is None


@pytest.mark.parametrize("text", ["1969-12-31T23:59:59", "9999-01-01T00:00:00", "0001-01-01T00:00:00"])
def test_a_year_that_is_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="the year must be from 1970 to 9998"):
        order((1, 1), placed_at=text)


@pytest.mark.parametrize(
    "text",
    [
        "1970-01-01T00:00:00+05:00",
        "1970-01-01T04:59:59.999999+05:00",
        "9998-12-31T23:59:59-05:00",
        "9998-12-31T19:00:00-05:00",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
    ],
)
def test_a_year_that_is_out_of_range_in_utc_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="the year must be from 1970 to 9998, in UTC"):
        order((1, 1), placed_at=text)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("1970-01-01T05:00:00+05:00", "1970-01-01T00:00:00"),
        ("1969-12-31T19:00:00-05:00", "1970-01-01T00:00:00"),
        ("9998-12-31T18:59:59-05:00", "9998-12-31T23:59:59"),
        ("9999-01-01T04:59:59+05:00", "9998-12-31T23:59:59"),
    ],
)
def test_a_year_that_is_in_range_in_utc_is_accepted(text: str, utc: str) -> None:
    assert order((1, 1), placed_at=text).placed_at == datetime.fromisoformat(utc).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["1970-01-01T00:00:00", "9998-12-31T23:59:59.999999"])
def test_the_first_and_the_last_moment_are_accepted(text: str) -> None:
    moment = order((1, 1), placed_at=text).placed_at
    assert moment is not None
    assert moment.replace(tzinfo=None).isoformat() == text


def with_offset(local: datetime, offset_minutes: int) -> str:
    sign, minutes = "-" if offset_minutes < 0 else "+", abs(offset_minutes)
    return f"{local.isoformat()}{sign}{minutes // 60:02}:{minutes % 60:02}"


@given(st.datetimes(), st.integers(-1439, 1439))
@example(datetime.fromisoformat("9998-12-31T23:59:59"), -1439)
@example(datetime.fromisoformat("9999-01-01T00:00:00"), 1439)
@example(datetime.fromisoformat("9999-12-31T23:59:59"), -1439)
@example(datetime.fromisoformat("1970-01-01T00:00:00"), 1439)
@example(datetime.fromisoformat("1969-12-31T23:59:59"), -1439)
@example(datetime.fromisoformat("0001-01-01T00:00:00"), 1439)
def test_a_moment_keeps_its_instant_or_is_refused(local: datetime, offset_minutes: int) -> None:
    try:
        utc = local - timedelta(minutes=offset_minutes)
    except OverflowError:
        utc = None
    try:
        moment = order((1, 1), placed_at=with_offset(local, offset_minutes)).placed_at
    except ValidationError:
        assert utc is None or not 1970 <= utc.year <= 9998
        return
    assert moment is not None
    assert moment.tzinfo is UTC
    assert moment.replace(tzinfo=None) == utc
    assert 1970 <= moment.year <= 9998


def near(text: str) -> st.SearchStrategy[datetime]:
    """Moments of the two days around this one: where the range ends."""
    middle = datetime.fromisoformat(text)
    return st.datetimes(middle - timedelta(days=1), middle + timedelta(days=1))


locals_ = st.datetimes() | near("1970-01-01") | near("9999-01-01")
moments = (
    st.none()
    | locals_
    | locals_.map(datetime.isoformat)
    | st.builds(with_offset, locals_, st.integers(-1439, 1439))
    | st.integers()
    | st.floats()
)


@given(st.uuids(), st.integers(1, 2**63 - 1), lines(), moments)
@example(ORDER_ID, 1, [(1, 1)], "1970-01-01T00:00:00+05:00")
@example(ORDER_ID, 1, [(1, 1)], "9998-12-31T23:59:59-05:00")
@example(ORDER_ID, 1, [(1, 1)], "9999-01-01T00:00:00+05:00")
@example(ORDER_ID, 1, [(1, 1)], "1969-12-31T23:59:59-05:00")
def test_an_order_that_was_accepted_is_accepted_again_from_the_wire(
    order_id: UUID, customer_id: int, asked: list[tuple[int, int]], placed_at: object
) -> None:
    content = {
        "order_id": str(order_id),
        "customer_id": customer_id,
        "lines": [{"product_id": product_id, "quantity": quantity} for product_id, quantity in asked],
        "placed_at": placed_at,
    }
    try:
        accepted = PlaceOrder.model_validate(content)
    except ValidationError as error:
        assert {problem["loc"] for problem in error.errors()} == {("placed_at",)}  # noqa: PT017  # the rest is right
        return
    for absent in (True, False):
        dumped = accepted.model_dump(mode="json", exclude_none=absent)
        assert PlaceOrder.model_validate(dumped) == accepted


def test_a_request_cannot_be_changed() -> None:
    line = Line(product_id=1, quantity=1)
    with pytest.raises(ValidationError, match="frozen"):
        line.quantity = 2  # type: ignore[misc]  # what must not work


def test_an_outcome_is_told_by_its_status() -> None:
    placed = Placed(order_id=ORDER_ID, total_cents=5)
    rejected = Rejected(order_id=ORDER_ID, reason="insufficient_stock", product_id=3)
    assert [outcomes.validate_python(outcome.model_dump(mode="json")) for outcome in (placed, rejected)] == [
        placed,
        rejected,
    ]
