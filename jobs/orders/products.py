"""What the catalogue says of products."""

from collections.abc import Collection

from jobs.transaction import Reader, load_statements

_PRODUCTS = load_statements("orders/stock.sql")


async def product_names(reader: Reader, product_ids: Collection[int]) -> dict[int, str]:
    """The names of those that there are."""
    rows = await reader.fetch(_PRODUCTS["product_names"], {"product_ids": list(product_ids)})
    return {row["product_id"]: row["name"] for row in rows}


async def has_products(reader: Reader) -> bool:
    """Whether a catalogue has been loaded."""
    (row,) = await reader.fetch(_PRODUCTS["any_product"], {})
    return bool(row["found"])
