"""Teams and their keys in the database; each change goes to the audit log with it."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.record import record_audit
from app.kit.crypto import Vault
from app.kit.errors import Conflict, InvalidRequest, NotFound
from app.kit.ids import make_uuid7
from app.kit.names import describe_missing, to_uuid
from app.teams.keys import KEY_PREFIX, make_key, parse_key
from app.teams.rules import KeySettings, Role, TeamSettings, check_key, check_team
from app.teams.tables import Key, Team

Owner = Team | Role
OwnedKey = tuple[Key, str | None]
"""A key and the name of its team; None when it is an operator's."""


async def create_team(
    session: AsyncSession, name: str, settings: TeamSettings, *, actor: str
) -> Team:
    """Raises InvalidRequest, or Conflict when the name is taken."""
    check_team(name, settings)
    team: Team | None = await session.scalar(
        insert(Team)
        .values(id=make_uuid7(), name=name, **asdict(settings))
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(Team)
    )
    if team is None:
        raise Conflict(f"there is a team {name!r} already", code="name_taken")
    await _audit_team(session, team, "team.created", actor, _to_detail(settings))
    return team


async def get_team(session: AsyncSession, name_or_id: str) -> Team:
    """Raises NotFound, which names the teams that may have been meant."""
    named = or_(Team.name == name_or_id, Team.id == to_uuid(name_or_id))
    team: Team | None = await session.scalar(select(Team).where(named))
    if team is None:
        known = await session.scalars(select(Team.name))
        raise NotFound(describe_missing("team", name_or_id, known))
    return team


async def list_teams(session: AsyncSession) -> list[Team]:
    return list(await session.scalars(select(Team).order_by(Team.name)))


async def set_team(
    session: AsyncSession, team: Team, settings: TeamSettings, *, actor: str
) -> None:
    """Replace the settings; the time zone is fixed, as days and months are counted in it."""
    check_team(team.name, settings)
    if settings.timezone != team.timezone:
        raise InvalidRequest(
            f"timezone: {team.name} counts its days in {team.timezone} since it was created, and "
            "its past would change with them; make another team for another time zone"
        )
    before = to_settings(team)
    for field, value in asdict(settings).items():
        setattr(team, field, value)
    await session.flush()
    detail = {"before": _to_detail(before), "after": _to_detail(settings)}
    await _audit_team(session, team, "team.set", actor, detail)


async def disable_team(session: AsyncSession, team: Team, *, actor: str) -> None:
    """Its keys stop working; jobs that were accepted still run. A second time does nothing."""
    if team.disabled_at is None:
        team.disabled_at = await session.scalar(select(func.now()))
        await session.flush()
        await _audit_team(session, team, "team.disabled", actor, {})


async def enable_team(session: AsyncSession, team: Team, *, actor: str) -> None:
    """Its keys work again, but for those that were revoked. A second time does nothing."""
    if team.disabled_at is not None:
        team.disabled_at = None
        await session.flush()
        await _audit_team(session, team, "team.enabled", actor, {})


def to_settings(team: Team) -> TeamSettings:
    return TeamSettings(
        weight=team.weight,
        max_running=team.max_running,
        requests_per_minute=team.requests_per_minute,
        cost_center=team.cost_center,
        timezone=team.timezone,
    )


async def create_key(
    session: AsyncSession,
    vault: Vault,
    settings: KeySettings,
    *,
    owner: Owner,
    actor: str,
    now: datetime,
) -> tuple[Key, str]:
    """A key and, this once, its text; raises InvalidRequest, or Conflict for a taken name.

    An operator's key has a role and no scopes.
    """
    check_key(settings, now)
    made = make_key()
    key: Key | None = await session.scalar(
        insert(Key)
        .values(
            id=make_uuid7(),
            name=settings.name,
            public_id=made.public_id,
            digest=vault.digests(made.text)[0],
            expires_at=settings.expires_at,
            allow_ips=list(settings.allow_ips),
            **_to_owner(owner, settings),
        )
        .on_conflict_do_nothing(
            index_elements=["team_id", "name"], index_where=Key.revoked_at.is_(None)
        )
        .returning(Key)
    )
    if key is None:
        raise Conflict(
            f"{_describe_owner(owner)} has a key {settings.name!r} already: choose another name, "
            "or revoke that one first",
            code="name_taken",
        )
    await _audit_key(session, key, "key.created", actor)
    return key, made.text


async def list_keys(session: AsyncSession, team: Team | None = None) -> list[OwnedKey]:
    """Keys of one team, or everybody's, by team and name."""
    owned = select(Key, Team.name).outerjoin(Team, Team.id == Key.team_id)
    if team is not None:
        owned = owned.where(Key.team_id == team.id)
    rows = await session.execute(owned.order_by(Team.name, Key.name, Key.created_at))
    return [(key, team_name) for key, team_name in rows]


async def get_key(session: AsyncSession, asked: str, team: Team | None = None) -> OwnedKey:
    """A key by name, id, public id or its own text; raises NotFound, or Conflict if several.

    A name means the key that has it now, as revoked ones may have had it before.
    """
    if asked.startswith(KEY_PREFIX):
        asked = parse_key(asked)
    keys = await list_keys(session, team)
    found = [owned for owned in keys if asked in _names(owned[0])]
    if not found:
        raise NotFound(describe_missing("key", asked, {key.name for key, _ in keys}))
    live = [owned for owned in found if owned[0].revoked_at is None]
    if len(live) > 1:
        owners = ", ".join(team_name or "operators" for _, team_name in live)
        raise Conflict(f"several have a key {asked!r} ({owners}): name the team, or give its id")
    return live[0] if live else found[0]


async def revoke_key(session: AsyncSession, key: Key, *, actor: str) -> None:
    """It stops working within two seconds, for good. A second time does nothing."""
    if key.revoked_at is None:
        key.revoked_at = await session.scalar(select(func.now()))
        await session.flush()
        await _audit_key(session, key, "key.revoked", actor)


def _names(key: Key) -> tuple[str, ...]:
    return key.name, key.public_id, str(key.id)


def _to_owner(owner: Owner, settings: KeySettings) -> dict[str, object]:
    if isinstance(owner, Role):
        return {"role": owner.value, "scopes": []}
    return {"team_id": owner.id, "scopes": list(settings.scopes)}


def _describe_owner(owner: Owner) -> str:
    return "an operator" if isinstance(owner, Role) else f"the team {owner.name!r}"


def _to_detail(settings: TeamSettings) -> dict[str, Any]:
    return asdict(settings) | {"weight": str(settings.weight)}


async def _audit_team(
    session: AsyncSession, team: Team, action: str, actor: str, detail: dict[str, Any]
) -> None:
    await record_audit(
        session,
        actor=actor,
        action=action,
        subject_kind="team",
        subject_id=team.id,
        detail={"name": team.name, **detail},
    )


async def _audit_key(session: AsyncSession, key: Key, action: str, actor: str) -> None:
    detail = {
        "name": key.name,
        "public_id": key.public_id,
        "team_id": str(key.team_id) if key.team_id else None,
        "role": key.role,
        "scopes": key.scopes,
        "allow_ips": [str(network) for network in key.allow_ips],
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
    }
    await record_audit(
        session, actor=actor, action=action, subject_kind="key", subject_id=key.id, detail=detail
    )
