from collections.abc import Sequence

from jobs.orders.pages import Page, about_how_many_orders, pages_of_orders
from jobs.transaction import Parameters, Row, Statement
from tests.unit.jobs.recording import RecordingTransaction

END = "f" * 32


class Table:
    """Orders with these ids."""

    def __init__(self, *ids: str) -> None:
        self._ids = ids

    async def fetch(self, _: Statement, parameters: Parameters) -> Sequence[Row]:
        page = [each for each in self._ids if each > parameters["after"]][: parameters["size"]]
        return [{"orders": len(page), "last_order_id": max(page, default=None)}]


async def pages(*ids: str) -> list[Page]:
    return [page async for page in pages_of_orders(Table(*ids), 2)]


async def test_pages_leave_no_gap_and_the_last_has_no_end() -> None:
    assert await pages("1", "2", "3") == [Page("", "2", 2), Page("2", END, 1)]


async def test_after_a_full_page_an_empty_one_covers_the_rest() -> None:
    assert await pages("1", "2") == [Page("", "2", 2), Page("2", END, 0)]


async def test_an_empty_table_is_one_page() -> None:
    assert await pages() == [Page("", END, 0)]


async def test_the_last_id_that_can_be_ends_the_walk() -> None:
    assert await pages("1", END) == [Page("", END, 2)]


async def test_the_number_of_orders_is_an_estimate_of_the_server() -> None:
    assert (
        await about_how_many_orders(RecordingTransaction({"about_how_many_orders": [{"orders": 12}]})) == 12
    )
