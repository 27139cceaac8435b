"""`lockstep outcome`."""

from uuid import UUID

import click

from jobs.contract import Dead, Outcome
from jobs.dead_letters import dead_letters_of
from jobs.orders.known_orders import find_orders
from jobs.orders.outcomes import NotFound
from worker.commands.database import on_database
from worker.database.transactions import Database


@click.command()
@click.argument("order_id", type=click.UUID)
def outcome(order_id: UUID) -> None:
    """What became of an order, from the database."""

    async def find(database: Database) -> Outcome:
        if order := (await find_orders(database, [order_id])).get(order_id):
            return order.standing_outcome()
        if letters := await dead_letters_of(database, str(order_id)):
            return Dead(job_id=str(order_id), error=letters[0].error)
        return NotFound(order_id=order_id)

    click.echo(on_database(find).model_dump_json(exclude_none=True))
