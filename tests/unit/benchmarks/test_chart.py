from xml.etree import ElementTree as ET

import pytest

from benchmarks.chart import LEFT, RIGHT, WIDTH, draw_chart, nice_step
from benchmarks.figures import Figure

SVG = "{http://www.w3.org/2000/svg}"
FIGURES = [Figure("ours", "orders/s", [900.0, 1000.0, 1100.0]), Figure("<other> & co", "orders/s", [500.0])]


def drawn() -> ET.Element:
    return ET.fromstring(draw_chart(FIGURES, title="a title", note="a note", ours="ours"))


def texts() -> set[str]:
    return {element.text or "" for element in drawn().iter(f"{SVG}text")}


def test_a_chart_is_xml_with_every_label_and_number() -> None:
    assert {"a title", "a note", "ours", "<other> & co", "1,000", "500"} <= texts()


def test_bars_are_as_long_as_their_medians() -> None:
    _, ours, other = drawn().iter(f"{SVG}rect")
    assert float(ours.attrib["width"]) == pytest.approx(2 * float(other.attrib["width"]), abs=0.2)
    assert (ours.attrib["class"], other.attrib["class"]) == ("ours", "other")


def test_whiskers_go_from_the_slowest_to_the_fastest_round_inside_the_chart() -> None:
    whisker, _ = drawn().iter(f"{SVG}path")
    numbers = [
        float(part) for part in whisker.attrib["d"].removeprefix("M").replace("H", " ").split("M")[0].split()
    ]
    low, _, high = numbers
    assert LEFT < low < high <= WIDTH - RIGHT


def test_it_is_readable_on_light_and_dark_ground() -> None:
    (style,) = drawn().iter(f"{SVG}style")
    assert "prefers-color-scheme: dark" in (style.text or "")


def test_a_chart_of_nothing_is_still_a_chart() -> None:
    assert draw_chart([], title="a title", note="", ours="ours").startswith("<svg")


@pytest.mark.parametrize(
    ("most", "step"), [(4886, 1000), (1100, 200), (6, 1), (5900, 1000), (0.5, 0.1), (0, 1)]
)
def test_the_axis_has_few_and_round_steps(most: float, step: float) -> None:
    assert nice_step(most) == pytest.approx(step)
