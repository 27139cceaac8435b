"""Workers of one queue look by turns."""

from worker.queue.crew import Crew, Looks


def test_many_workers_look_together_as_often_as_one_alone() -> None:
    crew = Crew()
    assert crew.rest(0.1, 1.0) == 0.1
    crew.size = 4
    assert crew.rest(0.1, 1.0) == 0.4
    crew.size = 32
    assert crew.rest(0.1, 1.0) == 1.0, "the longest for one of them"
    crew.size = 0
    assert crew.rest(0.1, 1.0) == 0.1, "it has not counted itself yet"


def test_looks_become_more_seldom_while_they_find_nothing() -> None:
    crew = Crew()
    looks = Looks(crew, soon=0.1, seldom=0.5, longest=1.0)
    rests = [looks.rest() for _ in range(20)]
    assert rests[0] == 0.1
    assert rests == sorted(rests)
    assert rests[-1] == 0.5
    assert sum(rests[: rests.index(0.5)]) < 3, "seconds until they are as seldom as they become"
    looks.found()
    assert looks.rest() == 0.1
    crew.size = 32
    assert looks.rest() == 1.0
