"""The command line: operators' verbs by noun, and the processes of the gateway."""

import sys
from typing import Annotated

import typer

from app import PROGRAM, __version__
from app.cli.arguments import check_texts
from app.cli.lazy import Place, make_group
from app.cli.output import fail
from app.embedded import EmbeddedPostgresError
from app.kit.crypto import SecretTooShort
from app.kit.errors import GatewayError
from app.kit.logs import configure_logs
from app.settings import SettingMissing

COMMANDS = {
    "demo": Place(
        "app.cli.local.demo:demo",
        "Show the main job: start everything, edit one picture, save it, show what it cost.",
    ),
    "up": Place(
        "app.cli.local.up:up",
        "Run everything on this machine: database, API, worker, and the emulator if need be.",
    ),
    "serve": Place("app.cli.processes:serve", "Run the API process."),
    "work": Place(
        "app.cli.processes:work", "Run the worker process; SIGTERM ends what is in hand and stops."
    ),
    "migrate": Place(
        "app.cli.processes:migrate_database",
        "Bring the schema to head; several at once do no harm.",
    ),
    "backup": Place(
        "app.cli.backups.backup:backup",
        "Back up the database and the store, also while the gateway runs; not the secret key.",
    ),
    "restore": Place(
        "app.cli.backups.restore:restore",
        "Restore a backup; what it had on its way is held until a person lets it go.",
    ),
    "emulator": Place(
        "app.cli.emulator:emulator", "Stand in for DashScope: same wire, same limits, no bill."
    ),
    "edit": Place(
        "app.cli.edit:edit", "Edit pictures through a running gateway and save the results."
    ),
    "test": Place(
        "app.cli.testing:run_tests",
        "Run the test suite; further arguments go to pytest.",
        takes_anything=True,
    ),
    "bench": Place(
        "app.cli.bench:bench",
        "Measure this machine's gateway, on databases and processes of its own.",
    ),
    "team": Place("app.cli.operators.teams:teams", "Teams: who pays inside the company."),
    "key": Place("app.cli.operators.keys:keys", "Keys: credentials for this gateway."),
    "account": Place("app.cli.operators.accounts:accounts", "Upstream accounts and their limits."),
    "price": Place("app.cli.operators.prices:prices", "Prices of images, by model and region."),
    "job": Place("app.cli.operators.jobs:jobs", "Jobs of all teams."),
    "report": Place(
        "app.cli.operators.reports:report",
        "Report usage and cost; days are those of each team's time zone.",
    ),
}

application = typer.Typer(
    name="dashgate",
    cls=make_group(COMMANDS),
    help="A gateway that makes DashScope's asynchronous image editing dependable.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"dashgate {__version__}")
        raise typer.Exit


@application.callback()
def begin(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            metavar="",
            help="Print the version and end.",
        ),
    ] = False,
) -> None:
    """Begin with what is common to all commands."""


def main() -> None:
    """Run the command of this process; what it cannot do it says in one sentence."""
    configure_logs(level="warning", as_json=False)
    try:
        check_texts(sys.argv[1:])
        application(prog_name=PROGRAM)
    except (GatewayError, SettingMissing, SecretTooShort, EmbeddedPostgresError, OSError) as error:
        fail(str(error))
