"""A private database and Redis of its own, for the demo, development and tests.

They live in one folder, listen on loopback only, have a generated password, and end with the program that started them.
Nothing of the system's own servers is touched.
"""

import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from jobs.transaction import SQL
from worker.errors import LockstepError

LOOPBACK: Final = "127.0.0.1"
START_SECONDS: Final = 60
STOP_SECONDS: Final = 30
SYSTEM_FOLDERS: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/opt/homebrew/bin"


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the private servers listen; `migration_url` is the database's, for a user who may do everything there."""

    mysql_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    migration_url: str = field(repr=False)


@contextmanager
def running_servers(folder: Path, *, fresh: bool = False) -> Iterator[Servers]:
    """Run both servers in `folder`; what they keep is there again the next time, unless `fresh`.

    Raises LockstepError where a program is missing, a server does not start, or another lockstep runs in the folder.
    """
    folder = folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "lock").touch()
    except OSError as error:
        raise LockstepError(f"servers cannot be run in {folder}: {error.strerror}.") from error
    with ExitStack() as stack:
        stack.enter_context(_alone_in(folder))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lockstep-")))  # a short path
        password, owner_password = _password(folder / "password"), _password(folder / "owner-password")
        accounts = "DROP DATABASE IF EXISTS lockstep;\n" * fresh + _accounts(password, owner_password)
        database = stack.enter_context(_mysql(folder, scratch, accounts))
        redis_url = stack.enter_context(_redis(folder, password, fresh=fresh))
        yield Servers(
            f"mysql://lockstep:{password}@{database}",
            redis_url,
            f"mysql://lockstep_owner:{owner_password}@{database}",
        )


@contextmanager
def _mysql(folder: Path, scratch: Path, first_statements: str) -> Iterator[str]:
    server = _program("mariadbd", "mysqld")
    data, log, port = folder / "mysql", folder / "mysql.log", _free_port()
    # A server that starts removes what it finds of others there, temporary tables that they use.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    if not data.exists():
        _make_data_folder(server, data, log, environment)
    accounts = scratch / "accounts.sql"
    accounts.touch(mode=0o600)
    accounts.write_text(first_statements)
    command = [
        server, "--no-defaults", f"--datadir={data}", f"--bind-address={LOOPBACK}", f"--port={port}",
        f"--socket={scratch}/mysql.sock", f"--pid-file={folder}/mysql.pid", f"--init-file={accounts}",
        "--skip-name-resolve", "--innodb-buffer-pool-size=256M", "--max-connections=500",
        *_as_this_user(), *_only_mysql(server, "--mysqlx=OFF"),
    ]  # fmt: skip
    with _process("MySQL or MariaDB", command, log, port, environment):
        yield f"{LOOPBACK}:{port}/lockstep"


def _accounts(password: str, owner_password: str) -> str:
    """The users of sql/accounts/grants.sql, and no root, who has no password.

    On a server that nobody else uses the worker may explain deadlocks, too, and its owner do anything.
    """
    script = re.sub(r"--.*", "", (SQL / "accounts" / "grants.sql").read_text())
    for pattern, text in (
        ("'%'", f"'{LOOPBACK}'"),
        ("OWNER_PASSWORD", owner_password),
        ("WORKER_PASSWORD", password),
    ):
        script = script.replace(pattern, text)
    worker, owner = f"'lockstep'@'{LOOPBACK}'", f"'lockstep_owner'@'{LOOPBACK}'"
    statements = [
        f"DROP USER IF EXISTS {worker}, {owner}",  # of an earlier version, with other rights
        *(" ".join(statement.split()) for statement in script.split(";") if statement.strip()),
        f"GRANT PROCESS ON *.* TO {worker}",
        f"GRANT ALL ON *.* TO {owner} WITH GRANT OPTION",
        f"DROP USER IF EXISTS root@localhost, root@'{LOOPBACK}', root@'::1'",
    ]
    return "".join(f"{statement};\n" for statement in statements)  # MariaDB wants one a line


def _make_data_folder(server: str, data: Path, log: Path, environment: Mapping[str, str]) -> None:
    part = data.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    if _is_mariadb(server):
        install = _program("mariadb-install-db", "mysql_install_db")
        # A relative path: it is a shell script, and as root it stumbles over spaces.
        command = [
            install,
            "--no-defaults",
            f"--datadir=./{part.name}",
            "--auth-root-authentication-method=normal",
        ]
        command += ["--skip-test-db", "--skip-name-resolve"]
    else:
        command = [server, "--no-defaults", "--initialize-insecure", f"--datadir={part}"]
    with log.open("ab") as output:
        done = subprocess.run(
            [*command, *_as_this_user()],
            cwd=part.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    if done.returncode:
        raise LockstepError(f"the database's folder could not be made: see {log}.")
    part.rename(data)


@contextmanager
def _redis(folder: Path, password: str, *, fresh: bool) -> Iterator[str]:
    server, port, log = _program("redis-server", "valkey-server"), _free_port(), folder / "redis.log"
    if fresh:
        shutil.rmtree(folder / "appendonlydir", ignore_errors=True)
    configuration = folder / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        f"bind {LOOPBACK}\nport {port}\nrequirepass {password}\ndir ./\n"
        'appendonly yes\nappendfsync everysec\nsave ""\nset-proc-title no\nmaxmemory-policy noeviction\n'
    )
    with _process("Redis", [server, str(configuration)], log, port):
        yield f"redis://:{password}@{LOOPBACK}:{port}/0"


@contextmanager
def _process(
    name: str, command: Sequence[str], log: Path, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run a server in a session of its own, so that Ctrl-C in the terminal does not reach it before us."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    pid_file = log.with_suffix(".pid")
    pid_file.write_text(f"{process.pid}\n")
    try:
        _wait_until_it_listens(name, process, log, port)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        pid_file.unlink(missing_ok=True)


def _wait_until_it_listens(name: str, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.05)
    raise LockstepError(f"{name} did not start: see {log}.")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder, and end servers that a killed lockstep has left in it."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LockstepError(f"another lockstep is running in {folder}: end it first.") from None
        for pid_file in folder.glob("*.pid"):
            _end_leftover(pid_file, folder)
        yield


def _end_leftover(pid_file: Path, folder: Path) -> None:
    pid = int(pid_file.read_text() or 0)
    command = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    if str(folder) in command:  # the pid may be somebody else's by now
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and _is_alive(pid):
            time.sleep(0.05)
    pid_file.unlink(missing_ok=True)  # the server may have done it


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _password(path: Path) -> str:
    """Made once: the accounts in the database keep it."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(24))
    return path.read_text()


def _program(*names: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_FOLDERS])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise LockstepError(
        f"{' or '.join(names)} is not installed: run `make setup`, or name your own servers in LOCKSTEP_MYSQL_URL and"
        " LOCKSTEP_REDIS_URL."
    )


def _is_mariadb(server: str) -> bool:
    version = subprocess.run(
        [server, "--no-defaults", "--version"], capture_output=True, text=True, check=False
    )
    return "MariaDB" in version.stdout


def _only_mysql(server: str, *options: str) -> Sequence[str]:
    return () if _is_mariadb(server) else options


def _as_this_user() -> Sequence[str]:
    """Both servers refuse to run as root unless told to; this is a private one."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
