"""Upstream accounts in the database; each change goes to the audit log with it."""

from dataclasses import asdict
from typing import Any

from pydantic import SecretStr
from sqlalchemy import func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.changes import audit, end_pauses, forget_room, refuse_removed
from app.accounts.keys import open_lane
from app.accounts.rules import AccountLimits, NewAccount, check_account, check_limits, region_of
from app.accounts.story import TRIED
from app.accounts.tables import Account, AccountEvent, Lane
from app.kit.crypto import Vault
from app.kit.errors import Conflict, NotFound
from app.kit.ids import make_uuid7
from app.kit.names import describe_missing, to_uuid
from app.kit.postgres.database import Sessions

DEFAULT_ACCOUNT = "default"
"""What the environment's key makes on a first start."""

_COUNT_RUNS = text("select count(*) from job_runs where account_id = :account_id")
_COUNT_ORPHANS = text(
    "select count(*) from orphans where account_id = :account_id and state = 'watched'"
)


async def create_account(
    session: AsyncSession, vault: Vault, new: NewAccount, *, actor: str
) -> Account:
    """An account with one lane; raises InvalidRequest, or Conflict when the name is taken."""
    check_account(new)
    account: Account | None = await session.scalar(
        insert(Account)
        .values(
            id=make_uuid7(),
            name=new.name,
            region=new.region,
            base_url=new.resolved_base_url(),
            **asdict(new.limits),
        )
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(Account)
    )
    if account is None:
        raise Conflict(f"there is or was an account {new.name!r} already", code="name_taken")
    lane = open_lane(session, vault, account, new.api_key)
    await session.flush()
    detail = {
        "region": account.region,
        "base_url": account.base_url,
        "api_key_hint": lane.api_key_hint,
        **_to_detail(new.limits),
    }
    await audit(session, account, "account.added", actor, detail)
    return account


async def get_account(session: AsyncSession, name_or_id: str) -> Account:
    """Held against other changes, not against rows that refer to it (order of locks: `paces`).

    Raises NotFound, which names the accounts that may have been meant.
    """
    named = or_(Account.name == name_or_id, Account.id == to_uuid(name_or_id))
    held = select(Account).where(named).with_for_update(key_share=True)
    account: Account | None = await session.scalar(held)
    if account is None:
        known = await session.scalars(select(Account.name))
        raise NotFound(describe_missing("account", name_or_id, known))
    return account


async def list_accounts(session: AsyncSession) -> list[tuple[Account, list[str]]]:
    """Every account by name, removed ones too, with the hints of its API keys."""
    accounts = await session.scalars(select(Account).order_by(Account.name))
    lanes = await session.scalars(
        select(Lane).where(Lane.removed_at.is_(None)).order_by(Lane.created_at, Lane.id)
    )
    hints: dict[object, list[str]] = {}
    for lane in lanes:
        hints.setdefault(lane.account_id, []).append(lane.api_key_hint)
    return [(account, hints.get(account.id, [])) for account in accounts]


async def set_account(
    session: AsyncSession, account: Account, limits: AccountLimits, *, actor: str
) -> None:
    """Replace the limits; another number of tasks forgets what room was learned.

    Raises InvalidRequest.
    """
    check_limits(limits)
    before = to_limits(account)
    for field, value in asdict(limits).items():
        setattr(account, field, value)
    await session.flush()
    if limits.max_running != before.max_running:
        await forget_room(session, account)
    detail = {"before": _to_detail(before), "after": _to_detail(limits)}
    await audit(session, account, "account.set", actor, detail)


async def drain_account(session: AsyncSession, account: Account, *, actor: str) -> None:
    """It finishes what it has and takes nothing new. Raises Conflict when it was removed."""
    refuse_removed(account)
    if account.state != "draining":
        account.state = "draining"
        await session.flush()
        await audit(session, account, "account.drained", actor, {})


async def resume_account(session: AsyncSession, account: Account, *, actor: str) -> None:
    """Undo a drain, and try at once again what was held back. Raises Conflict when removed."""
    refuse_removed(account)
    was_held_back = await end_pauses(session, account)
    if account.state != "active" or was_held_back:
        account.state = "active"
        await session.flush()
        await audit(session, account, "account.resumed", actor, {})


async def restore_account(
    session: AsyncSession, vault: Vault, account: Account, api_key: SecretStr, *, actor: str
) -> None:
    """Have a removed account again, with a key of its own; its history is still there."""
    account.state = "active"
    lane = open_lane(session, vault, account, api_key)
    await session.flush()
    await audit(session, account, "account.restored", actor, {"api_key_hint": lane.api_key_hint})


async def remove_account(session: AsyncSession, account: Account, *, actor: str) -> None:
    """For good, with its keys; raises Conflict while a job is on it. A second time is nothing."""
    runs = await session.scalar(_COUNT_RUNS, {"account_id": account.id})
    if runs:
        raise Conflict(
            f"the account {account.name!r} still has jobs ({runs}): drain it, wait until they "
            "have ended, then remove it",
            code="account_busy",
        )
    orphans = await session.scalar(_COUNT_ORPHANS, {"account_id": account.id})
    if orphans:
        raise Conflict(
            f"the account {account.name!r} still has surplus tasks ({orphans}) that may be "
            "billed: drain it, wait until they are settled, then remove it",
            code="account_busy",
        )
    if account.state == "removed":
        return
    account.state = "removed"
    await session.flush()
    await session.execute(
        update(Lane)
        .where(Lane.account_id == account.id, Lane.removed_at.is_(None))
        .values(removed_at=func.now())
    )
    await audit(session, account, "account.removed", actor, {})


async def note_try(session: AsyncSession, account: Account, *, verdict: str, said: str) -> None:
    """Keep in the account's story how a person's try of its keys went."""
    await session.execute(
        insert(AccountEvent).values(
            account_id=account.id, type=TRIED, detail={"verdict": verdict, "said": said}
        )
    )


async def ensure_default_account(
    sessions: Sessions,
    vault: Vault,
    *,
    api_key: SecretStr,
    base_url: str,
    name: str = DEFAULT_ACCOUNT,
) -> bool:
    """Add the account that the environment names; False when one of that name is there."""
    new = NewAccount(name=name, region=region_of(base_url), base_url=base_url, api_key=api_key)
    async with sessions.begin() as session:
        if await session.scalar(select(Account.id).where(Account.name == name)):
            return False
        try:
            await create_account(session, vault, new, actor="environment")
        except Conflict:
            return False
    return True


def to_limits(account: Account) -> AccountLimits:
    return AccountLimits(
        max_running=account.max_running,
        submit_rate=account.submit_rate,
        query_rate=account.query_rate,
        weight=account.weight,
    )


def _to_detail(limits: AccountLimits) -> dict[str, Any]:
    return {
        field: value if isinstance(value, int) else str(value)
        for field, value in asdict(limits).items()
    }
