"""Walk all orders by their primary key, a page at a time: no statement is long, and nothing is locked."""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from jobs.transaction import Reader, load_statements

_PAGES = load_statements("orders/pages.sql")
_END: Final = "f" * 32  # the last id that can be


class Page(NamedTuple):
    """The orders with ids above `after`, up to and with `last` (hex digits, as statements take them)."""

    after: str
    last: str
    orders: int


async def pages_of_orders(reader: Reader, size: int) -> AsyncIterator[Page]:
    """Pages without a gap between them; the last one, which may have no order, has no end."""
    after = ""
    while after != _END:
        (row,) = await reader.fetch(_PAGES["page_of_orders"], {"after": after, "size": size})
        last = row["last_order_id"] if row["orders"] == size else _END
        yield Page(after, last, row["orders"])
        after = last


async def about_how_many_orders(reader: Reader) -> int:
    """An estimate, for a progress bar."""
    (row,) = await reader.fetch(_PAGES["about_how_many_orders"], {})
    return int(row["orders"])
