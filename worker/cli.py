"""The `lockstep` command: the names of all commands, each of which is imported when it is called."""

from importlib import import_module
from typing import Any, Final

import click

# By name, its module in `worker.commands` and the first line of its help: to list them imports none.
COMMANDS: Final = {
    "audit": (
        "upkeep",
        "Check every invariant of the tables, in one snapshot; exit code 1 if one is broken.",
    ),
    "cancel": ("requests", "Cancel an order: its stock and its amount go back."),
    "catalogue": ("catalogue", "Products and customers."),
    "dead": ("dead", "Jobs that nobody could run: list, show, replay or drop them."),
    "deadlocks": (
        "deadlocks",
        "Explain the latest deadlock of the server: who held what, who waited, what prevents it.",
    ),
    "demo": ("demo", "Place 2,000 grocery baskets, kill a worker half-way, and audit what is left."),
    "enqueue": (
        "enqueue",
        "Enqueue the orders of FILE, a JSON object a line, plain or gzipped; - is standard input.",
    ),
    "explain": (
        "explain",
        "The plan of the statement NAME of sql/, with example parameters, or the verdict on each of them.",
    ),
    "keys": ("keys", "Keys for the door over HTTP: add, list or revoke them."),
    "migrate": ("migrate", "Create the tables, or bring them up to date."),
    "outcome": ("outcome", "What became of an order, from the database."),
    "purge": (
        "upkeep",
        "Remove shipped, cancelled and rejected orders that were placed and recorded before a date.",
    ),
    "restock": ("requests", "Add QUANTITY to the stock of PRODUCT_ID."),
    "schema": ("schema", "Print the JSON Schema of every request and outcome."),
    "ship": ("requests", "Ship an order."),
    "up": ("up", "Run a private database, Redis, one worker and the web here, until Ctrl-C."),
    "web": ("web", "Serve the storefront, the door for orders and the live page over HTTP."),
    "worker": (
        "worker",
        "Run a worker in the foreground: `arq worker.main`, or several of them, supervised.",
    ),
}


class Unimported(click.Command):
    """Stands for a command until it is called."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._module = f"worker.commands.{module}"

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401  # click's own signature
    ) -> click.Context:
        """The command's own: from here on click knows the command alone."""
        command: click.Command = getattr(import_module(self._module), str(self.name))
        return command.make_context(info_name, args, parent, **extra)


class OneSentence(click.Group):
    """Errors that a person can fix come as one sentence, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # click's own signature
        """Run the command; what went wrong ends it with exit code 1."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from worker.commands.mistakes import explained  # noqa: PLC0415  # it imports what may fail

            if said := explained(error):
                raise click.ClickException(said) from error
            raise


@click.group(
    cls=OneSentence,
    commands=[Unimported(name, *where) for name, where in COMMANDS.items()],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="lockstep-orders")
def main() -> None:
    """Place orders on MySQL and MariaDB, each exactly once."""
    from worker.logs import set_up_logs  # noqa: PLC0415  # --help logs nothing

    set_up_logs("text", "warning")
