"""What the storefront takes: `python -m benchmarks.storefront`, three minutes. It needs Debian's package wrk.

The three reads of a page, each alone and all at once, in this process; and then pages of `lockstep web`, a process of its
own, as fast as 64 connections can ask for them, with a warm cache.
"""

import asyncio
import json
import re
import shutil
import socket
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final
from urllib.request import urlopen
from uuid import uuid4

import click
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.crews import ROOT
from benchmarks.machine import describe
from benchmarks.seed import read_orders, seed_with_a_bar
from jobs.orders.storefront import PAGE, find_customer, find_product, find_reviews
from jobs.orders.write_review import WriteReview
from worker.database.migrations import migrate
from worker.database.transactions import Database, Look
from worker.embedded import LOOPBACK, Servers, running_servers
from worker.errors import LockstepError
from worker.processes import interrupt_on_signals, start_worker, stopped_at_the_end
from worker.queue.connection import queue_at
from worker.queue.idempotency import review_once
from worker.settings import Settings

FOLDER: Final = ROOT / ".lockstep" / "storefront"
RESULTS: Final = ROOT / "build" / "bench" / "storefront.json"
PRODUCT: Final = 1_082_185  # bananas
MOST_LINES: Final = 20  # of an order: the whole basket, but of the largest
REVIEWS: Final = 200
GOAL: Final = 1.3  # all three at once : the slowest of them alone
CONNECTIONS: Final = 64
START_SECONDS: Final = 30
# What wrk prints.
_P99: Final = re.compile(r"^ +99% +([\d.]+)(us|ms|s)$", re.MULTILINE)
_RATE: Final = re.compile(r"^Requests/sec: +([\d.]+)$", re.MULTILINE)
_ERRORS: Final = re.compile(r"^  ((?:Socket errors|Non-2xx or 3xx responses): .*)$", re.MULTILINE)
_MILLISECONDS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0}


async def fill(servers: Servers, orders: int, console: Console) -> int:
    """A long history, and reviews; the customer who has ordered most."""
    owner = Settings(mysql_url=servers.migration_url, redis_url=servers.redis_url)
    await seed_with_a_bar(owner, orders, MOST_LINES, console)
    customers = Counter(order.customer_id for order in read_orders())
    async with Database(owner) as database:
        for number, customer_id in enumerate(sorted(customers)[:REVIEWS]):
            review = WriteReview(
                review_id=uuid4(), product_id=PRODUCT, customer_id=customer_id, rating=1 + number % 5,
                body="Ripe, and good for the price. " * (1 + number % 8),
            )  # fmt: skip
            await review_once(database, review)
    ((busiest, _),) = customers.most_common(1)
    return busiest


