"""Teams and accounts for a measure, made by the code that makes them in earnest."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from app.accounts.rules import AccountLimits, NewAccount
from app.accounts.store import create_account
from app.bench.rig.upstream import ACCOUNT_KEY
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.postgres.database import Sessions
from app.teams.rules import KeySettings, TeamSettings
from app.teams.store import create_key, create_team
from app.teams.tables import Team

ACTOR = "bench"


@dataclass(frozen=True, slots=True)
class Seat:
    """A team, and one key of it."""

    team_id: UUID
    key_id: UUID
    name: str
    weight: float
    key: str = field(repr=False)


async def add_team(
    sessions: Sessions, vault: Vault, name: str, *, weight: Decimal = Decimal(1)
) -> Seat:
    async with sessions.begin() as session:
        team = await create_team(session, name, TeamSettings(weight=weight), actor=ACTOR)
        key, text = await create_key(
            session, vault, KeySettings(name=name), owner=team, actor=ACTOR, now=utc_now()
        )
        return Seat(team.id, key.id, name, float(weight), text)


async def add_key(sessions: Sessions, vault: Vault, seat: Seat, name: str) -> UUID:
    """The id of another key of that team."""
    async with sessions.begin() as session:
        team = await session.get_one(Team, seat.team_id)
        key, _ = await create_key(
            session, vault, KeySettings(name=name), owner=team, actor=ACTOR, now=utc_now()
        )
        return key.id


async def add_account(
    sessions: Sessions,
    vault: Vault,
    *,
    base_url: str,
    name: str = "bench",
    api_key: str = ACCOUNT_KEY,
    **limits: Any,
) -> UUID:
    """The id of a new account with one lane; `limits` are those of AccountLimits."""
    new = NewAccount(
        name=name,
        region="cn-beijing",
        base_url=base_url,
        api_key=SecretStr(api_key),
        limits=AccountLimits(**limits),
    )
    async with sessions.begin() as session:
        return (await create_account(session, vault, new, actor=ACTOR)).id
