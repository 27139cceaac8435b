"""What a Redis URL may hold."""

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.addresses import without_password
from worker.queue.connection import connection_pool, redis_settings, what_is_wrong


def test_a_password_in_a_url_may_be_escaped() -> None:
    settings = redis_settings("rediss://al%40ice:p%2Fw@redis.example:6380/3")
    assert (settings.username, settings.password) == ("al@ice", "p/w")
    assert (settings.host, settings.port, settings.database, settings.ssl) == ("redis.example", 6380, 3, True)
    assert settings.ssl_check_hostname


def test_a_url_may_go_without_user_and_password() -> None:
    settings = redis_settings("redis://redis.example")
    assert (settings.username, settings.password) == (None, None)
    assert (settings.host, settings.port, settings.database) == ("redis.example", 6379, 0)


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("redis://alice:secret@localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:secret@localhost/0", "redis://localhost/0"),
        ("mysql://u:p%40w@localhost:3306/orders", "mysql://localhost:3306/orders"),
    ],
)
def test_a_url_is_printed_without_its_password(url: str, printed: str) -> None:
    assert without_password(url) == printed


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            AuthenticationError("WRONGPASS"),
            "Redis at redis://h:1/0 refuses this user or password (WRONGPASS): check them in the URL.",
        ),
        (
            OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
            "Redis at redis://h:1/0 has no memory left: raise its maxmemory; the orders that it holds stay there.",
        ),
        (
            ResponseError(
                "Error running script: @user_script:9: OOM command not allowed when used memory > 'maxmemory'."
            ),
            "Redis at redis://h:1/0 has no memory left: raise its maxmemory; the orders that it holds stay there.",
        ),
        (
            RedisConnectionError("You can't write against a read only replica."),
            "Redis at redis://h:1/0 is a replica: the URL must lead to its master; the orders that it holds stay there.",
        ),
        (
            RedisConnectionError("Connection refused"),
            "Redis does not answer at redis://h:1/0 (Connection refused); is it running?",
        ),
    ],
    ids=["password", "memory", "memory of Redis 6", "replica", "gone"],
)
def test_what_is_wrong_with_redis_is_one_sentence(error: RedisError, said: str) -> None:
    assert what_is_wrong(error, "redis://:secret@h:1/0") == said


async def test_a_wrong_password_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    async def refuse(self: Any) -> None:
        nonlocal tries
        tries += 1
        raise AuthenticationError("invalid username-password pair")

    async def let_in(self: Any) -> None:
        pass

    pool = connection_pool("redis://:wrong@127.0.0.1:1/0", retries=15)
    monkeypatch.setattr(pool.connection_class, "_connect", let_in)
    monkeypatch.setattr(pool.connection_class, "on_connect", refuse)  # the handshake
    redis = Redis(connection_pool=pool)
    with pytest.raises(AuthenticationError, match="invalid username-password pair"):
        await redis.ping()
    assert tries == 1
