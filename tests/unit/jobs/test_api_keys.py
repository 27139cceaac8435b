from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any

import pytest

from jobs import api_keys
from jobs.api_keys import ApiKey, add_key, all_keys, hash_of, new_key, record_use, revoke_key
from tests.unit.jobs.recording import RecordingTransaction

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def row_of(key: str, *, revoked_at: datetime | None = None) -> ApiKey:
    return ApiKey("shop", hash_of(key), NOW, None, revoked_at)


def test_a_key_has_256_random_bits_and_tells_what_it_is() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert key.startswith("lockstep_")
        assert len(key.removeprefix("lockstep_")) == 43, "32 bytes in base64"


def test_only_the_key_itself_fits() -> None:
    key = new_key()
    assert row_of(key).is_opened_by(key)
    for other in (new_key(), "", key[:-1], key + "x", hash_of(key), "\udcff"):
        assert not row_of(key).is_opened_by(other)


def test_a_revoked_key_does_not_fit() -> None:
    assert not row_of("key", revoked_at=NOW).is_opened_by("key")


def test_hashes_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(*hashes: str) -> bool:
        compared.append(hashes)
        return False

    monkeypatch.setattr(api_keys, "compare_digest", compare)
    assert not row_of("key").is_opened_by("key"), "nothing else decides"
    assert compared == [(hash_of("key"), hash_of("key"))]


async def test_what_is_kept_is_the_hash() -> None:
    transaction = RecordingTransaction()
    await add_key(transaction, "shop", "key")
    assert transaction.sent("add_api_key") == {"name": "shop", "key_hash": sha256(b"key").hexdigest()}


@pytest.mark.parametrize("changed", [0, 1])
async def test_a_key_is_revoked_once(changed: int) -> None:
    assert await revoke_key(RecordingTransaction(changed=changed), "shop") is bool(changed)


async def test_keys_are_read_as_they_are() -> None:
    row: dict[str, Any] = {
        "name": "shop",
        "key_hash": hash_of("key"),
        "created_at": NOW,
        "last_used_on": date(2026, 2, 1),
        "revoked_at": None,
    }
    assert await all_keys(RecordingTransaction({"api_keys": [row]})) == [ApiKey(**row)]


async def test_the_day_of_the_last_use_is_written() -> None:
    transaction = RecordingTransaction()
    await record_use(transaction, "shop", date(2026, 2, 1))
    assert transaction.sent("record_use") == {"name": "shop", "day": "2026-02-01"}
