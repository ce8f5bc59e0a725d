"""Commands that are imported when they are called."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import COMMANDS
from app.cli.lazy import LazyCommand

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
