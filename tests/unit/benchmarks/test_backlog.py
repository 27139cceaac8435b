from io import StringIO

from rich.console import Console

from benchmarks.backlog import draw, in_redis
from benchmarks.backlog_turns import Turn, order_ids_of, peak_mb
from worker.embedded import Servers


def test_the_peak_is_read_in_megabytes() -> None:
    assert peak_mb("VmPeak:\t  900000 kB\nVmHWM:\t   77824 kB\nVmRSS:\t   60000 kB\n") == 76


def test_a_single_job_and_a_bulk_job_tell_of_their_orders() -> None:
    one, other = {"order_id": "0a0b-0c"}, {"order_id": "0d0e-0f"}
    assert order_ids_of(one) == ["0a0b0c"]
    assert order_ids_of([one, other]) == ["0a0b0c", "0d0e0f"]


def test_each_backlog_has_a_database_of_its_own_on_the_same_redis() -> None:
    servers = in_redis(
        Servers("mysql://host/lockstep", "redis://:secret@127.0.0.1:7000/0", "mysql://owner@host/lockstep"), 3
    )
    assert servers == Servers(
        "mysql://host/lockstep", "redis://:secret@127.0.0.1:7000/3", "mysql://owner@host/lockstep"
    )


def test_the_table_has_the_ratio_of_the_small_backlog_to_the_deep_one() -> None:
    turns = [
        Turn("lockstep worker", 1, 1_000_000, 2000.0, 80.0, 775.0),
        Turn("lockstep worker", 1, 10_000, 3000.0, 75.0, 776.0),
    ]
    console = Console(width=120, file=StringIO(), record=True)
    console.print(draw(turns))
    lines = console.export_text().splitlines()
    assert any("1,000,000" in line for line in lines)
    (row,) = [line for line in lines if "lockstep worker" in line]
    assert "1.50" in row
