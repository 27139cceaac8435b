"""What every request and every outcome has, of any job."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_ID: Final = 2**63 - 1  # every language's signed 64-bit integer holds it
YEARS: Final = range(1970, 9999)  # DATETIME holds them, and so does every language's clock


def _in_utc(moment: datetime) -> datetime:
    try:
        utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        utc = None
    if utc is None or utc.year not in YEARS:
        raise ValueError(f"the year must be from {YEARS.start} to {YEARS.stop - 1}, in UTC")
    return utc


Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]


class Request(BaseModel):
    """What a caller asks for. Unknown fields are refused; so is a number in a string."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Outcome(BaseModel):
    """What became of a request; `status` tells which."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    status: str


class Conflict(Outcome):
    """The id belongs to a request with other content; nothing was changed."""

    status: Literal["conflict"] = "conflict"
    id: UUID


class Invalid(Outcome):
    """The request could not be understood; nothing was written. `error` names the field and the value."""

    status: Literal["invalid"] = "invalid"
    error: str


class Dead(Outcome):
    """Nobody can run the job now; it is kept as a dead letter, and has its outcome when that is replayed."""

    status: Literal["dead"] = "dead"
    job_id: str
    error: str
