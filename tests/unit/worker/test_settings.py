import os
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.offenders import assert_none
from worker.addresses import authority
from worker.errors import LockstepError
from worker.settings import SERVERS_FILE, Settings, read_settings

MYSQL_URL = "mysql://user:secret@localhost:3306/orders"
REDIS_URL = "redis://:secret@localhost:6379/0"
BAD_MYSQL_URL = "LOCKSTEP_MYSQL_URL cannot be used: it must be mysql://USER:PASSWORD@HOST:PORT/DATABASE."
BAD_REDIS_URL = "LOCKSTEP_REDIS_URL cannot be used: it must be redis://[USER:PASSWORD@]HOST:PORT/DB."


@pytest.fixture(autouse=True)
def _an_empty_folder_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("LOCKSTEP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names both servers."""
    monkeypatch.setenv("LOCKSTEP_MYSQL_URL", MYSQL_URL)
    monkeypatch.setenv("LOCKSTEP_REDIS_URL", REDIS_URL)
    return monkeypatch


def write_servers_file(**urls: str) -> None:
    SERVERS_FILE.parent.mkdir()
    SERVERS_FILE.write_text("".join(f"LOCKSTEP_{name}={url}\n" for name, url in urls.items()))


def refusal() -> str:
    with pytest.raises(LockstepError) as raised:
        read_settings()
    return str(raised.value)


def refusal_of_url(name: str) -> str:
    """Nothing of a URL is printed, since it may hold a password: not even in a traceback."""
    url = os.environ[name]
    with pytest.raises(LockstepError) as raised:
        read_settings()
    printed = "".join(traceback.format_exception(raised.value))
    assert not url or url not in printed
    assert "secret" not in printed
    return str(raised.value)


@pytest.mark.usefixtures("environment")
def test_two_urls_are_enough() -> None:
    settings = read_settings()
    assert (settings.mysql_url, settings.redis_url, settings.mysql_connections) == (MYSQL_URL, REDIS_URL, 8)


def test_a_setting_is_read_from_its_variable(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOCKSTEP_MYSQL_CONNECTIONS", "7")
    assert read_settings().mysql_connections == 7


@pytest.mark.parametrize("name", ["LOCKSTEP_MYSQL_URL", "LOCKSTEP_REDIS_URL"])
def test_a_url_that_is_missing_is_named(name: str, environment: pytest.MonkeyPatch) -> None:
    environment.delenv(name)
    assert refusal().startswith(f"{name} is not set")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "postgresql://user:secret@localhost/orders",
        "mysql://user:secret@localhost",
        "mysql://user:secret@localhost/",
        "mysql:///orders",
    ],
)
def test_a_mysql_url_without_scheme_host_or_database_is_refused(
    url: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("LOCKSTEP_MYSQL_URL", url)
    assert refusal_of_url("LOCKSTEP_MYSQL_URL") == BAD_MYSQL_URL


@pytest.mark.parametrize("port", ["x", "0", "-1", "65536", "3306x"])
def test_a_mysql_url_with_a_bad_port_is_refused(port: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOCKSTEP_MYSQL_URL", f"mysql://user:secret@localhost:{port}/orders")
    assert refusal_of_url("LOCKSTEP_MYSQL_URL") == BAD_MYSQL_URL


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:secret@[::1/orders",
        "mysql://user:secret@::1]/orders",
        "mysql://user:[secret@localhost/orders",
        "mysql://user:sec/ret@localhost/orders",
        "mysql://user:sec#ret@localhost/orders",
        "mysql://user:sec?ret@localhost/orders",
    ],
)
def test_a_mysql_url_with_a_sign_that_ought_to_be_escaped_is_refused(
    url: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("LOCKSTEP_MYSQL_URL", url)
    assert refusal_of_url("LOCKSTEP_MYSQL_URL") == BAD_MYSQL_URL


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://:secret@localhost:6379"])
def test_a_redis_url_with_another_scheme_is_refused(url: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOCKSTEP_REDIS_URL", url)
    assert refusal_of_url("LOCKSTEP_REDIS_URL") == BAD_REDIS_URL


@pytest.mark.parametrize("port", ["x", "0", "-1", "65536", "6379x"])
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_redis_url_with_a_bad_port_is_refused(
    scheme: str, port: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("LOCKSTEP_REDIS_URL", f"{scheme}://:secret@localhost:{port}/0")
    assert refusal_of_url("LOCKSTEP_REDIS_URL") == BAD_REDIS_URL


@pytest.mark.parametrize(
    "url",
    ["redis://:secret@[::1/0", "redis://:secret@::1]:6379/0", "redis://:sec/ret@localhost/0"],
)
def test_a_redis_url_with_a_sign_that_ought_to_be_escaped_is_refused(
    url: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("LOCKSTEP_REDIS_URL", url)
    assert refusal_of_url("LOCKSTEP_REDIS_URL") == BAD_REDIS_URL


@pytest.mark.parametrize("database", ["x", "-1", "1.5", "0x", "1/2", "\N{SUPERSCRIPT TWO}"])
def test_a_redis_url_whose_database_is_no_number_is_refused(
    database: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("LOCKSTEP_REDIS_URL", f"redis://:secret@localhost:6379/{database}")
    assert refusal_of_url("LOCKSTEP_REDIS_URL") == (
        "LOCKSTEP_REDIS_URL cannot be used: its database must be a number:"
        " redis://[USER:PASSWORD@]HOST:PORT/DB."
    )


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379",
        "redis://localhost/15",
        "redis://[::1]:6379/0",
        "unix:///run/redis.sock",
    ],
)
def test_what_a_redis_url_may_leave_out_is_left_out(url: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOCKSTEP_REDIS_URL", url)
    assert read_settings().redis_url == url


@pytest.mark.parametrize(
    "url", ["mysql://localhost/orders", "mysql://user@localhost/orders", "mysql://[::1]:3306/orders"]
)
def test_what_a_mysql_url_may_leave_out_is_left_out(url: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOCKSTEP_MYSQL_URL", url)
    assert read_settings().mysql_url == url


@pytest.mark.parametrize("name", ["LOCKSTEP_MYSQL_URL", "LOCKSTEP_MIGRATION_URL", "LOCKSTEP_REDIS_URL"])
def test_the_authorities_of_tls_must_be_readable(
    name: str, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    url = "rediss://:secret@localhost/0" if "REDIS" in name else MYSQL_URL
    environment.setenv(name, f"{url}?tls={tmp_path}/absent.pem")
    assert refusal_of_url(name) == (
        f"{name} cannot be used: the authorities that `tls` names cannot be read (No such file or directory)."
    )
    (tmp_path / "empty.pem").touch()
    environment.setenv(name, f"{url}?tls={tmp_path}/empty.pem")
    assert refusal_of_url(name).startswith(
        f"{name} cannot be used: the authorities that `tls` names cannot be"
    )
    environment.setenv(name, f"{url}?tls=system")
    assert authority(getattr(read_settings(), name.removeprefix("LOCKSTEP_").lower())) == "system"


@pytest.mark.parametrize("query", ["tls=", "tls", "tls=a&tls=b", "tls=system&x=1", "ssl=1"])
@pytest.mark.parametrize("name", ["LOCKSTEP_MYSQL_URL", "LOCKSTEP_MIGRATION_URL", "LOCKSTEP_REDIS_URL"])
def test_a_url_may_ask_for_tls_and_nothing_else(
    name: str, query: str, environment: pytest.MonkeyPatch
) -> None:
    url = "rediss://:secret@localhost/0" if "REDIS" in name else MYSQL_URL
    environment.setenv(name, f"{url}?{query}")
    assert refusal_of_url(name).startswith(f"{name} cannot be used: it")


def test_redis_without_tls_vouches_for_nothing(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOCKSTEP_REDIS_URL", f"{REDIS_URL}?tls=system")
    assert refusal_of_url("LOCKSTEP_REDIS_URL").endswith("with TLS it must begin with rediss://.")


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix"])
def test_redis_may_be_reached_plainly_with_tls_or_by_a_socket(
    scheme: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("LOCKSTEP_REDIS_URL", f"{scheme}://localhost/0")
    assert read_settings().redis_url == f"{scheme}://localhost/0"


def test_a_variable_that_is_no_setting_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOCKSTEP_MAX_JOB", "7")
    assert refusal().startswith("LOCKSTEP_MAX_JOB is not a setting")


@pytest.mark.parametrize("name", ["lockstep_max_job", "Lockstep_Max_Job", "LOCKSTEP_max_job"])
def test_a_variable_that_is_no_setting_is_named_however_it_is_written(
    name: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(name, "7")
    assert refusal() == "LOCKSTEP_MAX_JOB is not a setting of lockstep; the README lists them all."


def test_the_value_of_a_variable_that_is_no_setting_is_not_printed(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOCKSTEP_MYSQL_URI", MYSQL_URL)
    assert "secret" not in refusal()


@pytest.mark.parametrize("name", ["lockstep_mysql_connections", "Lockstep_Mysql_Connections"])
def test_a_setting_may_be_written_in_lower_case(name: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, "7")
    assert read_settings().mysql_connections == 7


def test_variables_of_the_test_suite_are_let_be(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOCKSTEP_TEST_MYSQL_URL", "mysql://other/orders")
    assert read_settings().mysql_url == MYSQL_URL


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        ("LOCK_WAIT_SECONDS", "STATEMENT_SECONDS"),
        ("STATEMENT_SECONDS", "TRANSACTION_SECONDS"),
    ],
)
def test_a_wait_that_is_not_shorter_than_the_one_around_it_is_named(
    inner: str, outer: str, environment: pytest.MonkeyPatch
) -> None:
    longest = read_settings().model_dump()[outer.lower()]
    environment.setenv(f"LOCKSTEP_{inner}", f"{longest:g}")
    assert refusal() == f"LOCKSTEP_{inner} must be less than LOCKSTEP_{outer}."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOCKSTEP_MYSQL_CONNECTIONS", "many"),
        ("LOCKSTEP_MYSQL_CONNECTIONS", ""),
        ("LOCKSTEP_MYSQL_CONNECTIONS", "0"),
        ("LOCKSTEP_MYSQL_CONNECTIONS", "1.5"),
        ("LOCKSTEP_STATEMENT_SECONDS", "nan"),
        ("LOCKSTEP_CONNECTION_SECONDS", "-1"),
        ("LOCKSTEP_POLL_SECONDS", "0"),
        ("LOCKSTEP_LOG_FORMAT", "xml"),
        ("LOCKSTEP_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_value_is_named_with_its_variable(
    name: str, value: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(name, value)
    assert refusal().startswith(f"{name} is {value!r}: Input should be ")


def test_the_servers_of_this_folder_are_found() -> None:
    write_servers_file(MYSQL_URL="mysql://localhost/of_file", REDIS_URL="redis://file")
    settings = read_settings()
    assert (settings.mysql_url, settings.redis_url) == ("mysql://localhost/of_file", "redis://file")


@pytest.mark.usefixtures("environment")
def test_the_environment_comes_before_the_servers_of_this_folder() -> None:
    write_servers_file(MYSQL_URL="mysql://localhost/of_file", REDIS_URL="redis://file")
    settings = read_settings()
    assert (settings.mysql_url, settings.redis_url) == (MYSQL_URL, REDIS_URL)


def test_the_servers_file_may_fill_in_what_the_environment_lacks(environment: pytest.MonkeyPatch) -> None:
    write_servers_file(MYSQL_URL="mysql://localhost/of_file", REDIS_URL="redis://file")
    environment.delenv("LOCKSTEP_REDIS_URL")
    settings = read_settings()
    assert (settings.mysql_url, settings.redis_url) == (MYSQL_URL, "redis://file")


@pytest.mark.parametrize("name", ["LOCKSTEP_MAX_JOB", "lockstep_max_job"])
def test_a_key_of_the_servers_file_that_is_no_setting_is_named(name: str) -> None:
    write_servers_file(MYSQL_URL=MYSQL_URL, REDIS_URL=REDIS_URL)
    with SERVERS_FILE.open("a") as file:
        file.write(f"{name}=7\n")
    text = refusal()
    assert "max_job in .lockstep/servers.env is not a setting" in text
    assert "7" not in text, "it may be a password"


def test_a_bad_value_in_the_servers_file_is_named_once_with_its_prefix() -> None:
    write_servers_file(MYSQL_URL=MYSQL_URL, REDIS_URL=REDIS_URL, MYSQL_CONNECTIONS="many")
    text = refusal()
    assert text.startswith("LOCKSTEP_MYSQL_CONNECTIONS is 'many': Input should be ")
    assert text.count("LOCKSTEP_") == 1


def test_a_bad_url_in_the_servers_file_is_named_and_not_printed() -> None:
    write_servers_file(MYSQL_URL="mysql://user:secret@localhost:x/orders", REDIS_URL=REDIS_URL)
    assert refusal() == BAD_MYSQL_URL


def test_settings_cannot_be_changed() -> None:
    settings = Settings(mysql_url=MYSQL_URL, redis_url=REDIS_URL)
    with pytest.raises(ValidationError, match="frozen"):
        settings.mysql_connections = 1  # type: ignore[misc]  # what must not work


def test_the_readme_tells_every_setting_and_its_default() -> None:
    assert Settings.model_fields
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
    rows = [row_of_setting(name) for name in Settings.model_fields]
    assert_none(f"no row begins with {row}" for row in rows if row not in readme)


def row_of_setting(name: str) -> str:
    """How its row in the README begins."""
    field = Settings.model_fields[name]
    default = (
        ""
        if field.default is None or field.is_required()
        else f" {field.default}".replace(" text", " `text`").replace(" info", " `info`")
    )
    default = f" `{field.default}`" if name in {"queue_name", "events_stream", "metrics_host"} else default
    return f"| `LOCKSTEP_{name.upper()}` |{default} |"


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_refused(port: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOCKSTEP_METRICS_PORT", port)
    assert refusal().startswith(f"LOCKSTEP_METRICS_PORT is '{port}': Input should be ")