async def measure_reads(servers: Servers, customer_id: int, rounds: int) -> dict[str, float]:
    """Medians in milliseconds: each read alone, all at once, and the ratio to the slowest. They take turns."""
    settings = Settings(mysql_url=servers.mysql_url, redis_url=servers.redis_url)
    async with Database(settings) as database:
        reader = Look(database)
        reads: Mapping[str, Callable[[], Awaitable[Any]]] = {
            "orders": partial(find_customer, reader, customer_id),
            "product": partial(find_product, reader, PRODUCT),
            "reviews": partial(find_reviews, reader, PRODUCT),
        }

        async def at_once() -> None:
            async with asyncio.TaskGroup() as group:
                for read in reads.values():
                    group.create_task(_run(read))

        _check_that_they_are_full(await reads["orders"](), await reads["reviews"]())
        seconds: dict[str, list[float]] = {name: [] for name in (*reads, "at once")}
        for number in range(rounds + rounds // 10):
            for name, read in {**reads, "at once": at_once}.items():
                started = time.perf_counter()
                await read()
                if number >= rounds // 10:  # the first ones warm up
                    seconds[name].append(time.perf_counter() - started)
    medians = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    return medians | {"ratio": medians["at once"] / max(medians[name] for name in reads)}


async def _run(read: Callable[[], Awaitable[Any]]) -> None:
    await read()


def _check_that_they_are_full(customer: Any, reviews: Any) -> None:  # noqa: ANN401  # what the reads give
    if not len(customer.orders) == len(reviews.newest) == PAGE:
        raise LockstepError(
            f"a page of the benchmark has not {PAGE} orders and {PAGE} reviews: seed more orders."
        )


def measure_pages(servers: Servers, paths: Mapping[str, str], seconds: int) -> dict[str, dict[str, Any]]:
    """What wrk says of each page."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    web = start_worker(servers, "worker", "web", "--open", "--port", str(port), log=None)
    with stopped_at_the_end([web]):
        found = {}
        for name, path in paths.items():
            url = f"http://{LOOPBACK}:{port}{path}"
            _wait_for(url)
            command = [
                "wrk",
                "--threads",
                "2",
                "--connections",
                str(CONNECTIONS),
                "--duration",
                f"{seconds}s",
                "--latency",
                url,
            ]
            found[name] = read_wrk(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), urlopen(url) as response:  # noqa: S310  # nosec B310  # a URL of our own
            response.read()
            return
        time.sleep(0.1)
    raise LockstepError(f"{url} did not answer within {START_SECONDS} s.")


def read_wrk(text: str) -> dict[str, Any]:
    """Requests a second, the 99th percentile in milliseconds, and the lines that tell of errors."""
    rate, p99 = _RATE.search(text), _P99.search(text)
    if rate is None or p99 is None:
        raise LockstepError(f"wrk says something else than was expected: {text}")
    return {
        "requests_per_second": float(rate[1]),
        "p99_ms": float(p99[1]) * _MILLISECONDS[p99[2]],
        "errors": _ERRORS.findall(text),
    }


def draw(results: Mapping[str, Any], console: Console) -> None:
    """A table each."""
    table = Table("orders", "product", "reviews", "at once", f"ratio (goal: {GOAL})", title="one page, ms")
    table.add_row(*(f"{value:.2f}" for value in results["reads"].values()))
    console.print(table)
    table = Table("page", "requests/s", "p99, ms", "errors", title=f"{CONNECTIONS} connections")
    for name, page in results["pages"].items():
        errors = "; ".join(page["errors"]) or "none"
        table.add_row(name, f"{page['requests_per_second']:,.0f}", f"{page['p99_ms']:.1f}", errors)
    console.print(table)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--orders", type=click.IntRange(min=2000), default=100_000, help="of the history")
@click.option("--rounds", type=click.IntRange(min=10), default=200, help="how often each read is measured")
@click.option("--seconds", type=click.IntRange(min=1), default=30, help="how long wrk asks for a page")
def main(orders: int, rounds: int, seconds: int) -> None:
    """Measure the storefront; exit code 1 where wrk met an error."""
    interrupt_on_signals()
    if shutil.which("wrk") is None:
        raise click.ClickException(
            "the benchmark needs wrk: `apt-get install wrk`, or your system's package of it."
        )
    console = Console(highlight=False)
    try:
        with running_servers(FOLDER, fresh=True) as servers:
            migrate(servers.migration_url)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                customer_id = runner.run(fill(servers, orders, console))
                about = runner.run(_describe(servers))
                reads = runner.run(measure_reads(servers, customer_id, rounds))
            paths = {
                "a product": f"/product/{PRODUCT}",
                "a product and a customer": f"/product/{PRODUCT}/{customer_id}",
            }
            results: dict[str, Any] = {
                "about": about,
                "reads": reads,
                "pages": measure_pages(servers, paths, seconds),
            }
    except LockstepError as error:
        raise click.ClickException(str(error)) from error
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    draw(results, console)
    console.print(str(RESULTS), soft_wrap=True)
    if any(page["errors"] for page in results["pages"].values()):
        raise SystemExit(1)


async def _describe(servers: Servers) -> dict[str, str]:
    settings = Settings(mysql_url=servers.mysql_url, redis_url=servers.redis_url)
    async with Database(settings) as database, queue_at(servers.redis_url, settings.queue_name) as queue:
        return await describe(database, queue)


if __name__ == "__main__":
    main()
