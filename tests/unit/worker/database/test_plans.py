import re

import pytest

from worker.database.examples import EXAMPLES
from worker.database.plans import ABOUT_THE_SERVER, BY_DESIGN, Step, _faults, all_statements

GOOD = [
    Step("SIMPLE", "orders", "const", "PRIMARY", 1, ""),
    Step("DERIVED", "orders", "range", "orders_of_customer", 50_000, "Using where"),
    Step("PRIMARY", "<derived2>", "ALL", None, 5_000, ""),
    Step("SIMPLE", "orders", "ALL", None, 99, "Using filesort"),
    Step("INSERT", "orders", "ALL", None, 1_000, ""),
    Step("SIMPLE", "ids", "ALL", None, 40, "Table function: json_table"),
    Step("SIMPLE", "ids", "ALL", None, 2, "Table function: json_table; Using temporary"),
    Step("SIMPLE", None, None, None, 0, "No tables used"),
]
BAD = [
    (Step("SIMPLE", "orders", "ALL", None, 1_000, ""), ["reads the whole table orders, about 1,000 rows"]),
    (
        Step("SIMPLE", "orders", "index", "PRIMARY", 1_000, "Using index"),
        ["reads the whole index PRIMARY of orders, about 1,000 rows"],
    ),
    (
        Step("SIMPLE", "orders", "index_merge", "a,b", 3, "Using union(a,b)"),
        ["merges the indexes a,b of orders"],
    ),
    (
        Step("SIMPLE", "orders", "ref", "PRIMARY", 3, "Using where; Using filesort"),
        ["sorts what it finds in orders (filesort)"],
    ),
    (
        Step("SIMPLE", "orders", "ALL", None, 100, "Using temporary; Using filesort"),
        [
            "reads the whole table orders, about 100 rows",
            "sorts what it finds in orders (filesort)",
            "keeps what it finds in orders in a temporary table",
        ],
    ),
    (
        Step("SIMPLE", "ids", "ALL", None, 2, "Table function: json_table; Using temporary; Using temporary"),
        ["keeps what it finds in ids in a temporary table"],
    ),
]


@pytest.mark.parametrize("step", GOOD, ids=lambda step: f"{step.table}-{step.access}-{step.notes}")
def test_a_step_that_finds_its_rows_by_a_key_is_good(step: Step) -> None:
    assert list(_faults(step)) == []


@pytest.mark.parametrize(("step", "faults"), BAD)
def test_what_is_bad_in_a_step_is_said_in_words(step: Step, faults: list[str]) -> None:
    assert list(_faults(step)) == faults


def test_there_is_an_example_of_every_parameter_of_every_statement() -> None:
    used = {
        name
        for _, statement in all_statements().values()
        for name in re.findall(r"%\((\w+)\)s", statement.text)
    }
    assert used == set(EXAMPLES)


def test_what_is_by_design_is_a_statement_that_has_a_plan() -> None:
    assert set(BY_DESIGN) <= set(all_statements())
    assert not ABOUT_THE_SERVER & set(all_statements())
