"""`up`: everything on one machine in one command."""

from typing import Annotated

import typer

from app import PROGRAM
from app.cli.context import load_settings
from app.cli.emulator import read
from app.cli.local.machine import Machine, MachineOptions, running_machine
from app.cli.local.supervisor import stop_at_signals
from app.cli.output import say
from app.emulator.options import parse_span

EMULATOR_NOTICE = (
    "NO UPSTREAM ACCOUNT: the emulator stands in for DashScope. Its pictures are drawn on this "
    "machine, nothing is billed. For the real one: set DASHSCOPE_API_KEY, or "
    f"`{PROGRAM} account add`."
)


def up(
    *,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the API; 8080 by default.")
    ] = None,
    running_seconds: Annotated[
        str, typer.Option(help="How long the emulator's tasks run, if it stands in.")
    ] = "30-75",
) -> None:
    """Run everything on this machine: database, API, worker, and the emulator if need be."""
    settings = load_settings()
    chosen = port or settings.port
    read("--running-seconds", lambda: parse_span(running_seconds))
    options = MachineOptions(
        port=chosen, emulator_running_seconds=running_seconds, logs_to_files=False
    )
    with running_machine(settings, options) as machine:
        introduce(machine)
        stop_at_signals(machine.supervisor)
        machine.supervisor.watch()
        say("Stopping: what is in hand is ended first.")


def introduce(machine: Machine, *, stays: bool = True) -> None:
    """Say once where everything is, if it stays there."""
    if stays:
        say(f"The gateway answers at {machine.url}")
        say(f"  DashScope SDKs: base URL {machine.url}/api/v1")
        say(f"  API and docs:   {machine.url}/docs")
    if machine.uses_emulator:
        say(EMULATOR_NOTICE)
    if machine.first_operator_key is not None:
        say("The operator's key, shown this once:")
        typer.echo(machine.first_operator_key.get_secret_value())
