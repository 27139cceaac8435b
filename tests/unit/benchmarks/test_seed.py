from uuid import UUID

from benchmarks.seed import order_id_of, read_baskets, time_of


def test_ids_of_the_past_are_of_version_7_and_ascend() -> None:
    ids = [order_id_of(number) for number in range(0, 10_000, 7)]
    assert {(UUID(each).version, UUID(each).variant) for each in ids} == {(7, UUID(ids[0]).variant)}
    assert ids == sorted(set(ids))
    milliseconds = UUID(ids[1]).int >> 80
    assert milliseconds == time_of(7).timestamp() * 1000


def test_baskets_are_cut_and_some_are_rejected_cancelled_or_open() -> None:
    baskets, lines = read_baskets(2)
    assert [basket["basket"] for basket in baskets] == list(range(2000))
    assert {basket["status"] for basket in baskets} == {"placed", "shipped", "cancelled", "rejected"}
    of_third = [line for line in lines if line["basket"] == 3]
    assert baskets[3]["total_cents"] == sum(line["quantity"] * line["unit_price_cents"] for line in of_third)
    assert max(sum(1 for line in lines if line["basket"] == number) for number in range(50)) == 2
    rejected = next(basket for basket in baskets if basket["status"] == "rejected")
    assert (rejected["total_cents"], [line for line in lines if line["basket"] == rejected["basket"]]) == (
        0,
        [],
    )


def test_it_is_the_same_history_every_time() -> None:
    assert read_baskets(3) == read_baskets(3)
