"""The table and the picture of a soak of two faults: one passes, and after the other nothing comes any more."""

from uuid import uuid4
from xml.etree import ElementTree as ET

from rich.console import Console

from jobs.orders.outcomes import Placed
from jobs.orders.requests import Line, PlaceOrder
from tests.soak.history import Asked
from tests.soak.nemesis import Done
from tests.soak.picture import HEIGHT, LEFT, RIGHT, WIDTH, draw
from tests.soak.report import draw_table, recoveries, throughput, to_json
from tests.soak.schedule import Fault, Kind
from tests.soak.soak import Result

SVG = "{http://www.w3.org/2000/svg}"


def told(asked_at: float, seen_at: float) -> Asked:
    order = PlaceOrder(order_id=uuid4(), customer_id=1, lines=(Line(product_id=1, quantity=1),))
    outcome = Placed(order_id=order.order_id, total_cents=1)
    return Asked(order, asked_at, accepted_at=asked_at, outcome=outcome, seen_at=seen_at)


FIRST = told(0.1, 0.4)
AGAIN = Asked(FIRST.request, 2.0, accepted_at=2.0, outcome=FIRST.outcome, seen_at=3.1)
RESULT = Result(
    seed=5,
    seconds=10,
    history=[FIRST, told(0.2, 0.9), AGAIN, told(2.0, 5.5)],
    faults=[
        Done(Fault(1.0, Kind.KILL_WORKER, 2.0, 1), 1.0, 3.0),
        Done(Fault(6.0, Kind.FLUSH_REDIS, 0.0, 2), 6.0, 6.0),
    ],
    ended_by_themselves=[],
    drain_seconds=0.1,
    violations=[],
    findings=[],
)


def test_recovery_lasts_until_the_next_outcome_that_is_new() -> None:
    assert recoveries(RESULT) == [2.5, None]


def test_throughput_counts_all_outcomes_of_each_second() -> None:
    assert throughput(RESULT) == [2, 0, 0, 1, 0, 1]


def test_the_table_says_where_nothing_came_after_a_fault() -> None:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(draw_table(RESULT))
    rows = [line.split() for line in capture.get().splitlines()]
    assert ["worker", "killed", "1", "2.5", "s", "2.5", "s"] in rows
    assert ["FLUSHALL", "1", "none", "none"] in rows


def test_the_worker_is_named_where_a_fault_is_one_of_a_worker() -> None:
    killed, flushed = to_json(RESULT)["faults"]
    assert killed["worker"] == 2
    assert "worker" not in flushed


def test_each_fault_has_its_mark_and_its_shade_inside_the_picture() -> None:
    root = ET.fromstring(draw(RESULT))
    rectangles = list(root.iter(f"{SVG}rect"))
    for kind in ("fault", "shade"):
        killed, flushed = [one.attrib for one in rectangles if one.attrib["class"] == kind]
        scale = (WIDTH - LEFT - RIGHT) / 10
        assert float(killed["x"]) == LEFT + 1.0 * scale
        assert float(killed["width"]) == 2.0 * scale
        assert float(flushed["width"]) > 0
        assert (killed["height"] == str(HEIGHT)) == (kind == "shade")
    texts = {text.text for text in root.iter(f"{SVG}text")}
    assert {"worker killed", "FLUSHALL", "Outcomes a second under 2 faults of 2 kinds"} <= texts
