"""`lockstep keys`: who may use the door over HTTP."""

import json
import re
from functools import partial
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from jobs.api_keys import ApiKey, add_key, all_keys, new_key, revoke_key
from worker.commands.database import on_database
from worker.database.retry import DatabaseError, Kind
from worker.errors import LockstepError, printable

NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,80}")
console: Final = Console(highlight=False, soft_wrap=True)


@click.group()
def keys() -> None:
    """Keys for the door over HTTP: add, list or revoke them."""


@keys.command()
@click.argument("name")
def add(name: str) -> None:
    """Make a key for NAME, and print it; nobody can show it again."""
    if not NAME.fullmatch(name):
        raise LockstepError(
            f"{printable(name)!r} is no name: 1 to 80 letters, digits, dots, hyphens, underscores."
        )
    key = new_key()
    try:
        on_database(lambda database: database.transact(partial(add_key, name=name, key=key), job="add_key"))
    except DatabaseError as error:
        if error.kind is not Kind.DUPLICATE:
            raise
        raise LockstepError(f"{name} has a key, or had one: take another name.") from error
    click.echo(key)
    click.echo("keep it: the database has its hash alone, and nobody can show it again", err=True)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="print them for machines")
def list_keys(*, as_json: bool) -> None:
    """Names, days of making, of last use and of revocation (UTC)."""
    rows = [_fields(key) for key in on_database(all_keys)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        console.print("there are no keys: `lockstep keys add NAME` makes one")
    else:
        table = Table(*rows[0], box=None, pad_edge=False)
        for row in rows:
            table.add_row(*(cell or "" for cell in row.values()))
        console.print(table)


@keys.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Refuse the key of NAME from now on; web processes notice within seconds."""
    revoked = on_database(
        lambda database: database.transact(partial(revoke_key, name=name), job="revoke_key")
    )
    if not revoked:
        raise LockstepError(
            f"{printable(name)} has no key that could be revoked; `lockstep keys list` shows all."
        )
    console.print(f"{name} is revoked")


def _fields(key: ApiKey) -> dict[str, str | None]:
    days = {"made on": key.created_at, "last used on": key.last_used_on, "revoked on": key.revoked_at}
    return {"name": key.name, **{name: f"{day:%Y-%m-%d}" if day else None for name, day in days.items()}}
