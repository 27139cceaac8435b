"""The room for jobs follows what a worker completes while it has work; the clock is the test's own."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.queue.batch_size import LEAST, MOST
from worker.queue.room import AHEAD_SECONDS, MAX_BYTES, MAX_JOBS, MEASURE_SECONDS, Room


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Worker:
    """Claims what there is room for, and completes it batch by batch."""

    room: Room
    clock: Clock
    size: int = 100
    held: int = 0

    def work(self, jobs: int, seconds: float) -> None:
        """Claim as many as there is room for; complete a batch of at most so many in so many seconds."""
        while self.room.jobs > 0 and self.room.bytes > 0:
            self.room.take(self.size)
            self.held += 1
        self.complete(min(jobs, self.held), seconds)

    def complete(self, jobs: int, seconds: float) -> None:
        self.clock.now += seconds
        self.room.complete([self.size] * jobs)
        self.held -= jobs

    def empty(self) -> None:
        """Leave the rest to others."""
        self.room.leave([self.size] * self.held)
        self.held = 0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def room(clock: Clock) -> Room:
    """Of a worker whose batches have been quick."""
    room = Room(clock)
    room.batch.now = MOST
    return room


@pytest.fixture
def worker(room: Room, clock: Clock) -> Worker:
    return Worker(room, clock)


def test_it_begins_with_the_smallest_batch() -> None:
    assert (Room().jobs, Room().bytes) == (LEAST, MAX_BYTES * LEAST // MAX_JOBS)


def test_it_grows_to_two_batches_and_300_kib(room: Room, worker: Worker) -> None:
    assert (room.jobs, room.bytes) == (MOST, MAX_BYTES // 2)
    for _ in range(6):
        worker.work(MOST, 0.1)
    worker.empty()
    assert (room.jobs, room.bytes) == (MAX_JOBS, MAX_BYTES) == (600, 300 * 1024)
    assert MAX_JOBS == 2 * MOST


def test_what_is_claimed_takes_room_until_it_ends_or_is_left(room: Room) -> None:
    for size in (1000, 200, 30):
        room.take(size)
    assert (MOST - room.jobs, MAX_BYTES // 2 - room.bytes) == (3, 1230)
    room.complete([200])
    room.leave([1000])
    assert (MOST - room.jobs, MAX_BYTES // 2 - room.bytes) == (1, 30)


def test_a_slow_worker_claims_two_seconds_of_its_work(room: Room, worker: Worker) -> None:
    for _ in range(8):
        worker.work(25, 0.125)
    worker.empty()
    assert room.jobs == 400, "at 200 a second"
    assert room.bytes == MAX_BYTES // 2, "as many as a batch may have, since they are small"


def test_it_follows_the_bytes_too(room: Room, worker: Worker) -> None:
    worker.size = 1024
    for _ in range(8):
        worker.work(15, 0.125)
    worker.empty()
    assert room.bytes == 240 * 1024


@given(st.lists(st.tuples(st.integers(0, 700), st.floats(0, 60)), max_size=20), st.integers(LEAST, MOST))
def test_it_is_never_less_than_a_batch_nor_more_than_the_most(
    pace: list[tuple[int, float]], batch: int
) -> None:
    clock = Clock()
    worker = Worker(Room(clock), clock)
    worker.room.batch.now = batch
    for jobs, seconds in pace:
        worker.work(jobs, seconds)
        worker.empty()
        assert batch <= worker.room.jobs <= MAX_JOBS
        assert MAX_BYTES * batch // MAX_JOBS <= worker.room.bytes <= MAX_BYTES


def test_a_quiet_queue_does_not_make_it_small(room: Room, clock: Clock) -> None:
    """A hundred jobs a minute, done in a tenth of a second: what counts is the time with work."""
    for _ in range(100):
        for _ in range(100):
            room.take(500)
        clock.now += 0.1
        room.complete([500] * 100)
        clock.now += 60
    assert (room.jobs, room.bytes) == (MAX_JOBS, MAX_BYTES)


def test_single_jobs_far_between_leave_room_for_a_batch(room: Room, clock: Clock) -> None:
    for _ in range(500):
        room.take(500)
        clock.now += 0.01
        room.complete([500])
        clock.now += 60
    assert room.jobs >= MOST
    assert room.bytes >= MAX_BYTES // 2


def test_jobs_that_are_given_back_are_no_work_that_was_done(room: Room, clock: Clock, worker: Worker) -> None:
    room.batch.shrink()
    for _ in range(10):
        worker.work(0, MEASURE_SECONDS)
        worker.empty()
    assert room.jobs == LEAST


@pytest.mark.parametrize("pause", [3.0, 60.0])
def test_it_is_full_again_within_five_seconds_after_a_disturbance(
    pause: float, room: Room, clock: Clock, worker: Worker
) -> None:
    """A machine that stood still, and a batch that waited in vain for a row; then 300 orders take 50 ms again."""
    worker.work(1, pause)
    room.batch.shrink()
    worker.work(1, pause)
    worker.empty()
    assert room.jobs == LEAST
    began = clock.now
    while room.jobs + worker.held < MAX_JOBS or room.batch.now < MOST:
        batch = room.batch.now
        worker.work(batch, 0.05)
        room.batch.took(batch, 0.05)
        assert clock.now - began < 5
    assert AHEAD_SECONDS + MEASURE_SECONDS < 5


async def test_who_waits_for_room_goes_on_when_a_job_leaves(room: Room) -> None:
    room.take(1)
    waiting = asyncio.create_task(room.wait(3600))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.leave([1])
    await waiting


async def test_the_wait_for_room_ends_without_a_job_too(room: Room) -> None:
    await room.wait(0.001)
