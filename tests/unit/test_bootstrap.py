"""What a first `make` shows, with programs in place of Python and pip that do nothing for as long as a test needs."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

SCRIPT: Final = Path(__file__).parents[2] / "scripts" / "bootstrap"
PATIENCE_SECONDS: Final = 60
PYTHON: Final = """#!/bin/sh
case $1 in
    --version) echo Python 3.99 ;;
    -m) rm -rf .venv; mkdir -p .venv/bin; cp pip .venv/bin ;;
esac
"""
TICK: Final = re.compile(
    r"\r\x1b\[Kbootstrap: installing the Python packages into \.venv: \d+ s \(usually 75 s\)"
)
# A shell in the background starts programs with SIGINT ignored, and then they cannot be interrupted.
START: Final = "import os, signal; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp('sh', ['sh', 'scripts/bootstrap'])"
# Python, as pip is: a shell may lose a SIGINT that comes while it starts a program.
INSTALLING: Final = "import pathlib, time; pathlib.Path('started').touch(); time.sleep(600)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with an old .venv that was complete."""
    for name, content in {"pyproject.toml": "", "constraints.txt": "", "python": PYTHON}.items():
        (tmp_path / name).write_text(content)
    for name in ("scripts", ".venv"):
        (tmp_path / name).mkdir()
    (tmp_path / "scripts" / "bootstrap").write_bytes(SCRIPT.read_bytes())
    (tmp_path / "python").chmod(0o755)
    (tmp_path / ".venv" / ".bootstrapped").write_text("/another/folder\n")
    return tmp_path


def start(folder: Path, pip: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """The script, with a pip that runs these commands of a shell."""
    (folder / "pip").write_text(f"#!/bin/sh\n{pip}\n")
    (folder / "pip").chmod(0o755)
    return subprocess.Popen(
        [sys.executable, "-c", START],
        cwd=folder,
        env=os.environ | {"PYTHON": "./python", "TERM": "xterm"},
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def is_complete(folder: Path) -> bool:
    """Whether another run would find nothing to do."""
    stamp = folder / ".venv" / ".bootstrapped"
    return stamp.exists() and stamp.read_text() == f"{folder}\n"


def test_it_says_what_is_installed_and_hides_the_output(folder: Path) -> None:
    said = start(folder, "echo Collecting; echo WARNING >&2").communicate(timeout=PATIENCE_SECONDS)[1]
    first, second, third, fourth = said.splitlines()
    assert first == "bootstrap: making .venv with Python 3.99: usually 10 s"
    assert second.startswith("bootstrap: making .venv with Python 3.99: done in ")
    assert third == "bootstrap: installing the Python packages into .venv: usually 75 s"
    assert fourth.startswith("bootstrap: installing the Python packages into .venv: done in ")
    assert is_complete(folder)
    assert start(folder, "exit 1").communicate(timeout=PATIENCE_SECONDS)[1] == "", "nothing is left to do"


def test_a_failure_shows_the_last_lines_and_what_to_do(folder: Path) -> None:
    script = start(folder, "seq 30; echo ERROR: nothing there >&2; exit 1")
    lines = script.communicate(timeout=PATIENCE_SECONDS)[1].splitlines()
    assert script.returncode == 1
    assert lines[-21:-1] == [*map(str, range(12, 31)), "ERROR: nothing there"]
    assert lines[-22].startswith("bootstrap: installing the Python packages into .venv: failed after ")
    assert lines[-1].startswith(
        "bootstrap: pip could not install the packages (see above); is the network there?"
    )
    assert not is_complete(folder)


def test_an_interrupted_installation_is_not_taken_for_a_complete_one(folder: Path) -> None:
    script = start(folder, f'exec {sys.executable} -c "{INSTALLING}"')
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (folder / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(script.pid, signal.SIGINT)
    said = script.communicate(timeout=PATIENCE_SECONDS)[1]
    assert script.returncode == 130
    assert said.endswith("bootstrap: interrupted; to go on, run make again\n")
    assert "Traceback" not in said
    assert not is_complete(folder)


def test_on_a_terminal_a_line_shows_the_seconds(folder: Path) -> None:
    terminal, its_end = pty.openpty()
    script = start(folder, "until [ -e seen ]; do sleep 0.05; done", its_end)
    os.close(its_end)
    said = ""
    while not TICK.search(said):
        said += os.read(terminal, 1024).decode()
    (folder / "seen").touch()
    assert script.wait(PATIENCE_SECONDS) == 0
    os.close(terminal)
    assert is_complete(folder)
