"""Commands that are imported when they are called."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app import PROGRAM, __version__
from app.cli import COMMANDS
from app.cli.examples import EXAMPLES
from app.cli.lazy import LazyCommand
from tests.cli.conftest import Run

ROOT = Path(__file__).parents[2]
HEAVY = {"alembic", "aiohttp", "asyncpg", "fastapi", "httpx", "obstore", "sqlalchemy", "uvicorn"}
LOOK = """
import sys
from app.cli import application
try:
    application(["--help"])
except SystemExit:
    print("loaded", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_list_says_of_a_command_is_what_the_command_says(name: str) -> None:
    command = LazyCommand(name, COMMANDS[name]).load()

    assert COMMANDS[name].caption == " ".join(command.help.partition("\n\n")[0].split())


def list_commands() -> dict[str, Any]:
    """Each command that does something, by the words it is called with."""
    found = {}
    for name, place in COMMANDS.items():
        command = LazyCommand(name, place).load()
        below = getattr(command, "commands", None)
        if below is None:
            found[name] = command
        else:
            found |= {f"{name} {word}": one for word, one in below.items()}
    return found


def test_each_command_has_an_example_that_it_understands() -> None:
    commands = list_commands()
    assert set(EXAMPLES) == set(commands)

    for words, command in commands.items():
        _, _, arguments = EXAMPLES[words].partition(words)
        with command.make_context(words, shlex.split(arguments)):
            pass


@pytest.mark.parametrize("words", EXAMPLES)
def test_each_help_names_values_in_one_way_and_shows_the_example(words: str, run: Run) -> None:
    told = run(*words.split(), "--help")

    assert told.code == 0
    assert f"Usage: {PROGRAM} {words}" in told.out
    assert f"Example: {PROGRAM} {words}" in " ".join(told.out.split())
    assert not re.search(r"<(str|int|path|bool|float|list)", told.out)


def test_the_version_is_told(run: Run) -> None:
    assert run("--version").out == f"dashgate {__version__}\n"


def test_the_help_imports_no_command() -> None:
    told = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert all(name in told for name in COMMANDS)
    assert not HEAVY & set(told.rpartition("loaded ")[2].split())


def test_an_operators_command_imports_no_server_and_no_measure() -> None:
    """What it costs is waited for each time it is typed."""
    look = "import sys, app.cli.operators.jobs; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()

    assert not {"app.bench", "app.emulator", "fastapi", "uvicorn"} & set(loaded)
