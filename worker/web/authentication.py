"""Who may write: whoever shows a key, or, for a private try-out, whoever comes from this machine."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import partial, wraps
from http import HTTPStatus
from ipaddress import ip_address
from time import monotonic
from typing import Final, Protocol
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from jobs.api_keys import ApiKey, all_keys, record_use
from worker.database.transactions import Database
from worker.errors import printable
from worker.web.problems import Problem
from worker.web.servers import DATABASE

KEYS_SECONDS: Final = 5.0  # how long a new key may not work yet, and a revoked one may
HOW: Final = "send `Authorization: Bearer KEY`"


class Guard(Protocol):
    """Decides about a request before anything of its body is read."""

    async def admit(self, request: web.Request) -> None:
        """Raise a Problem where the request may not come in."""
        ...


GUARD: Final = web.AppKey("GUARD", Guard)


def needs_key(handler: Handler) -> Handler:
    """Mark a handler: the application's guard looks at each request first."""

    @wraps(handler)
    async def guarded(request: web.Request) -> web.StreamResponse:
        await request.app[GUARD].admit(request)
        return await handler(request)

    return guarded


class KeyHolders:
    """Admits who shows a key of the table `api_keys`, which is read every few seconds and not for each request."""

    def __init__(self) -> None:
        self._keys: Sequence[ApiKey] = ()
        self._read_at = -KEYS_SECONDS

    async def admit(self, request: web.Request) -> None:
        """Raise a Problem without a key. The day of the last use is written when it is a new one."""
        database = request.app[DATABASE]
        keys = [key for key in await self._known(database) if key.revoked_at is None]
        if not keys:
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                f"nobody has a key: `lockstep keys add NAME` makes one; then {HOW}",
            )
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Problem(HTTPStatus.UNAUTHORIZED, f"this needs a key: {HOW}")
        # All are tried: how long it takes does not tell which of them it was.
        fitting = [key for key in keys if key.is_opened_by(shown.strip())]
        if not fitting:
            raise Problem(HTTPStatus.UNAUTHORIZED, "there is no such key, or it has been revoked")
        await self._note_use(database, fitting[0])

    async def _known(self, database: Database) -> Sequence[ApiKey]:
        if monotonic() >= self._read_at + KEYS_SECONDS:
            self._keys, self._read_at = await all_keys(database), monotonic()
        return self._keys

    async def _note_use(self, database: Database, key: ApiKey) -> None:
        today = datetime.now(UTC).date()
        if (key.last_used_on or date.min) < today:
            await database.transact(partial(record_use, name=key.name, day=today), job="record_use")
            self._read_at = -KEYS_SECONDS


class Neighbours:
    """Admits what this machine's own programs and its browser's own pages send, where it listens on loopback alone."""

    async def admit(self, request: web.Request) -> None:
        """Raise a Problem where another site sends it through somebody's browser, be it under a name of its own."""
        host = request.headers.get("Host", "")
        if not is_loopback(_host_name(host)):
            raise Problem(HTTPStatus.FORBIDDEN, f"{printable(host)[:80]!r} is no name of this machine")
        own_site = request.headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}
        followed_link = request.method == "GET" and request.headers.get("Sec-Fetch-Dest") == "document"
        own_origin = request.headers.get("Origin") in {None, f"{request.scheme}://{host}"}
        if not ((own_site or followed_link) and own_origin):
            raise Problem(HTTPStatus.FORBIDDEN, "another site sends this")


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches this address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # brackets that are not closed
        return ""
