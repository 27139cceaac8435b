"""An OpenAPI document (3.1), made from the very models that check requests and make answers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from jobs.contract import Id
from worker.web.bodies import JSON
from worker.web.preferences import MOST_WAIT_SECONDS
from worker.web.problems import PROBLEM, ProblemBody

BEARER: Final = "bearer"
WHEN: Final = {
    HTTPStatus.BAD_REQUEST: "It is not what is described here; `detail` names the field and the value.",
    HTTPStatus.UNAUTHORIZED: "It shows no key, or one that is unknown or revoked.",
    HTTPStatus.FORBIDDEN: "Where nobody needs a key: another site has sent it through a browser.",
    HTTPStatus.NOT_FOUND: "There is no such thing.",
    HTTPStatus.REQUEST_TIMEOUT: "The body came too slowly.",
    HTTPStatus.CONFLICT: "The id belongs to other content, or it is too early for this.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: f"The body is not sent as `{JSON}`.",
    HTTPStatus.SERVICE_UNAVAILABLE: "A server that it needs does not answer in time, or the workers are behind; `Retry-After` says when to come again.",
}
HEADERS: Final = {
    "Link": "the page after this one, as `next`",
    "Location": "where to look the order up",
    "Preference-Applied": "how long was waited, at most",
    "Retry-After": "when it is worth coming again, in seconds",
    "WWW-Authenticate": "how to show a key",
}
GUARDED: Final = (  # what a route may answer that needs a key
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
READ: Final = (  # and one that reads a body
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)
_OF_A_PROBLEM: Final = {
    HTTPStatus.UNAUTHORIZED: ["WWW-Authenticate"],
    HTTPStatus.SERVICE_UNAVAILABLE: ["Retry-After"],
}
_IN_PATHS: Final[dict[str, Any]] = {"order_id": UUID, "product_id": Id, "customer_id": Id}
_WAIT: Final = {
    "name": "Prefer",
    "in": "header",
    "description": f"`wait=N`: wait for the outcome, for N seconds and {MOST_WAIT_SECONDS} at most (RFC 7240)",
    "schema": {"type": "string"},
    "example": "wait=10",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a status means: the model of what comes in JSON, and the media types of what comes as text."""

    says: str
    model: Any = None
    texts: Sequence[str] = ()
    headers: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A route as its callers see it. Of those in its path, the types of the parameters are known."""

    method: str
    path: str
    summary: str
    description: str = ""
    query: Mapping[str, tuple[Any, str]] = field(default_factory=dict)  # type and meaning, by name
    body: Any = None
    answers: Mapping[HTTPStatus, Answer]
    problems: Sequence[HTTPStatus] = ()
    needs_key: bool = False
    waits: bool = False


class _Components:
    """What is referred to: schemas by the names of their models, and problems by their phrases."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self.problems: dict[str, Any] = {}

    def schema(self, kind: Any, mode: JsonSchemaMode = "serialization") -> dict[str, Any]:  # noqa: ANN401  # any type
        """The schema of a type: a reference where it is a model."""
        # Of a list: a model alone would come without its name.
        listed = TypeAdapter(list[kind]).json_schema(mode=mode, ref_template="#/components/schemas/{model}")
        for name, schema in listed.get("$defs", {}).items():
            assert self.schemas.setdefault(name, schema) == schema, f"two models are called {name}"
        items: dict[str, Any] = listed["items"]
        return items

    def problem(self, status: HTTPStatus) -> dict[str, Any]:
        """A reference to the answer that this status is."""
        name = status.phrase.title().replace(" ", "")
        headers = _OF_A_PROBLEM.get(status, ())
        self.problems[name] = _answer(WHEN[status], {PROBLEM: self.schema(ProblemBody)}, headers)
        return {"$ref": f"#/components/responses/{name}"}


def openapi(operations: Sequence[Operation], *, title: str, version: str, description: str) -> dict[str, Any]:
    """The document of these operations, in their order."""
    components, paths = _Components(), dict[str, dict[str, Any]]()
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description, "license": {"name": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": components.schemas,
            "responses": components.problems,
            "securitySchemes": {
                BEARER: {"type": "http", "scheme": "bearer", "description": "`lockstep keys add NAME`"}
            },
        },
    }


def _describe(operation: Operation, components: _Components) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "description": operation.description,
        "operationId": f"{operation.method.lower()}{re.sub(r'[^a-z]+', '_', operation.path)}".strip("_"),
        "parameters": list(_parameters(operation, components)),
        "responses": {str(status.value): answer for status, answer in _answers(operation, components)},
    }
    if operation.body:
        schema = components.schema(operation.body, "validation")
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    if operation.needs_key:
        described["security"] = [{BEARER: []}]
    return described


def _parameters(operation: Operation, components: _Components) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", operation.path):
        schema = components.schema(_IN_PATHS[name], "validation")
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    for name, (kind, says) in operation.query.items():
        yield {
            "name": name,
            "in": "query",
            "description": says,
            "schema": components.schema(kind, "validation"),
        }
    if operation.waits:
        yield _WAIT


def _answers(operation: Operation, components: _Components) -> Iterator[tuple[HTTPStatus, dict[str, Any]]]:
    for status, answer in operation.answers.items():
        schemas: dict[str, Any] = {JSON: components.schema(answer.model)} if answer.model else {}
        schemas |= {media_type: {"type": "string"} for media_type in answer.texts}
        yield status, _answer(answer.says, schemas, answer.headers)
    for status in sorted(operation.problems):
        yield status, components.problem(status)


def _answer(says: str, schemas: Mapping[str, Any], headers: Sequence[str]) -> dict[str, Any]:
    content = {media_type: {"schema": schema} for media_type, schema in schemas.items()}
    answer: dict[str, Any] = {"description": says, "content": content}
    if headers:
        answer["headers"] = {
            name: {"description": HEADERS[name], "schema": {"type": "string"}} for name in headers
        }
    return answer
