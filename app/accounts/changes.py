"""What every change of an account by a person has in common: it is recorded, and tried at once."""

from typing import Any

from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.key_rest import IS_RESTING, RESUMED
from app.accounts.tables import Account, AccountEvent, AccountPace
from app.audit.record import record_audit
from app.kit.errors import Conflict

_IS_ANY_RESTING = text(
    f"select exists (select from lanes where account_id = :account_id and {IS_RESTING})"
)


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


async def end_pauses(session: AsyncSession, account: Account) -> bool:
    """Let the account and its keys be tried at once; False when none was held back."""
    paused = await session.scalars(
        update(AccountPace)
        .where(AccountPace.account_id == account.id, AccountPace.pause_code.is_not(None))
        .values(is_suspended=False, strikes=0, paused_until=None, pause_code=None)
        .returning(AccountPace.model)
    )
    is_any_resting = await session.scalar(_IS_ANY_RESTING, {"account_id": account.id})
    if not paused.all() and not is_any_resting:
        return False
    await session.execute(
        insert(AccountEvent).values(account_id=account.id, type=RESUMED, detail={})
    )
    return True
