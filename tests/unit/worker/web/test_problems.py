import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import NoReturn

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pymysql import err
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs.orders.requests import CancelOrder
from worker.database.retry import DatabaseError
from worker.web.problems import Problem, problems

Client = TestClient[web.Request, web.Application]


async def _fails(error: Exception) -> NoReturn:
    raise error


async def _several_queries(_: web.Request) -> NoReturn:
    async with asyncio.TaskGroup() as group:
        group.create_task(_fails(DatabaseError("orders", err.OperationalError(2013, "lost"))))
        group.create_task(_fails(Problem(HTTPStatus.NOT_FOUND, "there is no product 7")))
    raise AssertionError("the group has failed")


ERRORS = {
    "/problem": Problem(HTTPStatus.CONFLICT, "this id belongs to another order"),
    "/behind": Problem(HTTPStatus.SERVICE_UNAVAILABLE, "come again", retry_seconds=7),
    "/outage": DatabaseError("connect", TimeoutError("no connection was free")),
    "/lost": DatabaseError("orders", err.OperationalError(2013, "lost")),
    "/redis": RedisConnectionError("refused"),
    "/bug": KeyError("secret"),
    "/wrong-sql": DatabaseError("orders", err.ProgrammingError(1064, "secret")),
}


async def _one_query(request: web.Request) -> NoReturn:
    await _fails(ERRORS[request.path])


async def _invalid(_: web.Request) -> NoReturn:
    CancelOrder.model_validate({"order_id": "seven"})
    raise AssertionError("it is no UUID")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    application = web.Application(middlewares=[problems])
    application.add_routes([web.get(path, _one_query) for path in ERRORS])
    application.add_routes([web.get("/several", _several_queries), web.get("/invalid", _invalid)])
    async with TestClient(TestServer(application)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/problem", 409, "this id belongs to another order"),
        ("/outage", 503, "the database does not answer in time"),
        ("/lost", 503, "the database does not answer in time"),
        ("/redis", 503, "the queue does not answer in time"),
        ("/bug", 500, "a fault of this server"),
        ("/wrong-sql", 500, "a fault of this server"),
        ("/several", 404, "there is no product 7"),
        ("/invalid", 400, "order_id"),
        ("/nowhere", 404, "Not Found"),
    ],
)
async def test_an_error_is_told_as_problem_json(client: Client, path: str, status: int, says: str) -> None:
    async with client.get(path) as response:
        body = await response.json(content_type="application/problem+json")
        assert response.status == body["status"] == status
        assert says in body["detail"]
        assert "secret" not in body["detail"]


@pytest.mark.parametrize("path", ["/outage", "/lost", "/redis"])
async def test_who_may_come_again_is_told_when(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert int(response.headers["Retry-After"]) >= 1


async def test_a_problem_may_say_how_long_it_will_take(client: Client) -> None:
    async with client.get("/behind") as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "7"


async def test_a_method_that_is_not_served_is_told_which_are(client: Client) -> None:
    async with client.post("/problem") as response:
        assert response.status == 405
        assert "GET" in response.headers["Allow"]
