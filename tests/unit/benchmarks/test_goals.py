from pathlib import Path

from benchmarks.contestants import contestants
from benchmarks.figures import Figure, Run
from benchmarks.goals import GOALS, LIMIT, best_limit, judge

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


def test_a_goal_that_every_round_has_to_meet_is_judged_by_the_worst() -> None:
    figures = {"workers-bulk-16-again": Figure("", "jobs", [0.0, 0.0, 1.0])}
    text = "16 workers, jobs claimed again"
    assert met(Run(WORKER, {}, figures))[text] is False
    assert met(a_run(workers_bulk_16_again=0))[text] is True


def test_more_workers_are_compared_with_two_of_the_same_run() -> None:
    run = a_run(workers_bulk_2=1000, workers_bulk_16=900, workers_bulk_32=899)
    assert met(run)["bulk, 16 workers / 2 workers"] is True
    assert met(run)["bulk, 32 workers / 2 workers"] is False


def test_what_is_to_be_compared_with_nothing_is_neither_met_nor_missed() -> None:
    text = "beside 16 burners, delivered, now / before with 20 a batch"
    assert met(a_run(starved_16_delivered=90, before_starved_16_delivered=100))[text] is True
    assert met(a_run(starved_16_delivered=90, before_starved_16_delivered=0))[text] is None


def test_every_figure_of_a_goal_is_measured() -> None:
    measured = {one.name for one in contestants(WORKER, Path("before"))}
    for name in (name for goal in GOALS for name in (goal.figure, goal.over) if name and name != LIMIT):
        assert any(name == one or name.startswith((f"{one}-", "start-p")) for one in measured), name
