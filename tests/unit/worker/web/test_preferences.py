import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from worker.web.preferences import MOST_WAIT_SECONDS, preferred_wait


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ([], 0),
        ([""], 0),
        (["wait=10"], 10),
        (['WAIT = "10"'], 10),
        (["respond-async, wait=10"], 10),
        (["respond-async", "wait=10; x=y"], 10),
        (["wait=5, wait=7"], 5),
        (["wait=0"], 0),
        (["wait=3600"], MOST_WAIT_SECONDS),
        (["wait=9999999999999999999"], 0),
        (["wait=-1"], 0),
        (["wait=1.5"], 0),
        (["wait=ten"], 0),
        (["wait"], 0),
        (["await=10"], 0),
        (["wait=10x"], 0),
        (["handling=lenient; wait=10"], 0),
    ],
)
def test_a_wait_is_read_as_rfc_7240_writes_it_and_bounded(sent: list[str], seconds: int) -> None:
    headers = CIMultiDict([("Prefer", value) for value in sent])
    assert preferred_wait(make_mocked_request("POST", "/orders", headers=headers)) == seconds
