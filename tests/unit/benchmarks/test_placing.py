from itertools import islice

from benchmarks.placing import Figures, new_ids, random_ids


def test_new_ids_ascend_and_are_of_version_7() -> None:
    ids = list(islice(new_ids(), 1000))
    assert ids == sorted(set(ids))
    assert {each.version for each in ids} == {7}


def test_random_ids_are_of_version_4() -> None:
    assert {each.version for each in islice(random_ids(), 10)} == {4}


def test_a_ratio_is_that_of_the_medians() -> None:
    figures = Figures()
    for value in (1.0, 2.0, 90.0):
        figures.add("with", value)
        figures.add("without", value / 4)
    assert figures.ratio("with", "without") == 4
