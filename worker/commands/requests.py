"""`lockstep cancel`, `ship` and `restock`: one request, and the worker's outcome of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID, uuid4

import click

from jobs.contract import Outcome
from jobs.orders.requests import Restock
from worker.client import OrderClient, Receipt
from worker.settings import read_settings

OUTCOME_SECONDS: Final = 30.0


@click.command()
@click.argument("order_id", type=click.UUID)
def cancel(order_id: UUID) -> None:
    """Cancel an order: its stock and its amount go back."""
    _ask(lambda client: client.cancel(order_id))


@click.command()
@click.argument("order_id", type=click.UUID)
def ship(order_id: UUID) -> None:
    """Ship an order."""
    _ask(lambda client: client.ship(order_id))


@click.command()
@click.argument("product_id", type=click.IntRange(min=1))
@click.argument("quantity", type=click.IntRange(min=1))
@click.option("--id", "restock_id", type=click.UUID, default=uuid4, help="give it to repeat a restock safely")
def restock(product_id: int, quantity: int, restock_id: UUID) -> None:
    """Add QUANTITY to the stock of PRODUCT_ID."""
    request = Restock(restock_id=restock_id, product_id=product_id, quantity=quantity)
    _ask(lambda client: client.restock(request))


def _ask(send: Callable[[OrderClient], Awaitable[Receipt]]) -> None:
    async def ask() -> Outcome:
        settings = read_settings()
        async with OrderClient.connect(settings.redis_url, queue_name=settings.queue_name) as client:
            receipt = await send(client)
            return await receipt.outcome(timeout=OUTCOME_SECONDS)

    click.echo(asyncio.run(ask()).model_dump_json(exclude_none=True))
