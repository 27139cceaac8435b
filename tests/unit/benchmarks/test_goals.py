from benchmarks.figures import Figure, Run
from benchmarks.goals import best_limit, judge

WORKER = "arq worker.main"


def a_run(conflicts: dict[str, int] | None = None, **medians: float) -> Run:
    figures = {name.replace("_", "-"): Figure(name, "", [median]) for name, median in medians.items()}
    return Run(WORKER, {}, figures, conflicts or {})


def met(run: Run) -> dict[str, bool | None]:
    return {verdict.goal.text: verdict.met for verdict in judge(run)}


def test_a_ratio_that_is_high_enough_is_met() -> None:
    assert met(a_run(bulk_2=4000, reference=400))["bulk / reference"] is True
    assert met(a_run(bulk_2=3999, reference=400))["bulk / reference"] is False


def test_a_latency_that_is_low_enough_is_met() -> None:
    assert met(a_run(idle_p50=15.0))["latency when idle, p50"] is True
    assert met(a_run(idle_p50=15.1))["latency when idle, p50"] is False


def test_the_limit_is_the_best_batch_size() -> None:
    run = a_run(bulk_2=80, limit_1=10, limit_64=100, limit_500=90)
    assert best_limit(run.figures) == "limit-64"
    (verdict,) = [verdict for verdict in judge(run) if verdict.goal.text == "bulk / limit"]
    assert verdict.value == 0.8


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert set(met(a_run(bulk_2=80)).values()) == {None}


def test_one_conflict_of_lockstep_is_too_many_and_others_do_not_count() -> None:
    text = "conflicts of Lockstep's workers"
    assert met(a_run({WORKER: 0, "another worker": 5}))[text] is True
    assert met(a_run({WORKER: 1}))[text] is False
    assert met(a_run({"another worker": 5}))[text] is None
