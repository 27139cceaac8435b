"""Files of orders, products and customers, plain or gzipped: a bad line is reported with its number."""

import csv
import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import BinaryIO, Final, TypeVar, cast

from pydantic import BaseModel, ValidationError

from worker.errors import LockstepError, sentence

GZIP_MAGIC: Final = b"\x1f\x8b"
EXTRA: Final = "more cells than the first line"
Model = TypeVar("Model", bound=BaseModel)
Report = Callable[[int, str], None]  # takes the number of a bad line, and what is wrong with it


@dataclass(frozen=True, slots=True)
class Source:
    """An open file; `position()` of `size` bytes is read. A pipe has no size."""

    name: str
    size: int | None
    position: Callable[[], int]
    _text: TextIOWrapper

    def lines(self) -> Iterator[str]:
        """Its lines. Raises LockstepError where it cannot be read on."""
        with _named(self.name):
            yield from self._text


@contextmanager
def open_source(path: str) -> Iterator[Source]:
    """Open a file, or standard input for `-`. Raises LockstepError where it cannot be opened."""
    with ExitStack() as stack:
        with _named(path):
            raw = _open(path, stack)
            size = None if path == "-" else Path(path).stat().st_size
            zipped = raw.peek(2)[:2] == GZIP_MAGIC
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if zipped else raw
        text = stack.enter_context(TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
        yield Source(path, size, raw.tell if size is not None else int, text)


def _open(path: str, stack: ExitStack) -> BufferedReader:
    if path == "-":
        return cast("BufferedReader", sys.stdin.buffer)
    return stack.enter_context(Path(path).open("rb"))


@contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:  # the last two: a gzip file that is cut off, or damaged
        raise LockstepError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    except UnicodeDecodeError as error:
        raise LockstepError(f"{path} is not UTF-8 text ({error.reason}).") from error


def read_json_lines(source: Source, model: type[Model], report: Report) -> Iterator[Model]:
    """One model a line; empty lines are passed over."""
    for number, line in enumerate(source.lines(), start=1):
        if line.strip():
            try:
                yield model.model_validate_json(line)
            except ValidationError as error:
                report(number, sentence(error))


def read_csv(source: Source, model: type[Model], report: Report) -> Iterator[Model]:
    """One model a row; the header names the fields, and an empty cell is an absent one."""
    rows = csv.DictReader(source.lines(), restkey=EXTRA, strict=True)
    try:
        required = {name for name, field in model.model_fields.items() if field.is_required()}
        if missing := required - set(rows.fieldnames or ()):
            raise LockstepError(
                f"{source.name} has no column {', '.join(sorted(missing))} in its first line."
            )
        for row in rows:
            try:
                if EXTRA in row:
                    report(rows.line_num, "it has more cells than the first line has names")
                else:
                    yield model.model_validate_strings({name: cell for name, cell in row.items() if cell})
            except ValidationError as error:
                report(rows.line_num, sentence(error))
    except csv.Error as error:
        raise LockstepError(f"{source.name}, line {rows.reader.line_num}: {error}.") from error
