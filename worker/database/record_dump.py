"""The key of a record from InnoDB's dump of its fields, which tells their bytes but not their types."""

import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

_FIELD: Final = re.compile(r" \d+: (?:SQL NULL|len (\d{1,9}); hex ([0-9a-f]*);.*?(\(total \d+ bytes\))?;?$)")
_TRANSACTION_ID: Final = 6  # bytes of the column that follows the key of a clustered index
_ROLL_POINTER: Final = 7  # and of the one behind it
_UUID: Final = 16
_INTEGERS: Final = frozenset({1, 2, 3, 4, 8})
_LARGEST_PLAUSIBLE: Final = 2**53  # beyond this, eight bytes are more likely a time or a hash than a number
_BOUNDS: Final = {b"supremum": "the end of the index", b"infimum": "the start of the index"}


def key_of(lines: Sequence[str], *, clustered: bool) -> str:
    """The key in words; empty where the dump lacks it (the page was not in memory)."""
    fields = [match for line in lines if (match := _FIELD.match(line))]
    lengths = [int(field[1] or 0) for field in fields]
    if clustered:
        hidden = [
            number
            for number in range(1, len(fields) - 1)
            if lengths[number : number + 2] == [_TRANSACTION_ID, _ROLL_POINTER]
        ]
        fields = fields[: hidden[0]] if hidden else fields
    values = [_value(field) for field in fields]
    if len(values) == 1 and values[0] in _BOUNDS.values():
        return values[0]
    return f"key ({', '.join(values)})" if values else ""


def _value(field: re.Match[str]) -> str:
    if field[2] is None:
        return "NULL"
    content = bytes.fromhex(field[2][: len(field[2]) // 2 * 2])
    if content in _BOUNDS:
        return _BOUNDS[content]
    text = _text(content)
    if text is not None:
        return f"'{text}{'…' if field[3] else ''}'"
    if len(content) == _UUID:
        return str(UUID(bytes=content))
    number = _integer(content)
    return f"0x{content.hex()}{'…' if field[3] else ''}" if number is None else str(number)


def _text(content: bytes) -> str | None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return text.rstrip(" ") if text.isprintable() else None


def _integer(content: bytes) -> int | None:
    """A signed column stores its sign bit inverted, an unsigned one is stored as it is.

    So a leading one is a signed number from 0 on; else a small number is unsigned, a large one negative.
    """
    if len(content) not in _INTEGERS:
        return None
    half = 1 << (8 * len(content) - 1)
    number = int.from_bytes(content, "big")
    number -= half if number >= half // 2 else 0
    return number if abs(number) <= _LARGEST_PLAUSIBLE else None
