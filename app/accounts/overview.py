"""The accounts as a person wants to see them: state, health, what is in use, what was learned."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.directory import to_key_place
from app.accounts.key_rest import IS_RESTING, RESTED
from app.accounts.run_times import RunTimes
from app.accounts.story import PAUSED, SUSPENDED, TRIED, UNFORESEEN
from app.accounts.tables import Account
from app.kit.crypto import CannotOpen, Vault

LATEST_COUNT = 10_000
"""Attempts that are searched for an account's last task: they have no index by account."""


@dataclass(frozen=True, slots=True)
class KeyView:
    """An API key by the end of it; `state` is `works`, `rests` (refused) or `unreadable`."""

    hint: str
    state: str


@dataclass(frozen=True, slots=True)
class PaceView:
    """An account for one model."""

    model: str
    health: str
    """`healthy`, `throttled`, `suspended` or `probing`."""
    code: str | None
    until: datetime | None
    in_use: int
    priming: int
    """Tasks beyond the account's limit that are kept submitted; below 0: so much less room."""
    pace_share: float
    strikes: int
    learned_count: int
    run_seconds_p50: float | None
    run_seconds_p90: float | None


@dataclass(frozen=True, slots=True)
class Trouble:
    at: datetime
    type: str
    code: str | None


@dataclass(frozen=True, slots=True)
class Tried:
    """How a person's last try of the account's keys went."""

    at: datetime
    verdict: str
    said: str


@dataclass(frozen=True, slots=True)
class AccountView:
    account: Account
    keys: tuple[KeyView, ...]
    paces: tuple[PaceView, ...]
    last_trouble: Trouble | None
    last_taken_at: datetime | None
    last_tried: Tried | None


async def load_overview(session: AsyncSession, vault: Vault | None) -> list[AccountView]:
    """Every account by name, removed ones too; without the vault no key is seen as unreadable."""
    accounts = await session.scalars(select(Account).order_by(Account.name))
    keys = await _group(session, _KEYS)
    paces = await _group(session, _PACES)
    troubles = await _group(session, _TROUBLES, types=[SUSPENDED, PAUSED, UNFORESEEN, RESTED])
    taken = await _group(session, _TAKEN, count=LATEST_COUNT)
    tried = await _group(session, _TRIED, type=TRIED)
    return [
        AccountView(
            account=account,
            keys=tuple(_to_key(row, vault) for row in keys.get(account.id, ())),
            paces=tuple(_to_pace(row) for row in paces.get(account.id, ())),
            last_trouble=next(map(_to_trouble, troubles.get(account.id, ())), None),
            last_taken_at=next((row["at"] for row in taken.get(account.id, ())), None),
            last_tried=next(
                (
                    Tried(row["at"], row["verdict"], row["said"])
                    for row in tried.get(account.id, ())
                ),
                None,
            ),
        )
        for account in accounts
    ]


def _find_health(row: RowMapping) -> str:
    is_paused = row["paused_until"] is not None and row["now"] < row["paused_until"]
    if row["is_suspended"]:
        return "suspended" if is_paused else "probing"
    return "throttled" if is_paused else "healthy"


async def _group(
    session: AsyncSession, statement: str, **values: Any
) -> dict[UUID, list[RowMapping]]:
    groups: dict[UUID, list[RowMapping]] = {}
    for row in (await session.execute(text(statement), values)).mappings():
        groups.setdefault(row["account_id"], []).append(row)
    return groups


def _to_key(row: RowMapping, vault: Vault | None) -> KeyView:
    state = "rests" if row["is_resting"] else "works"
    try:
        if vault is not None:
            vault.open(row["api_key_sealed"], to_key_place(row["id"]))
    except CannotOpen:
        state = "unreadable"
    return KeyView(row["api_key_hint"], state)


def _to_pace(row: RowMapping) -> PaceView:
    health = _find_health(row)
    times = RunTimes(row["service_count"], row["service_log_mean"], row["service_log_variance"])
    return PaceView(
        model=row["model"],
        health=health,
        code=None if health == "healthy" else row["pause_code"],
        until=None if health in ("healthy", "probing") else row["paused_until"],
        in_use=row["in_use"],
        priming=row["priming"],
        pace_share=row["pace_share"],
        strikes=row["strikes"],
        learned_count=times.count,
        run_seconds_p50=round(times.quantile_seconds(0.5), 1) if times.count else None,
        run_seconds_p90=round(times.quantile_seconds(0.9), 1) if times.count else None,
    )


def _to_trouble(row: RowMapping) -> Trouble:
    return Trouble(row["at"], row["type"], row["code"])


_KEYS = f"""
select id, account_id, api_key_sealed, api_key_hint, {IS_RESTING} as is_resting from lanes
where removed_at is null order by created_at, id
"""

_PACES = """
select account_id, model, paused_until, pause_code, pace_share, priming, strikes, is_suspended,
    service_count, service_log_mean, service_log_variance, now() as now, (
    select count(*) from job_runs
    where job_runs.account_id = account_paces.account_id
        and job_runs.model = account_paces.model and slot is not null
) as in_use
from account_paces order by model
"""

_TROUBLES = """
select accounts.id as account_id, trouble.at, trouble.type, trouble.detail->>'code' as code
from accounts cross join lateral (
    select * from account_events
    where account_id = accounts.id and type = any(:types) order by at desc, id desc limit 1
) as trouble
"""

_TRIED = """
select accounts.id as account_id, tried.at, tried.detail->>'verdict' as verdict,
    tried.detail->>'said' as said
from accounts cross join lateral (
    select * from account_events
    where account_id = accounts.id and type = :type order by at desc, id desc limit 1
) as tried
"""

_TAKEN = """
select account_id, max(settled_at) as at from (
    select * from attempts order by job_id desc, number desc limit :count
) as latest
where upstream_task_id is not null group by account_id
"""
