"""Dead letters: jobs that nobody can run, kept with their requests until a person replays or drops them."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from jobs.intake import end_kept
from jobs.orders.requests import PlaceOrder
from jobs.transaction import Reader, Row, Transaction, load_statements

_DEAD_LETTERS = load_statements("dead_letters.sql")


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]


class DeadLetter(BaseModel):
    """A job and why it is dead. `request` must be fit for JSON; of a message that cannot be read: its bytes in base64."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    job: str
    request: Any = None
    error: str
    tries: int
    enqueued_at: Moment | None = None
    buried_at: Moment

    @cached_property
    def order(self) -> PlaceOrder | None:
        """The order that it asks for, if it asks for one."""
        try:
            return PlaceOrder.model_validate(self.request)
        except ValidationError:
            return None

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits that tell a repeat from other content under the same job id."""
        content = orjson.dumps([self.job, self.request], option=orjson.OPT_SORT_KEYS)
        return blake2b(content, digest_size=16).hexdigest()


async def record_dead_letters(transaction: Transaction, letters: Iterable[DeadLetter]) -> None:
    """Keep letters; one that is known already gets the news of its latest end."""
    for letter in sorted(letters, key=lambda letter: (letter.job_id, letter.fingerprint)):
        row = letter.model_dump() | {
            "request": orjson.dumps(letter.request).decode(),
            "fingerprint": letter.fingerprint,
        }
        await transaction.execute(_DEAD_LETTERS["record_dead_letter"], row)


async def bury(transaction: Transaction, letters: Collection[DeadLetter]) -> None:
    """Keep letters; their orders are staged no more. Under READ COMMITTED, like all that looks for staged orders."""
    await record_dead_letters(transaction, letters)
    await _end_staged(transaction, letters)


async def count_dead_letters(reader: Reader) -> int:
    """How many there are."""
    (row,) = await reader.fetch(_DEAD_LETTERS["count_dead_letters"], {})
    return int(row["letters"])


async def oldest_dead_letters(reader: Reader, size: int) -> list[DeadLetter]:
    """The first that were buried, without their requests."""
    return _letters(await reader.fetch(_DEAD_LETTERS["oldest_dead_letters"], {"size": size}))


async def dead_letters_of(reader: Reader, job_id: str) -> list[DeadLetter]:
    """The letters of one job id: more than one where it came with other content, too."""
    rows = await reader.fetch(_DEAD_LETTERS["dead_letters_of"], {"job_id": job_id})
    return _letters({**row, "request": orjson.loads(row["request"])} for row in rows)


async def page_of_dead_letters(reader: Reader, after: str, size: int) -> list[str]:
    """The next job ids that have letters, in their order."""
    rows = await reader.fetch(_DEAD_LETTERS["page_of_dead_letters"], {"after": after, "size": size})
    return sorted(row["job_id"] for row in rows)  # by code points, as the server sorts their bytes


async def delete_dead_letter(transaction: Transaction, letter: DeadLetter) -> None:
    """Remove a letter, and its order where that is still staged; what is gone already stays so. Under READ COMMITTED."""
    key = {"job_id": letter.job_id, "fingerprint": letter.fingerprint}
    await transaction.execute(_DEAD_LETTERS["delete_dead_letter"], key)
    await _end_staged(transaction, [letter])


async def _end_staged(transaction: Transaction, letters: Iterable[DeadLetter]) -> None:
    """A letter keeps its order now: staged as well, it would be enqueued and buried again and again."""
    if orders := [letter.order for letter in letters if letter.order]:
        await end_kept(transaction, orders)


def _letters(rows: Iterable[Row]) -> list[DeadLetter]:
    return [DeadLetter.model_validate(row) for row in rows]
