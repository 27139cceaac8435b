import pytest

from benchmarks.storefront import read_wrk
from worker.errors import LockstepError

WELL = """Running 2s test @ http://127.0.0.1:18080/product/1082185
  2 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    13.50ms    4.73ms  30.62ms   68.69%
    Req/Sec   296.63     41.72   480.00     82.93%
  Latency Distribution
     50%   13.11ms
     99%   25.57ms
  1212 requests in 2.10s, 6.14MB read
Requests/sec:    576.37
Transfer/sec:      2.92MB
"""
ERRORS = "  Socket errors: connect 0, read 7, write 0, timeout 0\n  Non-2xx or 3xx responses: 1039\n"


def test_what_wrk_prints_is_read() -> None:
    assert read_wrk(WELL) == {"requests_per_second": 576.37, "p99_ms": 25.57, "errors": []}


@pytest.mark.parametrize(("printed", "milliseconds"), [("850.00us", 0.85), ("1.20s", 1200.0)])
def test_every_unit_of_time_is_read_in_milliseconds(printed: str, milliseconds: float) -> None:
    assert read_wrk(WELL.replace("25.57ms", printed))["p99_ms"] == pytest.approx(milliseconds)


def test_errors_are_found() -> None:
    found = read_wrk(WELL.replace("Requests/sec", ERRORS + "Requests/sec"))
    assert found["errors"] == [
        "Socket errors: connect 0, read 7, write 0, timeout 0",
        "Non-2xx or 3xx responses: 1039",
    ]


def test_another_text_is_no_figure() -> None:
    with pytest.raises(LockstepError, match="wrk says something else"):
        read_wrk("unable to connect to 127.0.0.1:18080 Connection refused\n")
