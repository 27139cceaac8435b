from pathlib import Path

import pytest

from benchmarks.loads import baskets, order_ids, short_baskets, single_lines
from worker.errors import LockstepError

SAMPLES = Path(__file__).resolve().parents[3] / "samples" / "journey"


def test_order_ids_are_ascending_uuids_of_version_7() -> None:
    ids = list(order_ids(1000))
    assert ids == sorted(set(ids))
    assert {order_id.version for order_id in ids} == {7}
    assert {order_id.variant for order_id in ids} == {"specified in RFC 4122"}


def test_every_run_has_the_same_orders() -> None:
    assert list(order_ids(10)) == list(order_ids(10))
    again = single_lines.__wrapped__(5, 20)
    assert again.orders == single_lines(5, 20).orders


def test_baskets_are_repeated_and_the_stock_and_the_limits_with_them() -> None:
    once, twice = baskets(SAMPLES, 2000), baskets(SAMPLES, 2001)
    assert len({order.order_id for order in twice.orders}) == 2001
    assert twice.orders[2000].quantities == once.orders[0].quantities
    assert [product.available for product in twice.products] == [2 * p.available for p in once.products]
    limits = [(customer.credit_limit_cents or 0) * 2 or None for customer in once.customers]
    assert [customer.credit_limit_cents for customer in twice.customers] == limits


def test_one_product_and_a_thousand_have_the_same_number_of_lines_and_enough_stock() -> None:
    one, thousand = single_lines(1, 3000), single_lines(1000, 3000)
    assert {line.product_id for order in one.orders for line in order.lines} == {1}
    assert len({line.product_id for order in thousand.orders for line in order.lines}) > 900
    assert {len(order.lines) for order in [*one.orders, *thousand.orders]} == {1}
    assert {product.available for product in [*one.products, *thousand.products]} == {3000}


def test_short_baskets_have_so_many_products_each_and_ids_of_their_own() -> None:
    short = short_baskets(SAMPLES, 6, 1100)
    assert {len(order.lines) for order in short.orders} == {6}
    assert {len(order.quantities) for order in short.orders} == {6}
    assert len({order.order_id for order in short.orders}) == 1100


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl.gz").write_text("{}\n")
    with pytest.raises(LockstepError, match="the orders cannot be used, line 1"):
        baskets(tmp_path, 1)
