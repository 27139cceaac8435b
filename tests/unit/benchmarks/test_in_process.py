from io import StringIO

from rich.console import Console

from benchmarks.in_process import BATCHES, WAYS, draw
from benchmarks.placing import Figures


def test_the_table_has_a_row_a_batch_and_the_ratios_to_one_batch_at_a_time() -> None:
    figures = Figures()
    for batch in BATCHES:
        for way, speed in zip(WAYS, (1000.0, 1250.0, 1500.0), strict=True):
            figures.add(f"{way.name}, {batch}", speed)
    console = Console(width=120, file=StringIO(), record=True)
    console.print(draw(figures))
    rows = [line.split("│") for line in console.export_text().splitlines() if "1,250" in line]
    assert [int(row[1]) for row in rows] == list(BATCHES)
    assert all([cell.strip() for cell in row[5:7]] == ["1.25", "1.50"] for row in rows)
