"""What commands print to: results on standard output, problems and progress on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from worker.files import Source

console: Final = Console(highlight=False)
problems: Final = Console(stderr=True, highlight=False, soft_wrap=True)


def report_bad_line(file: str, number: int, problem: str) -> None:
    """Say which line of a file is bad, and why."""
    problems.print(f"{file}, line {number}: {problem}", markup=False)


@contextmanager
def progress_of_files() -> Iterator[Callable[[Source], None]]:
    """A bar a file; the function that moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=problems) as progress:
        bars: dict[str, Any] = {}

        def show(source: Source) -> None:
            if source.name not in bars:
                bars[source.name] = progress.add_task(source.name, total=source.size)
            progress.update(bars[source.name], completed=source.position())

        yield show
