"""INSERTs of literal rows: how the same rows would be written without JSON_TABLE."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from jobs.transaction import Parameters, Row, Statement, Transaction
from worker.database.transactions import Database

_NOW: Final = "UTC_TIMESTAMP(6)"
_COLUMNS: Final = (
    "order_id, customer_id, status, reason, rejected_product_id, total_cents, fingerprint, placed_at"
)
Result = TypeVar("Result")


class LiteralDatabase(Database):
    """The same database, with INSERTs of literal rows."""

    async def transact(self, work: Callable[[Transaction], Awaitable[Result]], **options: Any) -> Result:  # noqa: ANN401  # as they are
        """Run `work` on a transaction that writes rows of literals."""
        return await super().transact(lambda transaction: work(Literals(transaction)), **options)


class Literals:
    """A transaction that writes orders, lines and events as rows of literals; all else as it was."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def fetch(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """As it was."""
        return await self._transaction.fetch(statement, parameters)

    async def execute(self, statement: Statement, parameters: Parameters) -> int:
        """With the rows in the text, where it is one of the three."""
        if write := _WRITERS.get(statement.name):
            (rows,) = parameters.values()
            text = write(rows).replace("%", "%%")  # the driver formats it
            statement, parameters = Statement(statement.name, text), {}
        return await self._transaction.execute(statement, parameters)


def orders(rows: Iterable[Sequence[Any]]) -> str:
    """Rows of `insert_orders`."""
    return f"INSERT INTO orders ({_COLUMNS}) VALUES " + ",".join(  # noqa: S608  # hex, numbers, and _text
        f"(x'{order_id}',{customer_id},'{status}',{_text(reason)},{product_id or 'NULL'},{total_cents},"
        f"x'{fingerprint}',{_text(placed_at) if placed_at else _NOW})"
        for order_id, customer_id, status, reason, product_id, total_cents, fingerprint, placed_at in rows
    )


def order_lines(rows: Iterable[tuple[str, Iterable[tuple[int, int, int]]]]) -> str:
    """Rows of `insert_order_lines`."""
    return "INSERT INTO order_lines (order_id, product_id, quantity, unit_price_cents) VALUES " + ",".join(  # noqa: S608  # hex and numbers
        f"(x'{order_id}',{product_id},{quantity},{unit_price_cents})"
        for order_id, lines in rows
        for product_id, quantity, unit_price_cents in lines
    )


def events(rows: Iterable[tuple[str, str, str, None]]) -> str:
    """Rows of `insert_events`."""
    return "INSERT INTO outbox (order_id, kind, body, recorded_at, traceparent) VALUES " + ",".join(  # noqa: S608  # hex and _text
        f"(x'{order_id}','{kind}',{_text(body)},{_NOW},NULL)" for order_id, kind, body, _ in rows
    )


def _text(value: str | None) -> str:
    """Quotes are doubled: the sessions read no backslashes."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


_WRITERS: Final[dict[str, Callable[[Any], str]]] = {
    "insert_orders": orders,
    "insert_order_lines": order_lines,
    "insert_events": events,
}
