"""Add stock to a product."""

from jobs.contract import Conflict
from jobs.orders.locks import lock_stock
from jobs.orders.outcomes import Restocked, UnknownProduct
from jobs.orders.requests import Restock
from jobs.transaction import Reader, Transaction, load_statements

_STOCK = load_statements("orders/stock.sql")


async def restock(transaction: Transaction, request: Restock) -> Restocked | UnknownProduct:
    """Add the quantity. May run again.

    A duplicate-key error of the transaction means that the restock is known: ask `known_restock`.
    """
    if request.product_id not in await lock_stock(transaction, [request.product_id]):
        return UnknownProduct(restock_id=request.restock_id, product_id=request.product_id)
    row = {
        "restock_id": request.restock_id.hex,
        "product_id": request.product_id,
        "quantity": request.quantity,
    }
    await transaction.execute(_STOCK["insert_restock"], row)
    await transaction.execute(_STOCK["move_stock"], {"moves": [(request.product_id, request.quantity)]})
    return Restocked(**request.model_dump())


async def known_restock(reader: Reader, request: Restock) -> Restocked | Conflict:
    """What came of a restock whose id is taken: a conflict where the content is another."""
    (row,) = await reader.fetch(_STOCK["known_restock"], {"restock_id": request.restock_id.hex})
    if row == {"product_id": request.product_id, "quantity": request.quantity}:
        return Restocked(**request.model_dump())
    return Conflict(id=request.restock_id)
