import pytest

from worker.errors import LockstepError
from worker.settings import Settings
from worker.web.application import serve
from worker.web.authentication import is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "shop.example", "localhost.example", ""])
def test_who_asks_for_no_key_listens_for_this_machine_alone(host: str) -> None:
    settings = Settings(mysql_url="mysql://u:p@127.0.0.1:1/x", redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(LockstepError, match="--open lets in whoever reaches"):
        serve(settings, host, 8080, is_open=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_has_many_names(host: str) -> None:
    assert is_loopback(host)
