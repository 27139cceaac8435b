import pytest
from aiohttp.test_utils import make_mocked_request

from worker.web.pages import wants_html

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (CHROMIUM, True),
        ("text/html", True),
        ("TEXT/HTML; charset=utf-8", True),
        ("text/*", True),
        ("application/json;q=0.5, text/html", True),
        ("*/*;q=0.1, text/html;q=0.2", True),
        ("application/json;q=0, */*", True),
        ("*/*", False),
        ("", False),
        (",;q=,", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("text/html;q=much", False),
        ("image/png", False),
        ("application/*, text/html;q=0.5", False),
    ],
)
def test_html_is_for_whom_it_suits_better(accept: str, html: bool) -> None:  # noqa: FBT001  # as pytest passes it
    assert wants_html(make_mocked_request("GET", "/", headers={"Accept": accept})) is html


def test_who_says_nothing_gets_json() -> None:
    assert not wants_html(make_mocked_request("GET", "/"))
