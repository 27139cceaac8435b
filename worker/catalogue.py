"""Load a folder of products and customers into the database."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel

from jobs.orders.add_catalogue import NewCustomer, Product, add_customers, add_products
from jobs.transaction import Transaction
from worker.database.transactions import Database
from worker.errors import LockstepError
from worker.files import Source, open_source, read_csv

CHUNK: Final = 1000  # rows a transaction
SAMPLES: Final = Path(__file__).resolve().parent.parent / "samples" / "journey"  # in a checkout
Model = TypeVar("Model", bound=BaseModel)


@dataclass(slots=True)
class Loaded:
    """What a file came to."""

    kind: str
    new: int = 0
    known: int = 0
    bad: int = 0


async def load_catalogue(
    database: Database,
    folder: Path,
    *,
    progress: Callable[[Source], None],
    report: Callable[[str, int, str], None],
) -> list[Loaded]:
    """Add what is missing of `products.csv` and `customers.csv` (or .csv.gz) to the database.

    `progress` is called after each chunk; `report` takes file, line and sentence of each bad line, and the rest goes
    on. Raises LockstepError where a file cannot be read.
    """
    products, customers = _find(folder, "products"), _find(folder, "customers")
    return [
        await _load(database, products, Product, add_products, progress, report),
        await _load(database, customers, NewCustomer, add_customers, progress, report),
    ]


async def _load(  # noqa: PLR0913, PLR0917  # the two calls above are all there are
    database: Database,
    path: Path,
    model: type[Model],
    add: Callable[[Transaction, Sequence[Model]], Awaitable[int]],
    progress: Callable[[Source], None],
    report: Callable[[str, int, str], None],
) -> Loaded:
    loaded = Loaded(path.name.split(".")[0])

    def bad_line(number: int, problem: str) -> None:
        loaded.bad += 1
        report(str(path), number, problem)

    def adding(chunk: Sequence[Model]) -> Callable[[Transaction], Awaitable[int]]:
        return lambda transaction: add(transaction, chunk)

    with open_source(str(path)) as source:
        for chunk in _chunks(read_csv(source, model, bad_line)):
            new = await database.transact(adding(chunk), job=f"add_{loaded.kind}")
            loaded.new += new
            loaded.known += len(chunk) - new
            progress(source)
    return loaded


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.csv", folder / f"{name}.csv.gz"):
        if path.exists():
            return path
    raise LockstepError(f"{folder} has no {name}.csv and no {name}.csv.gz.")


def _chunks(rows: Iterable[Model]) -> Iterator[list[Model]]:
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK)):
        yield chunk
