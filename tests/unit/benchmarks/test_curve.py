from xml.etree import ElementTree as ET

import pytest

from benchmarks.curve import HEIGHT, TOP, draw_curves
from benchmarks.figures import Figure

SVG = "{http://www.w3.org/2000/svg}"
LINES = {
    "bulk <of> 100": {size: Figure("", "orders/s", [900.0 + size, 1000.0, 1100.0]) for size in (1, 2, 4)},
    "single": {1: Figure("", "orders/s", [500.0])},
}


def drawn() -> ET.Element:
    return ET.fromstring(draw_curves(LINES, title="a title", note="a note"))


def test_a_curve_has_its_name_every_number_of_workers_and_every_median() -> None:
    texts = {element.text or "" for element in drawn().iter(f"{SVG}text")}
    assert {"a title", "a note", "bulk <of> 100", "single", "1", "2", "4", "1,000", "500"} <= texts


def test_points_are_as_high_as_their_medians_and_at_equal_distances() -> None:
    bulk, single = (
        [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        for line in drawn().iter(f"{SVG}polyline")
    )
    (x1, y1), (x2, y2), (x4, _) = bulk
    assert x2 - x1 == pytest.approx(x4 - x2, abs=0.2)
    assert y1 == y2
    bottom = TOP + HEIGHT
    assert bottom - y1 == pytest.approx(2 * (bottom - single[0][1]), abs=0.2)
    assert single[0][0] == x1


def test_the_lines_are_told_apart() -> None:
    assert [line.attrib["class"] for line in drawn().iter(f"{SVG}polyline")] == ["ours", "other"]


def test_a_chart_of_nothing_is_still_a_chart() -> None:
    assert draw_curves({"bulk": {}}, title="a title", note="").startswith("<svg")
