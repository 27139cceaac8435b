"""Clients in an open loop: they come at their times, however long the others before them wait."""

import asyncio
from asyncio import IncompleteReadError
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final
from uuid import UUID

from pymysql.err import MySQLError
from redis.exceptions import RedisError

from jobs.orders.requests import CancelOrder, PlaceOrder, Restock, ShipOrder
from tests.soak.history import AnyRequest, Asked
from worker.client import OrderClient, Receipt

RATE: Final = 40.0  # requests a second
AGAIN_SECONDS: Final = 0.5  # after a call that failed
OUTAGES: Final = (RedisError, OSError, MySQLError, IncompleteReadError)
STAGED: Final = 0.5  # of the orders
LEAVES: Final = 0.1  # of the clients, as soon as Redis has the request
# How often each thing is asked for.
WISHES: Final = {"new": 72, "twice": 6, "late": 8, "other content": 3, "cancel": 5, "ship": 4, "restock": 2}
NEW: Final = (WISHES["new"] + WISHES["twice"]) / sum(WISHES.values())  # of the requests


class Clients:
    """Ask at random, the same for the same seed, and write down what they see."""

    def __init__(
        self, seed: int, client: OrderClient, staging: OrderClient, new_orders: Iterator[PlaceOrder],
        hot_products: Sequence[int], clock: Callable[[], float],
    ) -> None:  # fmt: skip
        """`staging`: a client that stages its orders in the database first."""
        self.history: list[Asked] = []
        self.failures: list[BaseException] = []  # that no outage explains
        self.waiting: set[asyncio.Task[None]] = set()
        self._chance = Random(f"{seed} clients")  # the same again for the same seed
        self._client = client
        self._staging = staging
        self._new_orders = new_orders
        self._hot_products = hot_products
        self._clock = clock
        self._known: list[PlaceOrder] = []

    async def come(self, seconds: float) -> None:
        """Until so long after the start."""
        at = 0.0
        while (at := at + self._chance.expovariate(RATE)) < seconds:
            await asyncio.sleep(at - self._clock())
            for request in self._wish():
                staged = isinstance(request, PlaceOrder) and self._chance.random() < STAGED
                waits = self._chance.random() >= LEAVES
                self._start(Asked(request, self._clock(), waits=waits, staged=staged))

    async def ask_all_again(self, orders: Sequence[PlaceOrder]) -> None:
        """Each of these orders once more."""
        asked_at = self._clock()
        receipts = [receipt async for receipt in self._client.place_many(orders)]
        for order, receipt in zip(orders, receipts, strict=True):
            asked = Asked(order, asked_at, accepted_at=asked_at)
            self.history.append(asked)
            asked.outcome, asked.seen_at = await receipt.outcome(), self._clock()

    def _wish(self) -> list[AnyRequest]:
        chance = self._chance
        (wish,) = chance.choices(list(WISHES), list(WISHES.values()))
        if wish in {"new", "twice"} or not self._known:
            order = next(self._new_orders)
            self._known.append(order)
            return [order] * (2 if wish == "twice" else 1)
        old = chance.choice(self._known)
        if wish == "late":
            return [old]
        if wish == "other content":
            # Not model_copy: it keeps the old fingerprint, which is cached.
            lines = (*old.lines, old.lines[0])
            return [PlaceOrder(order_id=old.order_id, customer_id=old.customer_id, lines=lines)]
        if wish == "restock":
            product_id = chance.choice(self._hot_products)
            restock_id = UUID(int=chance.getrandbits(128))
            return [Restock(restock_id=restock_id, product_id=product_id, quantity=chance.randint(1, 20))]
        return [CancelOrder(order_id=old.order_id) if wish == "cancel" else ShipOrder(order_id=old.order_id)]

    def _start(self, asked: Asked) -> None:
        self.history.append(asked)
        task = asyncio.create_task(self._ask(asked))
        self.waiting.add(task)
        task.add_done_callback(self._leave)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self.waiting.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.failures.append(error)

    async def _ask(self, asked: Asked) -> None:
        while True:
            try:
                receipt = await self._send(asked.request, self._staging if asked.staged else self._client)
                asked.accepted_at = self._clock()
                if asked.waits:
                    asked.outcome = await receipt.outcome()
                    asked.seen_at = self._clock()
            except OUTAGES:
                asked.failures += 1
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return

    async def _send(self, request: AnyRequest, client: OrderClient) -> Receipt:
        match request:
            case PlaceOrder():
                return await client.place(request)
            case CancelOrder():
                return await client.cancel(request.order_id)
            case ShipOrder():
                return await client.ship(request.order_id)
            case Restock():
                return await client.restock(request)
