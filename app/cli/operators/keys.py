"""`key`: credentials of teams and of operators."""

from datetime import date
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app import PROGRAM
from app.cli.arguments import end_of, parse_day, split_list
from app.cli.context import in_transaction, load_settings, open_vault, who_acts
from app.cli.output import AsJson, print_json, print_table, say
from app.kit.clock import utc_now
from app.teams import store
from app.teams.authenticate import OPERATOR_TIMEZONE
from app.teams.rules import SCOPES, KeySettings, Role
from app.teams.tables import Key

keys = typer.Typer(help="Keys: credentials for this gateway.", no_args_is_help=True)

COLUMNS = ("team", "role", "name", "public_id", "scopes", "allow_ips", "expires_at", "revoked_at")

OfTeam = Annotated[str | None, typer.Option(metavar="TEAM", help="Name or id of the team.")]


@keys.command("create")
def create_key(
    *,
    name: Annotated[str, typer.Option(help="1 to 63 of a-z, 0-9, '.', '_' and '-'.")],
    team: OfTeam = None,
    role: Annotated[Role | None, typer.Option(help="For an operator's key, of no team.")] = None,
    scopes: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(SCOPES)}; all unless given.")
    ] = None,
    expires: Annotated[
        date | None,
        typer.Option(
            parser=parse_day, metavar="DAY", help="Last day it works, in the team's time zone."
        ),
    ] = None,
    allow_ip: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="Only from there; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key for a team (--team) or an operator (--role), and show it this once."""
    if (team is None) == (role is None):
        raise typer.BadParameter("give either --team TEAM or --role admin|viewer")
    if role is not None and scopes:
        raise typer.BadParameter("--scopes is for keys of teams: an operator's role says it all")
    vault = open_vault(load_settings())

    async def work(session: AsyncSession) -> tuple[dict[str, Any], str]:
        owner = await store.get_team(session, team) if team is not None else role
        assert owner is not None
        timezone = OPERATOR_TIMEZONE if isinstance(owner, Role) else owner.timezone
        settings = KeySettings(
            name=name,
            scopes=split_list(scopes) or SCOPES,
            expires_at=end_of(expires, timezone) if expires else None,
            allow_ips=split_list(allow_ip),
        )
        key, text = await store.create_key(
            session, vault, settings, owner=owner, actor=who_acts(), now=utc_now()
        )
        return view_key(key, None if isinstance(owner, Role) else owner.name), text

    view, text = in_transaction(work)
    if as_json:
        print_json({"id": view["id"], "key": text, **view})
        return
    typer.echo(text)
    say(f"This is the key {name!r}: it is not shown again, only its digest is kept.")


@keys.command("list")
def list_keys(*, team: OfTeam = None, as_json: AsJson = False) -> None:
    """List keys, revoked ones too; never their text."""

    async def work(session: AsyncSession) -> list[store.OwnedKey]:
        owner = await store.get_team(session, team) if team is not None else None
        return await store.list_keys(session, owner)

    views = [view_key(key, team_name) for key, team_name in in_transaction(work)]
    if as_json:
        print_json(views)
    elif views:
        print_table(views, COLUMNS)
    else:
        say(f"There is no key yet: {PROGRAM} key create --team TEAM --name NAME")


@keys.command("revoke")
def revoke_key(
    *,
    key: Annotated[str, typer.Argument(help="Name, id, public id, or the key itself.")],
    team: OfTeam = None,
    as_json: AsJson = False,
) -> None:
    """Make a key stop working, for good, within two seconds."""

    async def work(session: AsyncSession) -> dict[str, Any]:
        owner = await store.get_team(session, team) if team is not None else None
        found, team_name = await store.get_key(session, key, owner)
        await store.revoke_key(session, found, actor=who_acts())
        return view_key(found, team_name)

    view = in_transaction(work)
    if as_json:
        print_json(view)
    else:
        typer.echo(f"The key {view['name']} ({view['public_id']}) is revoked.")


def view_key(key: Key, team_name: str | None) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "team": team_name,
        "role": key.role,
        "public_id": key.public_id,
        "scopes": key.scopes,
        "allow_ips": [str(network) for network in key.allow_ips],
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
