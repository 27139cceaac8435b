"""Workers of one queue look by turns."""

from worker.queue.crew import Crew


def test_many_workers_look_together_as_often_as_one_alone() -> None:
    crew = Crew()
    assert crew.rest(0.1, 1.0) == 0.1
    crew.size = 4
    assert crew.rest(0.1, 1.0) == 0.4
    crew.size = 32
    assert crew.rest(0.1, 1.0) == 1.0, "the longest for one of them"
    crew.size = 0
    assert crew.rest(0.1, 1.0) == 0.1, "it has not counted itself yet"
