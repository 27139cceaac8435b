import asyncio
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from pydantic import ValidationError

from jobs.contract import Dead
from jobs.orders.outcomes import AnyOutcome, outcomes
from jobs.orders.requests import PlaceOrder
from worker.errors import LockstepError
from worker.queue import wire
from worker.queue.results import Result, Results
from worker.queue.sending import Sender, Sent

MOST_FAILURES: Final = 3


@dataclass(frozen=True, slots=True)
class Receipt:
    """A request that is in the queue, or was before."""

    message: wire.Message
    _sent: Sent
    _sender: Sender
    _results: Results

    @property
    def job_id(self) -> str:
        """Of the job that it went with: of an order that shares a bulk job, not its own id."""
        return self._sent.job_id

    @property
    def known(self) -> bool:
        """Redis knew the job before: of a bulk job, the same orders in the same order."""
        return self._sent.known

    async def outcome(self, timeout: float | None = None) -> AnyOutcome:  # noqa: ASYNC109  # part of the promise
        """Wait for the outcome. May be asked again at any time, also by another process.

        Where Redis has forgotten the job, the request is enqueued once more: the same id gets the same
        outcome. Raises TimeoutError after `timeout` seconds (the request stays in the queue), and
        LockstepError where no worker could ever run it.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._wait()
        except TimeoutError:
            raise TimeoutError(
                f"{self.message.task} {self.message.job_id} has no outcome after {timeout} s and stays queued;"
                " is a worker running?"
            ) from None

    async def _wait(self) -> AnyOutcome:
        job_id, position, _ = self._sent
        if position is not None:
            result = await self._results.of(job_id)
            if result is not None and result.succeeded and isinstance(result.content, list):
                outcome = outcomes.validate_python(result.content[position])
                if not isinstance(outcome, Dead):
                    return outcome
            # Forgotten, given up, refused as a whole, or dead then: the order has to be asked by itself.
            await self._sender.send(self.message, alone=True)
        return await self._wait_alone()

    async def _wait_alone(self) -> AnyOutcome:
        message, failures = self.message, 0
        while True:
            result = await self._results.of(message.job_id)
            if result is None:
                await self._sender.send(message, alone=True)
            elif not result.succeeded:
                # arq has given up the job: it was too old, or a frozen worker woke up and ended what it no longer had.
                failures += 1
                if failures == MOST_FAILURES:
                    raise LockstepError(f"{message.task} {message.job_id} has failed: {result.content}")
                await self._results.forget(message.job_id)
            elif message.task != wire.PLACE_ORDER or self._is_answered_by(result):
                return outcomes.validate_python(result.content)
            else:
                # It answers another order under the same id: the database has to say which was first.
                message = message._replace(job_id=uuid4().hex)

    def _is_answered_by(self, result: Result) -> bool:
        if result.arguments == [self.message.payload]:
            return True
        try:
            answered = PlaceOrder.model_validate(*result.arguments)
        except (ValidationError, TypeError):
            return False
        return answered.fingerprint == PlaceOrder.model_validate(self.message.payload).fingerprint
