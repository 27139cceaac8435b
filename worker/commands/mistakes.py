"""What went wrong, as one sentence for the person at the terminal."""

from pydantic import ValidationError

from worker.database.retry import DatabaseError
from worker.errors import LockstepError, sentence
from worker.queue import wire
from worker.queue.connection import what_is_wrong
from worker.settings import read_settings


def explained(error: Exception) -> str | None:
    """None for a bug, whose traceback is needed."""
    match error:
        case LockstepError() | TimeoutError():
            return str(error)
        case DatabaseError():
            return f"the database fails: {error}."
        case ValidationError():
            return f"{sentence(error)}."
    if isinstance(error, wire.QUEUE_ERRORS):
        return what_is_wrong(error, read_settings().redis_url)  # it could be read before
    return None
