"""What every change of an account by a person has in common: it is recorded, and tried at once."""

from typing import Any

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.story import RESUMED
from app.accounts.tables import Account, AccountEvent, AccountPace, AccountSuspicion, Lane
from app.audit.record import record_audit
from app.kit.errors import Conflict


def refuse_removed(account: Account) -> None:
    """Raises Conflict."""
    if account.state == "removed":
        raise Conflict(f"the account {account.name!r} was removed", code="account_removed")


async def audit(
    session: AsyncSession, account: Account, action: str, actor: str, detail: dict[str, Any]
) -> None:
    await record_audit(
        session,
        actor=actor,
        action=action,
        subject_kind="account",
        subject_id=account.id,
        detail={"name": account.name, **detail},
    )


async def hold_paces(session: AsyncSession, account: Account) -> None:
    """Keep the engine from resting the account's keys meanwhile: it too takes the paces first."""
    await session.execute(
        select(AccountPace.model)
        .where(AccountPace.account_id == account.id)
        .order_by(AccountPace.model)
        .with_for_update()
    )


async def forget_room(session: AsyncSession, account: Account) -> bool:
    """Let the limit count again, not the room that was learned below it; False when none was."""
    await hold_paces(session, account)
    learned = await session.scalars(
        update(AccountPace)
        .where(AccountPace.account_id == account.id, AccountPace.priming < 0)
        .values(priming=0, priming_held_until=None)
        .returning(AccountPace.model)
    )
    return bool([*learned])


async def end_pauses(session: AsyncSession, account: Account) -> bool:
    """Let the account and its keys be tried at once; False when none was held back.

    The paces are held first, in their order, as the engine does when it hears of several.
    """
    had_less_room = await forget_room(session, account)
    paused = await session.scalars(
        update(AccountPace)
        .where(AccountPace.account_id == account.id, AccountPace.pause_code.is_not(None))
        .values(is_suspended=False, strikes=0, paused_until=None, pause_code=None)
        .returning(AccountPace.model)
    )
    rested = await session.scalars(
        update(Lane)
        .where(Lane.account_id == account.id, Lane.rests_until > func.now())
        .values(rests_until=None)
        .returning(Lane.id)
    )
    await _forget_suspects(session, account)
    if not [*paused, *rested] and not had_less_room:
        return False
    await session.execute(
        insert(AccountEvent).values(account_id=account.id, type=RESUMED, detail={})
    )
    return True


async def _forget_suspects(session: AsyncSession, account: Account) -> None:
    """Weigh anew what is refused from now on; who waits for the account goes at once."""
    await session.execute(_LET_ALL_GO, {"account_id": account.id})
    await session.execute(
        update(AccountSuspicion)
        .where(AccountSuspicion.account_id == account.id)
        .values(suspects=[])
    )


_LET_ALL_GO = text("""
with waiting as materialized (
    select job_id from job_runs
    where status = 'queued' and due_at > now() and job_id in (
        select (suspect->>'job')::uuid
        from account_suspicions cross join jsonb_array_elements(suspects) as suspect
        where account_id = :account_id
    )
    order by job_id for update skip locked
)
update job_runs set due_at = now() from waiting where job_runs.job_id = waiting.job_id
""")
