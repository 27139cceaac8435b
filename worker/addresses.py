"""Addresses of servers: URLs that hold a password, and say who vouches for the server.

`?tls=FILE` at the end of either URL asks for TLS and names the authorities (PEM) that may vouch, and no others may;
`?tls=system` takes those of the system, and so does `rediss://` alone.
"""

import ssl
from typing import Final
from urllib.parse import parse_qs, urlsplit

SYSTEM: Final = "system"


def without_password(url: str) -> str:
    """The URL as it may be printed."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def without_query(url: str) -> str:
    """The URL as a driver takes it."""
    return urlsplit(url)._replace(query="").geturl()


def authority(url: str) -> str | None:
    """Who must vouch for the server: a file of certificates, or `system`; None without TLS."""
    parts = urlsplit(url)
    (named,) = parse_qs(parts.query).get("tls", [""])
    return named or (SYSTEM if parts.scheme == "rediss" else None)


def tls_context(url: str) -> ssl.SSLContext | None:
    """Checks certificate and host name. Raises OSError where the file of authorities cannot be used."""
    named = authority(url)
    if named is None:
        return None
    return ssl.create_default_context(cafile=None if named == SYSTEM else named)


def distrust(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The refusal of a certificate that is behind an error, if one is: to wait does not mend it."""
    while error:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None
