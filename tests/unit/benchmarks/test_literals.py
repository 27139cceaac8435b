from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks.literals import Literals, events, order_lines, orders
from jobs.transaction import Row, Statement

A, B = "0a" * 16, "0b" * 16


class Recorder:
    def __init__(self) -> None:
        self.sent: list[tuple[str, Mapping[str, Any]]] = []

    async def fetch(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Row]:
        self.sent.append((statement.text, parameters))
        return []

    async def execute(self, statement: Statement, parameters: Mapping[str, Any]) -> int:
        self.sent.append((statement.text, parameters))
        return 1


def test_placed_and_rejected_orders_are_rows_of_literals() -> None:
    placed = (A, 7, "placed", None, None, 120, B, "2026-01-02 03:04:05")
    rejected = (B, 8, "rejected", "out_of_stock", 9, 0, A, None)
    assert orders([placed, rejected]).partition(" VALUES ")[2] == (
        f"(x'{A}',7,'placed',NULL,NULL,120,x'{B}','2026-01-02 03:04:05'),"
        f"(x'{B}',8,'rejected','out_of_stock',9,0,x'{A}',UTC_TIMESTAMP(6))"
    )


def test_the_lines_of_all_orders_are_rows_of_one_insert() -> None:
    rows = [(A, [(1, 2, 30), (2, 1, 40)]), (B, [(3, 1, 50)])]
    assert order_lines(rows).endswith(f" VALUES (x'{A}',1,2,30),(x'{A}',2,1,40),(x'{B}',3,1,50)")


def test_a_quote_in_an_event_is_doubled() -> None:
    assert events([(A, "order.placed", '{"name":"it\'s"}', None)]).endswith(
        f"""(x'{A}','order.placed','{{"name":"it''s"}}',UTC_TIMESTAMP(6),NULL)"""
    )


async def test_only_the_three_inserts_are_replaced_and_a_percent_sign_survives_the_driver() -> None:
    recorder = Recorder()
    transaction = Literals(recorder)
    other = Statement("move_stock", "UPDATE %(moves)s")
    await transaction.execute(other, {"moves": [1]})
    await transaction.fetch(other, {"moves": [2]})
    assert recorder.sent == [(other.text, {"moves": [1]}), (other.text, {"moves": [2]})]
    await transaction.execute(
        Statement("insert_events", "…"), {"events": [(A, "order.placed", '"100%"', None)]}
    )
    text, parameters = recorder.sent[-1]
    assert "'\"100%\"'" in text % parameters


@pytest.mark.parametrize("write", [orders, order_lines, events])
def test_every_insert_names_its_columns(write: Any) -> None:
    assert write([]).startswith("INSERT INTO ")
    assert ") VALUES " in write([])
