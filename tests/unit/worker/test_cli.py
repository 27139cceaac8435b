"""The list of commands: short to print, and true."""

import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from subprocess import CompletedProcess

import click
import pytest
from click.testing import CliRunner

from worker import cli, commands
from worker.commands.mistakes import explained

RunPython = Callable[..., CompletedProcess[str]]
HELP = """
import atexit, json, sys
loaded = set(sys.modules)
from worker.cli import main
atexit.register(lambda: print(json.dumps([*sys.modules.keys() - loaded]), file=sys.stderr))
main(["--help"])
"""


def test_help_imports_click_alone(run_python: RunPython) -> None:
    done = run_python(HELP)
    assert "worker     Run a worker in the foreground" in done.stdout, done.stderr
    imported = set(json.loads(done.stderr))
    libraries = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    assert libraries == {"click", "worker"}
    assert {name for name in imported if name.startswith("worker")} == {"worker", "worker.cli"}
    assert "asyncio" not in imported, "it takes as long as all the rest"


def commands_of(module: str) -> Iterator[click.Command]:
    """Those that a module defines, without those inside its groups."""
    defined = [
        each
        for each in vars(import_module(f"worker.commands.{module}")).values()
        if isinstance(each, click.Command)
    ]
    inner = [each for group in defined if isinstance(group, click.Group) for each in group.commands.values()]
    return (each for each in defined if each not in inner)


def test_every_command_is_listed_with_the_first_line_of_its_help() -> None:
    defined = {
        str(command.name): (module.name, (command.help or "").partition("\n")[0])
        for module in iter_modules(commands.__path__)
        for command in commands_of(module.name)
    }
    assert defined == cli.COMMANDS


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_prints_its_own_help(name: str) -> None:
    module, _ = cli.COMMANDS[name]
    done = CliRunner().invoke(cli.main, [name, "--help"])
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: main {name} ")
    for parameter in getattr(import_module(f"worker.commands.{module}"), name).params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.opts[0] in done.output


def test_an_unknown_command_and_an_unknown_option_are_usage_errors() -> None:
    for arguments, said in ((["audt"], "No such command 'audt'"), (["audit", "--fast"], "No such option")):
        done = CliRunner().invoke(cli.main, arguments)
        assert done.exit_code == 2
        assert said in done.output


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    bug = ZeroDivisionError("a bug")

    def fail() -> None:
        raise bug

    monkeypatch.setattr(import_module("worker.commands.schema").schema, "callback", fail)
    assert CliRunner().invoke(cli.main, ["schema"]).exception is bug
    assert explained(bug) is None
