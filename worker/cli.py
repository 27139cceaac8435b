"""The `lockstep` command."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import click
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from jobs.audit import Finding
from jobs.dead_letters import count_dead_letters, dead_letters_of
from jobs.known_orders import find_orders
from jobs.orders import MAX_ORDERS, Dead, NotFound, Outcome, PlaceOrder, Restock
from worker import demo as demonstration
from worker import up as foreground
from worker.catalogue import load_catalogue
from worker.client import OrderClient, Receipt
from worker.database import migrations
from worker.database.deadlock_picture import draw
from worker.database.deadlock_words import as_text, to_json
from worker.database.deadlocks import NONE_YET, Explanation, add_survivors, explain_latest
from worker.database.retry import DatabaseError
from worker.database.transactions import Database
from worker.dead import dead
from worker.errors import LockstepError, sentence
from worker.explain import explain
from worker.files import Source, open_source, read_json_lines
from worker.keys import keys
from worker.logs import set_up_logs
from worker.queue import wire
from worker.queue.connection import what_is_wrong
from worker.report import print_findings
from worker.schema import wire_schema
from worker.settings import Settings, read_settings
from worker.supervisor import supervise
from worker.upkeep import Pace, audit_with_a_bar, purge_with_a_bar

OUTCOME_SECONDS: Final = 30.0
PATIENT: Final = {"statement_seconds": 60.0, "transaction_seconds": 7200.0}  # an audit reads all tables
Result = TypeVar("Result")
console: Final = Console(highlight=False)
problems: Final = Console(stderr=True, highlight=False, soft_wrap=True)
_port: Final = click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
_hurry: Final = click.option("--hurry", is_flag=True, help="take no rests: faster, but the workers notice")


class OneSentence(click.Group):
    """Errors that a person can mend come as one sentence, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # click's own signature
        """Run the command; what went wrong ends it with exit code 1."""
        try:
            return super().invoke(ctx)
        except (LockstepError, TimeoutError) as error:
            raise click.ClickException(str(error)) from error
        except DatabaseError as error:
            raise click.ClickException(f"the database fails: {error}.") from error
        except ValidationError as error:
            raise click.ClickException(f"{sentence(error)}.") from error
        except wire.QUEUE_ERRORS as error:
            url = read_settings().redis_url  # it could be read before
            raise click.ClickException(what_is_wrong(error, url)) from error


