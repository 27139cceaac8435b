from collections import Counter

from tests.soak.schedule import LASTS, WORKERS, Kind, plan


def test_the_same_seed_gives_the_same_faults_and_another_gives_others() -> None:
    assert list(plan(1, 600)) == list(plan(1, 600))
    assert list(plan(1, 600)) != list(plan(2, 600))


def test_ten_minutes_hold_a_hundred_faults_and_every_kind_about_as_often() -> None:
    for seed in range(20):
        faults = list(plan(seed, 600))
        counts = Counter(fault.kind for fault in faults)
        assert len(faults) >= 100
        assert counts.keys() == set(Kind)
        assert max(counts.values()) - min(counts.values()) <= 2


def test_faults_ascend_and_none_outlasts_the_soak() -> None:
    faults = list(plan(3, 60))
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert max(fault.at + fault.seconds for fault in faults) <= 60
    for fault in faults:
        least, most = LASTS[fault.kind]
        assert least <= fault.seconds <= most
        assert fault.worker in range(WORKERS)
