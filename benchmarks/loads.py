"""What is placed in a round: orders, and the shop that most of them can be placed in."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Final
from uuid import UUID

from jobs.orders.add_catalogue import NewCustomer, Product
from jobs.orders.requests import Line, PlaceOrder
from worker.errors import LockstepError
from worker.files import Model, open_source, read_csv, read_json_lines

HOT_PRODUCT: Final = 1
MANY_PRODUCTS: Final = 1000
CUSTOMERS: Final = 1000
SEED: Final = 20261122
_FIRST_MS: Final = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Load:
    """Orders with ids of their own, and the products and customers that a round begins with."""

    orders: Sequence[PlaceOrder]
    products: Sequence[Product]
    customers: Sequence[NewCustomer]


@cache
def baskets(folder: Path, count: int) -> Load:
    """The orders of a folder, repeated until there are `count`; stock and limits grow with the repetitions.

    Thus about as many are placed as when each order comes once.
    """
    found = read_baskets(folder)
    return replace(shop(folder, -(-count // len(found))), orders=list(repeated(found, count)))


@cache
def short_baskets(folder: Path, lines: int, count: int) -> Load:
    """The same with the first `lines` products of each order that has so many."""
    found = [_cut(order, lines) for order in read_baskets(folder) if len(order.quantities) >= lines]
    return replace(shop(folder, -(-count // len(found))), orders=list(repeated(found, count)))


def _cut(order: PlaceOrder, lines: int) -> PlaceOrder:
    first_ones = islice(order.quantities.items(), lines)
    return PlaceOrder(
        order_id=order.order_id,
        customer_id=order.customer_id,
        lines=tuple(Line(product_id=product_id, quantity=quantity) for product_id, quantity in first_ones),
    )


def read_baskets(folder: Path) -> list[PlaceOrder]:
    """The orders of a folder."""
    with open_source(str(folder / "orders.jsonl.gz")) as source:
        return list(read_json_lines(source, PlaceOrder, _no_bad_line))


def repeated(found: Sequence[PlaceOrder], count: int) -> Iterator[PlaceOrder]:
    """The same orders over and over, each under a new id."""
    for order, order_id in zip(cycle(found), order_ids(count), strict=False):
        yield order.model_copy(update={"order_id": order_id})


def shop(folder: Path, times: int) -> Load:
    """What the orders of a folder need to come so many times; none of them."""
    return Load(
        orders=[],
        products=[
            product.model_copy(update={"available": product.available * times})
            for product in _rows(folder / "products.csv.gz", Product)
        ],
        customers=[
            customer.model_copy(
                update={"credit_limit_cents": (customer.credit_limit_cents or 0) * times or None}
            )
            for customer in _rows(folder / "customers.csv.gz", NewCustomer)
        ],
    )


@cache
def single_lines(product_count: int, count: int) -> Load:
    """Orders of one line and one piece each, spread evenly at random over so many products."""
    chance = random.Random(SEED)  # noqa: S311  # the same orders in every run
    orders = [
        PlaceOrder(
            order_id=order_id,
            customer_id=chance.randint(1, CUSTOMERS),
            lines=(Line(product_id=chance.randint(HOT_PRODUCT, product_count), quantity=1),),
        )
        for order_id in order_ids(count)
    ]
    return Load(
        orders=orders,
        products=[
            Product(product_id=number, name=f"product {number}", price_cents=100, available=count)
            for number in range(HOT_PRODUCT, product_count + 1)
        ],
        customers=[
            NewCustomer(customer_id=number, name=f"customer {number}") for number in range(1, CUSTOMERS + 1)
        ],
    )


def order_ids(count: int) -> Iterator[UUID]:
    """UUIDs of version 7, one a millisecond: new rows go to the end of the primary key, as with real ones."""
    chance = random.Random(SEED)  # noqa: S311  # the same ids in every run
    for number in range(count):
        bits = (_FIRST_MS + number) << 80 | chance.getrandbits(80)
        yield UUID(int=bits & ~(0xF << 76) & ~(0b11 << 62) | 7 << 76 | 0b10 << 62)


def first(load: Load, count: int) -> Load:
    """The same shop with the first orders only."""
    return Load(list(islice(load.orders, count)), load.products, load.customers)


def _rows(path: Path, model: type[Model]) -> Iterator[Model]:
    with open_source(str(path)) as source:
        yield from read_csv(source, model, _no_bad_line)


def _no_bad_line(line: int, problem: str) -> None:
    raise LockstepError(f"the orders cannot be used, line {line}: {problem}.")
