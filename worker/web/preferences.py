"""`Prefer: wait=N` (RFC 7240): how long a client would like to wait for the outcome."""

import re
from typing import Final

from aiohttp import web

MOST_WAIT_SECONDS: Final = 30
_WAIT: Final = re.compile(r'(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:[,;]|$)', re.IGNORECASE)


def preferred_wait(request: web.Request) -> int:
    """Seconds, at most MOST_WAIT_SECONDS; 0 without such a preference, or with one that is no number."""
    wait = _WAIT.search(",".join(request.headers.getall("Prefer", [])))
    return min(int(wait[1]), MOST_WAIT_SECONDS) if wait else 0
