"""Keys of the services that may use the door over HTTP: made, looked up and revoked; only their hashes are kept."""

import secrets
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from jobs.transaction import Reader, Transaction, load_statements

PREFIX: Final = "lockstep_"  # scanners for secrets know it by this
KEY_BYTES: Final = 32
_API_KEYS = load_statements("api_keys.sql")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A row of `api_keys`; the hash is in hex digits, the times are in UTC."""

    name: str
    key_hash: str
    created_at: datetime
    last_used_on: date | None
    revoked_at: datetime | None

    def is_opened_by(self, key: str) -> bool:
        """Whether this is the key, in a time that tells nothing of how much of it is right."""
        return self.revoked_at is None and compare_digest(self.key_hash, hash_of(key))


def new_key() -> str:
    """256 random bits, as text that fits into a header."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def hash_of(key: str) -> str:
    """SHA-256: a slow hash protects what a person has thought of, and nobody goes through 2^256 keys."""
    return sha256(key.encode(errors="surrogateescape")).hexdigest()  # of whatever bytes somebody shows


async def add_key(transaction: Transaction, name: str, key: str) -> None:
    """Keep the hash of a key. A duplicate-key error of the transaction means that the name is taken."""
    await transaction.execute(_API_KEYS["add_api_key"], {"name": name, "key_hash": hash_of(key)})


async def revoke_key(transaction: Transaction, name: str) -> bool:
    """Whether there was such a key, and it was not revoked before."""
    return await transaction.execute(_API_KEYS["revoke_api_key"], {"name": name}) == 1


async def all_keys(reader: Reader) -> list[ApiKey]:
    """By name; the revoked ones too."""
    return [ApiKey(**row) for row in await reader.fetch(_API_KEYS["api_keys"], {})]


async def record_use(transaction: Transaction, name: str, day: date) -> None:
    """Remember the day, unless a later one is known. May run again."""
    await transaction.execute(_API_KEYS["record_use"], {"name": name, "day": day.isoformat()})
