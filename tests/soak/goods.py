"""What there is to buy, and what most want of it."""

from collections import Counter
from collections.abc import Sequence
from math import ceil
from typing import Final

from benchmarks.loads import Load
from jobs.orders.requests import PlaceOrder

HOT: Final = 20  # products that a stranger holds, and that are restocked


def scarce(load: Load, share: float) -> Load:
    """Stock and limits for a share of the baskets: some orders must be rejected."""
    products = [
        product.model_copy(update={"available": ceil(product.available * share)}) for product in load.products
    ]
    customers = [
        customer.model_copy(
            update={
                "credit_limit_cents": customer.credit_limit_cents
                and ceil(customer.credit_limit_cents * share)
            }
        )
        for customer in load.customers
    ]
    return Load([], products, customers)


def most_wanted(baskets: Sequence[PlaceOrder]) -> list[int]:
    """The products that are in most of them."""
    wanted = Counter(product_id for basket in baskets for product_id in basket.quantities)
    return [product_id for product_id, _ in wanted.most_common(HOT)]
