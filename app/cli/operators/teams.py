"""`team`: who pays inside the company."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app import PROGRAM
from app.cli.arguments import parse_number
from app.cli.context import in_transaction, who_acts
from app.cli.output import AsJson, Yes, confirm, print_json, print_table, say
from app.teams import store
from app.teams.rules import DEFAULT_TIMEZONE, TeamSettings
from app.teams.tables import Team

teams = typer.Typer(help="Teams: who pays inside the company.", no_args_is_help=True)

COLUMNS = (
    "name",
    "state",
    "weight",
    "max_running",
    "requests_per_minute",
    "cost_center",
    "timezone",
    "disabled_at",
)

AskedTeam = Annotated[str, typer.Argument(metavar="TEAM", help="Name or id of the team.")]
Weight = Annotated[
    Decimal,
    typer.Option(parser=parse_number, metavar="NUMBER", help="Share of the slots; 0 pauses."),
]
MaxRunning = Annotated[
    int | None, typer.Option(min=0, help="Most jobs upstream at once; 0 for no limit.")
]
RequestsPerMinute = Annotated[
    int | None,
    typer.Option(min=0, help="Most requests in a minute; 0 for no limit. Kept, not yet applied."),
]
CostCenter = Annotated[str | None, typer.Option(help="For your own accounting.")]


@teams.command("create")
def create_team(
    *,
    name: Annotated[str, typer.Argument(help="1 to 63 of a-z, 0-9, '.', '_' and '-'.")],
    weight: Weight = Decimal(1),
    max_running: MaxRunning = None,
    requests_per_minute: RequestsPerMinute = None,
    cost_center: CostCenter = None,
    timezone: Annotated[
        str, typer.Option(help="IANA name; the team's days are counted in it, for good.")
    ] = DEFAULT_TIMEZONE,
    as_json: AsJson = False,
) -> None:
    """Create a team."""
    settings = TeamSettings(
        weight=weight,
        max_running=max_running or None,
        requests_per_minute=requests_per_minute or None,
        cost_center=cost_center,
        timezone=timezone,
    )
    team = in_transaction(
        lambda session: store.create_team(session, name, settings, actor=who_acts())
    )
    _tell_of_requests(requests_per_minute)
    if as_json:
        print_json(view_team(team))
        return
    typer.echo(f"The team {team.name} is there; its days are counted in {team.timezone}.")
    typer.echo(f"Next, a key for it: {PROGRAM} key create --team {team.name} --name NAME")


@teams.command("list")
def list_teams(*, as_json: AsJson = False) -> None:
    """List every team."""
    views = [view_team(team) for team in in_transaction(store.list_teams)]
    if as_json:
        print_json(views)
    elif views:
        print_table(views, COLUMNS)
    else:
        say(f"There is no team yet: {PROGRAM} team create NAME")


@teams.command("show")
def show_team(*, team: AskedTeam, as_json: AsJson = False) -> None:
    """Show one team."""
    _print_team(in_transaction(lambda session: store.get_team(session, team)), as_json)


@teams.command("set")
def set_team(
    *,
    team: AskedTeam,
    weight: Annotated[
        Decimal | None,
        typer.Option(parser=parse_number, metavar="NUMBER", help="Share of the slots; 0 pauses."),
    ] = None,
    max_running: MaxRunning = None,
    requests_per_minute: RequestsPerMinute = None,
    cost_center: CostCenter = None,
    as_json: AsJson = False,
) -> None:
    """Change settings of a team; those that are not given stay."""

    async def work(session: AsyncSession) -> Team:
        found = await store.get_team(session, team)
        before = store.to_settings(found)
        settings = replace(
            before,
            weight=before.weight if weight is None else weight,
            max_running=_choose(max_running, before.max_running),
            requests_per_minute=_choose(requests_per_minute, before.requests_per_minute),
            cost_center=before.cost_center if cost_center is None else cost_center,
        )
        await store.set_team(session, found, settings, actor=who_acts())
        return found

    _tell_of_requests(requests_per_minute)
    _print_team(in_transaction(work), as_json)


@teams.command("disable")
def disable_team(*, team: AskedTeam, yes: Yes = False, as_json: AsJson = False) -> None:
    """Make a team's keys stop working; jobs that were accepted still run."""
    confirm(
        f"Disable {team}? Its keys are refused within seconds; what was accepted still runs, and "
        "is charged.",
        yes=yes,
    )
    _change_team(team, store.disable_team, as_json)


@teams.command("enable")
def enable_team(*, team: AskedTeam, as_json: AsJson = False) -> None:
    """Let the keys of a disabled team work again."""
    _change_team(team, store.enable_team, as_json)


def _change_team(name: str, change: Callable[..., Awaitable[None]], as_json: bool) -> None:
    async def work(session: AsyncSession) -> Team:
        found = await store.get_team(session, name)
        await change(session, found, actor=who_acts())
        return found

    _print_team(in_transaction(work), as_json)


def view_team(team: Team) -> dict[str, Any]:
    return {
        "id": team.id,
        "name": team.name,
        "state": _find_state(team),
        "weight": team.weight,
        "max_running": team.max_running,
        "requests_per_minute": team.requests_per_minute,
        "cost_center": team.cost_center,
        "timezone": team.timezone,
        "created_at": team.created_at,
        "disabled_at": team.disabled_at,
    }


def _print_team(team: Team, as_json: bool) -> None:
    if as_json:
        print_json(view_team(team))
    else:
        print_table([view_team(team)], COLUMNS)


def _find_state(team: Team) -> str:
    if team.disabled_at is not None:
        return "disabled"
    return "paused" if team.weight == 0 else "active"


def _tell_of_requests(requests_per_minute: int | None) -> None:
    """Nobody should believe in a limit that is not there."""
    if requests_per_minute:
        say("Note: --requests-per-minute is kept, but not applied yet; --max-running is.")


def _choose(asked: int | None, before: int | None) -> int | None:
    """What was not asked stays; zero lifts a limit."""
    return before if asked is None else asked or None
