"""What the clients have asked, and what they were told, when."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from jobs.orders.outcomes import AnyOutcome
from jobs.orders.requests import CancelOrder, PlaceOrder, Restock, ShipOrder

AnyRequest = PlaceOrder | CancelOrder | ShipOrder | Restock


@dataclass(slots=True)
class Asked:
    """One request of one client. Times are in seconds after the start."""

    request: AnyRequest
    asked_at: float
    waits: bool = True  # for the outcome; else it goes as soon as the request is accepted
    staged: bool = False  # in the database: not even FLUSHALL may lose it
    failures: int = 0  # calls that failed, and were made again
    accepted_at: float | None = None
    outcome: AnyOutcome | None = None
    seen_at: float | None = None

    @property
    def id(self) -> UUID:
        """Of the order, or of the restock."""
        return self.request.restock_id if isinstance(self.request, Restock) else self.request.order_id


def to_json(asked: Asked) -> dict[str, Any]:
    """One line of the history."""
    return {
        **asdict(asked),
        "request": asked.request.model_dump(mode="json", exclude_none=True),
        "outcome": asked.outcome and asked.outcome.model_dump(mode="json", exclude_none=True),
        "job": type(asked.request).__name__,
    }
