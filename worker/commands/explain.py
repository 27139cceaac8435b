"""`lockstep explain`: how the server runs a statement of `sql/`, and what is bad in that."""

from collections.abc import Iterable
from functools import partial
from typing import Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.transaction import Statement
from worker.commands.database import on_database
from worker.database.examples import EXAMPLES
from worker.database.plans import BY_DESIGN, Plan, all_statements, example_ids
from worker.database.plans import explain as explain_statement
from worker.database.transactions import Database
from worker.errors import LockstepError

console: Final = Console(highlight=False)


@click.command()
@click.argument("name", required=False)
def explain(name: str | None) -> None:
    """The plan of the statement NAME of sql/, with example parameters, or the verdict on each of them.

    Exit code 1 if something is bad that is not meant to be so.
    """
    statements = all_statements()
    if name is not None and name not in statements:
        raise LockstepError(
            f"sql/ has no statement {name} with a plan; `lockstep explain` lists those that are."
        )
    chosen = {name: statements[name]} if name else statements
    plans = on_database(partial(_explain, [statement for _, statement in chosen.values()]))
    if name:
        _print_plan(plans[0], statements[name][0])
    else:
        _print_verdicts(plans)
    if any(plan.faults and plan.statement.name not in BY_DESIGN for plan in plans):
        raise SystemExit(1)


async def _explain(statements: Iterable[Statement], database: Database) -> list[Plan]:
    examples = {**EXAMPLES, **await example_ids(database)}
    return [await explain_statement(database, statement, examples) for statement in statements]


def _print_plan(plan: Plan, file: str) -> None:
    console.print(
        f"{plan.statement.name}, sql/{file}\n\n{plan.statement.text}\n", markup=False, soft_wrap=True
    )
    for parameter, value in plan.parameters.items():
        console.print(f"{parameter}: {value}", markup=False, soft_wrap=True)
    table = Table(
        "\npart", "\ntable", "\naccess", "\nkey", "about\nrows", "\nnotes", box=None, pad_edge=False
    )
    for column in table.columns:
        column.no_wrap = True
    for step in plan.steps:
        cells = (step.kind.lower(), step.table, step.access, step.key, f"{step.rows:,}", step.notes)
        table.add_row(*(Text(cell or "") for cell in cells))
    console.print(table)
    if plan.rows_read is not None:
        console.print(f"\nrows read: {plan.rows_read:,}")
    console.print(f"\n{_verdict(plan)}", markup=False, soft_wrap=True)


def _print_verdicts(plans: Iterable[Plan]) -> None:
    table = Table("statement", "rows\nread", "keys", "verdict", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for plan in plans:
        keys = ", ".join(dict.fromkeys(f"{step.table}.{step.key}" for step in plan.steps if step.key))
        read = "" if plan.rows_read is None else f"{plan.rows_read:,}"
        table.add_row(
            *(Text(cell, overflow="fold") for cell in (plan.statement.name, read, keys, _verdict(plan)))
        )
    console.print(table)


def _verdict(plan: Plan) -> str:
    faults = "; ".join(plan.faults)
    if not faults:
        return "good"
    reason = BY_DESIGN.get(plan.statement.name)
    return f"by design ({reason}): {faults}" if reason else f"bad: {faults}"
