"""`test`: the whole test suite, on an embedded Postgres of its own."""

import os
import subprocess
import sys
from pathlib import Path

import typer

ROOT = Path(__file__).parents[2]
MOST_WORKERS = 8
BYTECODE = ROOT / ".venv" / "bytecode"
"""Of the checkout and its tests, whose own folders stay as they are."""
SHARING = ("--dist", "loadfile", "--no-loadscope-reorder")
"""Files as they come: the tests put those that take long in front."""


def run_tests(context: typer.Context) -> None:
    """Run the test suite; further arguments go to pytest."""
    arguments = context.args or ["-n", str(_count_workers()), *SHARING, "-q"]
    command = [sys.executable, "-m", "pytest", *arguments]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(BYTECODE)}
    finished = subprocess.run(command, cwd=ROOT, env=environment, check=False)  # noqa: S603
    raise typer.Exit(finished.returncode)


def _count_workers() -> int:
    """Two more than there are cores: much of a test is waiting for processes."""
    return min((os.cpu_count() or 1) + 2, MOST_WORKERS)
