"""What arq's tests need and .venv has not: the tests themselves, from arq's sdist, and the tools that they run with.

Both are downloaded by pip into build/arq-suite/ when they are not there yet. `.venv` stays as it is.
"""

import subprocess
import sys
import tarfile
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import Final

import click

from worker.errors import LockstepError

FOLDER: Final = Path("build/arq-suite")
# The versions in uv.lock of arq 0.28.0's sdist. What these need themselves is in .venv, and so are msgpack and pydantic.
TOOLS: Final = (
    "pytest==8.4.2",
    "pytest-asyncio==0.23.6",
    "pytest-mock==3.15.1",
    "pytest-timeout==2.4.0",
    "dirty-equals==0.11",
    "pytz==2025.2",
    "tzdata==2025.3",
    "watchfiles==1.1.1",
)


def tests_of(version: str) -> Path:
    """A folder with the tests of an arq and its settings for pytest, and without that arq: the one in .venv is tested."""
    made = FOLDER / f"arq-{version}"
    if not made.exists():
        with _scratch() as scratch:
            pip("download", "--no-deps", "--no-binary=arq", f"--dest={scratch}", f"arq=={version}")
            (sdist,) = Path(scratch).glob("arq-*.tar.gz")
            with tarfile.open(sdist) as archive:
                wanted = (f"{made.name}/tests/", f"{made.name}/pyproject.toml")
                members = [member for member in archive if member.name.startswith(wanted)]
                archive.extractall(scratch, members, filter="data")
            (Path(scratch) / made.name).rename(made)
    return made


def tools() -> Path:
    """A folder of packages, for this Python: one of them is compiled."""
    key = blake2b(" ".join((sys.version, *TOOLS)).encode(), digest_size=4).hexdigest()
    made = FOLDER / f"tools-{key}"
    if not made.exists():
        with _scratch() as scratch:
            part = Path(scratch) / made.name
            pip("install", "--no-deps", f"--target={part}", *TOOLS)
            part.rename(made)
    return made


def pip(command: str, *arguments: str) -> None:
    """Without its output, unless it fails."""
    run = [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        click.echo(done.stdout, err=True)
        raise LockstepError(
            f"pip could not {command} what arq's own tests need (see above): is the network there?"
            " Then run make arq-suite again."
        )


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """Beside what is made in it, which appears only when it is complete."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=FOLDER, prefix="part-")
