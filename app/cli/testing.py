"""`test`: the whole test suite, on an embedded Postgres of its own."""

import os
import subprocess
import sys
from pathlib import Path

import typer

ROOT = Path(__file__).parents[2]
WORKERS = 2


def run_tests(context: typer.Context) -> None:
    """Run the test suite; further arguments go to pytest."""
    arguments = context.args or ["-n", str(WORKERS), "--dist", "loadfile", "-q"]
    command = [sys.executable, "-m", "pytest", *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    finished = subprocess.run(command, cwd=ROOT, env=environment, check=False)  # noqa: S603
    raise typer.Exit(finished.returncode)
