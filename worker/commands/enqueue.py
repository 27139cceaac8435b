"""`lockstep enqueue`."""

import asyncio

import click

from jobs.orders.requests import MAX_ORDERS, PlaceOrder
from worker.client import OrderClient
from worker.commands.terminal import console, progress_of_files, report_bad_line
from worker.files import open_source, read_json_lines
from worker.settings import Settings, read_settings


@click.command()
@click.argument("file")
@click.option(
    "--chunk", type=click.IntRange(1, MAX_ORDERS), default=100, show_default=True, help="orders in one job"
)
def enqueue(file: str, chunk: int) -> None:
    """Enqueue the orders of FILE, a JSON object a line, plain or gzipped; - is standard input."""
    counts = {"enqueued": 0, "known already": 0, "bad lines": 0}

    def bad_line(number: int, problem: str) -> None:
        counts["bad lines"] += 1
        report_bad_line(file, number, problem)

    async def send(settings: Settings) -> None:
        with open_source(file) as source, progress_of_files() as show:
            async with OrderClient.connect(settings.redis_url, queue_name=settings.queue_name) as client:
                orders = read_json_lines(source, PlaceOrder, bad_line)
                async for receipt in client.place_many(orders, chunk=chunk):
                    counts["known already" if receipt.known else "enqueued"] += 1
                    show(source)

    try:
        asyncio.run(send(read_settings()))
    finally:  # also when it was interrupted: to do it again is safe
        console.print(", ".join(f"{count:,} {name}" for name, count in counts.items()))
    if counts["bad lines"]:
        raise SystemExit(1)
