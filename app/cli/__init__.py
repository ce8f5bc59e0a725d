"""The command line: operators' verbs by noun, and the processes of the gateway."""

import sys

import typer

from app.cli.arguments import check_texts
from app.cli.bench import bench
from app.cli.edit import edit
from app.cli.emulator import emulator
from app.cli.local.demo import demo
from app.cli.local.up import up
from app.cli.operators.accounts import accounts
from app.cli.operators.jobs import jobs
from app.cli.operators.keys import keys
from app.cli.operators.prices import prices
from app.cli.operators.reports import report
from app.cli.operators.teams import teams
from app.cli.output import fail
from app.cli.processes import migrate_database, serve, work
from app.cli.testing import run_tests
from app.embedded import EmbeddedPostgresError
from app.kit.crypto import SecretTooShort
from app.kit.errors import GatewayError
from app.kit.logs import configure_logs
from app.settings import SettingMissing

application = typer.Typer(
    name="dashgate",
    help="A gateway that makes DashScope's asynchronous image editing dependable.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
application.command()(demo)
application.command()(up)
application.command()(serve)
application.command()(work)
application.command("migrate")(migrate_database)
application.command()(emulator)
application.command()(edit)
application.command(
    "test", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)(run_tests)
application.command()(bench)
application.add_typer(teams, name="team")
application.add_typer(keys, name="key")
application.add_typer(accounts, name="account")
application.add_typer(prices, name="price")
application.add_typer(jobs, name="job")
application.command()(report)


def main() -> None:
    """Run the command of this process; what it cannot do it says in one sentence."""
    configure_logs(level="warning", as_json=False)
    try:
        check_texts(sys.argv[1:])
        application()
    except (GatewayError, SettingMissing, SecretTooShort, EmbeddedPostgresError, OSError) as error:
        fail(str(error))
