import re
from collections.abc import Iterator
from html.parser import HTMLParser
from http import HTTPStatus
from typing import Any, Final

import orjson
import pytest
from pydantic import create_model

from tests.offenders import assert_none
from tests.unit.worker.web.conftest import Client
from worker.settings import Settings
from worker.web.application import make_application
from worker.web.contract import OPERATIONS, document
from worker.web.openapi import Answer, Operation, openapi

SETTINGS: Final = Settings(mysql_url="mysql://u:p@localhost/x", redis_url="redis://localhost")
FOR_THE_LIVE_PAGE: Final = re.compile(r"/($|live\b|static\b)")  # what it asks for changes with it


def test_every_route_is_in_the_document_and_no_other() -> None:
    served = {
        (route.method, route.resource.canonical)
        for route in make_application(SETTINGS).router.routes()
        if route.method != "HEAD" and route.resource
        if not FOR_THE_LIVE_PAGE.match(route.resource.canonical)
    }
    described = {(operation.method, operation.path) for operation in OPERATIONS}
    assert served == described


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for inner in node.values():
            yield from nodes(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from nodes(inner)


def test_every_reference_leads_somewhere_and_every_component_is_referred_to() -> None:
    references = {node["$ref"] for node in nodes(document()) if isinstance(node.get("$ref"), str)}
    components = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses")
        for name in document()["components"][kind]
    }
    assert references == components


def test_names_are_unique() -> None:
    ids = [
        operation["operationId"] for methods in document()["paths"].values() for operation in methods.values()
    ]
    assert sorted(ids) == sorted(set(ids))


def described_as(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = document()["paths"][operation.path][operation.method.lower()]
    return described


def test_what_needs_a_key_says_so() -> None:
    assert OPERATIONS
    keys = {
        f"{operation.method} {operation.path}": (
            operation.needs_key,
            "security" in described_as(operation),
            "401" in described_as(operation)["responses"],
        )
        for operation in OPERATIONS
    }
    assert_none(
        f"{operation}: {needs_key=}, but {security=} and {answers_401=}"
        for operation, (needs_key, security, answers_401) in keys.items()
        if not needs_key == security == answers_401
    )


def test_parameters_in_the_path_are_described() -> None:
    named = {
        (operation.method, operation.path): [
            each["name"] for each in described_as(operation)["parameters"] if each["in"] == "path"
        ]
        for operation in OPERATIONS
    }
    assert_none(
        f"{method} {path}: {names} are described"
        for (method, path), names in named.items()
        if names != re.findall(r"\{(\w+)\}", path)
    )


def test_two_models_of_one_name_are_refused() -> None:
    """Else one of them would be described as the other."""
    operations = [
        Operation(method="GET", path=f"/{number}", summary="", answers={HTTPStatus.OK: Answer("", model)})
        for number, model in enumerate((create_model("Twin", a=int), create_model("Twin", b=int)))
    ]
    with pytest.raises(AssertionError, match="two models are called Twin"):
        openapi(operations, title="", version="", description="")


async def test_the_document_is_served(client: Client) -> None:
    async with client.get("/openapi.json") as response:
        assert response.status == 200
        assert await response.json() == orjson.loads(orjson.dumps(document()))


class Page(HTMLParser):
    """The links, targets and text of a page, whose elements must be closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(str(value))
            elif name in {"href", "src", "action"}:
                self.links.add(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not set(self.open) & {"style", "script"}:
            self.text += data


async def test_the_page_tells_all_of_it_and_asks_no_other_server(client: Client) -> None:
    async with client.get("/docs") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        text = await response.text()
    page = Page(text)
    assert not page.open
    assert {link for link in page.links if not link.startswith("#")} == {"/openapi.json"}
    assert {link.removeprefix("#") for link in page.links} <= page.ids | {"/openapi.json"}
    assert page.ids >= document()["components"]["schemas"].keys()
    for operation in OPERATIONS:
        assert operation.path in page.text
        assert operation.summary in page.text
    assert "`" not in page.text
    assert "Undefined" not in text
    assert "viewport" in text