@click.group(cls=OneSentence, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lockstep-orders")
def main() -> None:
    """Place orders on MySQL and MariaDB, each exactly once."""
    set_up_logs("text", "warning")


@main.command()
def migrate() -> None:
    """Create the tables, or bring them up to date."""
    settings = read_settings()
    said = migrations.migrate(settings.migration_url or settings.mysql_url)
    console.print(said or "the tables are up to date", soft_wrap=True)


@main.group()
def catalogue() -> None:
    """Products and customers."""


@catalogue.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def load(folder: Path) -> None:
    """Add what is missing of FOLDER/products.csv[.gz] and customers.csv[.gz]."""
    with _progress() as show:
        parts = asyncio.run(
            _with_database(
                lambda database: load_catalogue(database, folder, progress=show, report=_report_bad_line)
            )
        )
    for part in parts:
        console.print(f"{part.kind}: {part.new:,} new, {part.known:,} known already, {part.bad:,} bad lines")
    if any(part.bad for part in parts):
        raise SystemExit(1)


@main.command()
@click.argument("file")
@click.option(
    "--chunk", type=click.IntRange(1, MAX_ORDERS), default=100, show_default=True, help="orders in one job"
)
def enqueue(file: str, chunk: int) -> None:
    """Enqueue the orders of FILE, a JSON object a line, plain or gzipped; - is standard input."""
    counts = {"enqueued": 0, "known already": 0, "bad lines": 0}

    def bad_line(number: int, problem: str) -> None:
        counts["bad lines"] += 1
        _report_bad_line(file, number, problem)

    async def send(settings: Settings) -> None:
        with open_source(file) as source, _progress() as show:
            async with _connect(settings) as client:
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


@main.command()
@click.option(
    "--processes", type=click.IntRange(1), help="so many workers, each started again where it ends by itself"
)
@click.option(
    "--supervised", is_flag=True, hidden=True, help="what --processes starts: it ends with standard input"
)
def worker(processes: int | None, *, supervised: bool) -> None:
    """Run a worker in the foreground: `arq worker.main`, with a page of jobs in each round trip to Redis."""
    if processes:
        raise SystemExit(supervise(processes, read_settings()))
    from worker import main as arq_settings  # noqa: PLC0415  # importing it reads the settings

    arq_settings.run(supervised=supervised)


main.add_command(dead)
main.add_command(keys)
main.add_command(explain)


@main.command("web")
@click.option("--host", default="127.0.0.1", show_default=True, help="the address to listen on")
@_port
@click.option(
    "--open", "is_open", is_flag=True, help="ask nobody for a key: for a try-out, on a loopback address alone"
)
def serve_web(host: str, port: int, *, is_open: bool) -> None:
    """Serve the storefront, the door for orders and the live page over HTTP."""
    from worker.web.application import serve  # noqa: PLC0415  # no other command needs aiohttp

    settings = read_settings()
    set_up_logs(settings.log_format, settings.log_level)
    try:
        serve(settings, host, port, is_open=is_open)
    except OSError as error:
        raise LockstepError(
            f"{host}:{port} cannot be listened on ({error.strerror}): free it, or name another with --port."
        ) from error


@main.command()
@click.argument("order_id", type=click.UUID)
def outcome(order_id: UUID) -> None:
    """What became of an order, from the database."""

    async def find(database: Database) -> Outcome:
        if order := (await find_orders(database, [order_id])).get(order_id):
            return order.standing_outcome()
        if letters := await dead_letters_of(database, str(order_id)):
            return Dead(job_id=str(order_id), error=letters[0].error)
        return NotFound(order_id=order_id)

    _print_outcome(asyncio.run(_with_database(find)))


@main.command()
@click.argument("order_id", type=click.UUID)
def cancel(order_id: UUID) -> None:
    """Cancel an order: its stock and its amount go back."""
    _ask(lambda client: client.cancel(order_id))


@main.command()
@click.argument("order_id", type=click.UUID)
def ship(order_id: UUID) -> None:
    """Ship an order."""
    _ask(lambda client: client.ship(order_id))


@main.command()
@click.argument("product_id", type=click.IntRange(min=1))
@click.argument("quantity", type=click.IntRange(min=1))
@click.option("--id", "restock_id", type=click.UUID, default=uuid4, help="give it to repeat a restock safely")
def restock(product_id: int, quantity: int, restock_id: UUID) -> None:
    """Add QUANTITY to the stock of PRODUCT_ID."""
    request = Restock(restock_id=restock_id, product_id=product_id, quantity=quantity)
    _ask(lambda client: client.restock(request))


@main.command()
@_hurry
def audit(*, hurry: bool) -> None:
    """Check every invariant of the tables, in one snapshot; exit code 1 if one is broken."""
    pace = Pace(hurry=hurry)

    async def check(database: Database) -> tuple[list[Finding], int]:
        return await audit_with_a_bar(database, pace, problems), await count_dead_letters(database)

    findings, letters = asyncio.run(_with_database(check, **PATIENT))
    print_findings(console, findings)
    if letters:
        problems.print(f"{letters:,} dead letters wait for somebody: `lockstep dead list`")
    if any(finding.violations for finding in findings):
        raise SystemExit(1)


@main.command()
@click.option(
    "--before", type=click.DateTime(["%Y-%m-%d"]), required=True, help="five weeks ago or more; UTC"
)
@_hurry
def purge(before: datetime, *, hurry: bool) -> None:
    """Remove shipped, cancelled and rejected orders that were placed and recorded before a date."""
    moment, pace = before.replace(tzinfo=UTC), Pace(hurry=hurry)
    asyncio.run(_with_database(lambda database: purge_with_a_bar(database, moment, pace, console)))


@main.command()
@click.option(
    "--svg", type=click.Path(dir_okay=False, path_type=Path), help="draw who waits for whom into FILE"
)
@click.option("--json", "as_json", is_flag=True, help="print it for machines; null if there was none")
def deadlocks(svg: Path | None, *, as_json: bool) -> None:
    """Explain the latest deadlock of the server: who held what, who waited, what prevents it."""
    explanation = asyncio.run(_explain_latest_deadlock())
    if as_json:
        click.echo(json.dumps(explanation and to_json(explanation), indent=2))
    else:
        click.echo(as_text(explanation) if explanation else NONE_YET)
    if svg and explanation:
        try:
            svg.write_text(draw(explanation), encoding="utf-8")
        except OSError as error:
            raise LockstepError(f"{svg} cannot be written: {error.strerror}.") from error


async def _explain_latest_deadlock() -> Explanation | None:
    async with Database(read_settings()) as database:
        explanation = await explain_latest(database)
        return explanation and await add_survivors(database, explanation)


@main.command()
def schema() -> None:
    """Print the JSON Schema of every request and outcome."""
    click.echo(json.dumps(wire_schema(), indent=2))


@main.command()
def demo() -> None:
    """Place 2,000 grocery baskets, kill a worker half-way, and audit what is left."""
    if not demonstration.run(console):
        raise SystemExit(1)


@main.command()
@_port
def up(port: int) -> None:
    """Run a private database, Redis, one worker and the web here, until Ctrl-C."""
    foreground.run(console, port)


async def _with_database(work: Callable[[Database], Awaitable[Result]], **changed: float) -> Result:
    async with Database(read_settings().model_copy(update=changed)) as database:
        await migrations.check_ready(database)
        return await work(database)


def _connect(settings: Settings) -> AbstractAsyncContextManager[OrderClient]:
    return OrderClient.connect(settings.redis_url, queue_name=settings.queue_name)


def _ask(send: Callable[[OrderClient], Awaitable[Receipt]]) -> None:
    async def ask() -> Outcome:
        async with _connect(read_settings()) as client:
            receipt = await send(client)
            return await receipt.outcome(timeout=OUTCOME_SECONDS)

    _print_outcome(asyncio.run(ask()))


def _print_outcome(outcome: Outcome) -> None:
    click.echo(outcome.model_dump_json(exclude_none=True))


def _report_bad_line(file: str, number: int, problem: str) -> None:
    problems.print(f"{file}, line {number}: {problem}", markup=False)


@contextmanager
def _progress() -> Iterator[Callable[[Source], None]]:
    """A bar a file, on standard error; the function that moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=problems) as progress:
        bars: dict[str, Any] = {}

        def show(source: Source) -> None:
            if source.name not in bars:
                bars[source.name] = progress.add_task(source.name, total=source.size)
            progress.update(bars[source.name], completed=source.position())

        yield show
