"""Settings from LOCKSTEP_* variables: read once, passed on."""

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.addresses import tls_context
from worker.errors import LockstepError

PREFIX: Final = "LOCKSTEP_"
TEST_PREFIX: Final = "LOCKSTEP_TEST_"  # read by the test suite alone
# Limits of a command that reads or fills whole tables: a worker would give up, and run the job again later.
WHOLE_TABLES: Final = {"connection_seconds": 30.0, "statement_seconds": 60.0, "transaction_seconds": 7200.0}
SERVERS_FILE: Final = Path(".lockstep/servers.env")  # written by `lockstep up` while it runs


class Settings(BaseSettings):
    """What a worker or a command needs to know. Times are in seconds.

    Each wait is shorter than the one around it, so that the inner one reports what happened:
    lock wait < statement < transaction (with its retries).
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    # They hold passwords, which nothing may print.
    mysql_url: str = Field(
        repr=False,
        description="mysql://USER:PASSWORD@HOST:PORT/DATABASE, of MySQL or MariaDB (?tls=FILE: TLS)",
    )
    migration_url: str | None = Field(
        None,
        repr=False,
        description="the same for the user that makes the tables; only `lockstep migrate` needs it",
    )
    redis_url: str = Field(
        repr=False, description="redis://[USER:PASSWORD@]HOST:PORT/DB (rediss://, and ?tls=FILE: TLS)"
    )
    queue_name: str = Field("arq:queue", min_length=1, description="the arq queue that carries the jobs")

    events_stream: str = Field(
        "lockstep:events", min_length=1, description="the Redis stream that events are published to"
    )
    events_kept: int = Field(
        100_000, ge=1, description="about how many events the stream keeps; the oldest go first"
    )

    mysql_connections: int = Field(8, ge=1, le=1000, description="most connections of one worker")
    connection_seconds: float = Field(2.0, gt=0, description="longest wait for a connection")
    lock_wait_seconds: int = Field(2, ge=1, description="longest wait for a row lock")
    statement_seconds: float = Field(4.0, gt=0, description="longest wait for the answer to a statement")
    transaction_seconds: float = Field(5.0, gt=0, description="no new attempt of a transaction after this")
    job_seconds: int = Field(
        6, ge=1, description="longest wait of a job for its transaction; then it goes back to the queue"
    )

    staged_again_seconds: int = Field(
        60, ge=1, description="when a staged order that has no outcome yet is enqueued again"
    )
    poll_seconds: float = Field(0.01, gt=0, le=10, description="how often a busy worker looks for jobs")
    stop_seconds: int = Field(15, ge=1, description="longest wait for running jobs after SIGTERM")
    keep_outcome_seconds: int = Field(
        3600, ge=1, description="how long Redis keeps an outcome for its receipt"
    )

    cache_seconds: float = Field(
        30.0, gt=0, le=3600, description="how long Redis keeps what the storefront shows of a product"
    )

    busy_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="how long a due job may wait for a worker before `lockstep web` stops waiting for outcomes",
    )

    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="where a worker answers /metrics, /healthz and /readyz; 0: nowhere",
    )
    metrics_host: str = Field(
        "127.0.0.1", min_length=1, description="the address that it answers at; 0.0.0.0 is any of the machine"
    )
    tracing: bool = Field(
        False,
        description="trace by OpenTelemetry (the extra `tracing`); its own OTEL_ variables say where to",
    )

    log_format: Literal["text", "json"] = Field("text", description="how log lines look")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the lowest level that is logged"
    )

    @field_validator("mysql_url", "migration_url")
    @classmethod
    def _is_a_mysql_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if (
            not _parses(url, {"mysql"})
            or not urlsplit(url).hostname
            or not urlsplit(url).path.strip("/")
            or not _asks_for_tls_alone(url)
        ):
            raise ValueError("it must be mysql://USER:PASSWORD@HOST:PORT/DATABASE")
        return _with_known_authorities(url)

    @field_validator("redis_url")
    @classmethod
    def _is_a_redis_url(cls, url: str) -> str:
        if not _parses(url, {"redis", "rediss", "unix"}):
            raise ValueError("it must be redis://[USER:PASSWORD@]HOST:PORT/DB")
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return url
        if parts.scheme == "redis" and "tls" in parse_qs(parts.query):
            raise ValueError("with TLS it must begin with rediss://")
        if not _asks_for_tls_alone(url) or not re.fullmatch(r"(/\d+)?", parts.path):
            raise ValueError("its database must be a number: redis://[USER:PASSWORD@]HOST:PORT/DB")
        return _with_known_authorities(url)

    @model_validator(mode="after")
    def _waits_are_nested(self) -> Self:
        waits = ("lock_wait_seconds", "statement_seconds", "transaction_seconds")
        for inner, outer in pairwise(waits):
            if getattr(self, inner) >= getattr(self, outer):
                raise ValueError(f"{PREFIX}{inner.upper()} must be less than {PREFIX}{outer.upper()}")
        return self


def read_settings() -> Settings:
    """Settings of the environment, or of the servers that `lockstep up` runs in this folder.

    Raises LockstepError with a sentence that names the variable.
    """
    for name in map(str.upper, os.environ):
        known = name.removeprefix(PREFIX).lower() in Settings.model_fields or name.startswith(TEST_PREFIX)
        if name.startswith(PREFIX) and not known:
            raise LockstepError(f"{name} is not a setting of lockstep; the README lists them all.")
    try:
        return Settings(_env_file=SERVERS_FILE)
    except ValidationError as error:
        raise LockstepError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    problem = error.errors()[0]
    reason = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return f"{reason}."
    name = f"{PREFIX}{problem['loc'][0]}".upper()
    if problem["type"] == "missing":
        return f"{name} is not set: name your server in it, or start servers of your own with `lockstep up`."
    if problem["type"] == "extra_forbidden":
        return (
            f"{problem['loc'][0]} in {SERVERS_FILE} is not a setting of lockstep; the README lists them all."
        )
    if name.endswith("_URL"):  # which may hold a password
        return f"{name} cannot be used: {reason}."
    return f"{name} is {problem['input']!r}: {reason}."


def _parses(url: str, schemes: set[str]) -> bool:
    try:
        port = urlsplit(url).port
    except ValueError:  # a port that is no number, brackets that are not closed
        return False
    return port != 0 and urlsplit(url).scheme in schemes


def _asks_for_tls_alone(url: str) -> bool:
    asked = parse_qs(urlsplit(url).query, keep_blank_values=True)
    return not asked or (asked.keys() == {"tls"} and len(asked["tls"]) == 1 and asked["tls"] != [""])


def _with_known_authorities(url: str) -> str:
    try:
        tls_context(url)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"the authorities that `tls` names cannot be read ({reason})") from None
    return url
