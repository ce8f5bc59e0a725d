"""The API keys of an account: several may be used at once, for a key in doubt holds up its own."""

from pydantic import SecretStr
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.changes import audit, end_pauses, hold_paces, refuse_removed
from app.accounts.directory import to_key_place
from app.accounts.rules import check_api_key, to_hint
from app.accounts.tables import Account, Lane
from app.kit.crypto import CannotOpen, Vault
from app.kit.errors import Conflict
from app.kit.ids import make_uuid7

KEYS_LIMIT = 5


async def add_key(
    session: AsyncSession, vault: Vault, account: Account, api_key: SecretStr, *, actor: str
) -> Lane:
    """Use one more key of the same DashScope account; raises InvalidRequest, Conflict."""
    refuse_removed(account)
    check_api_key(api_key)
    lanes = await _list_lanes(session, account)
    if len(lanes) >= KEYS_LIMIT:
        raise Conflict(
            f"the account {account.name!r} has {len(lanes)} API keys, and {KEYS_LIMIT} is the "
            "most; replace them with --api-key-env",
            code="too_many_keys",
        )
    if api_key in (_find_key(lane, vault) for lane in lanes):
        raise Conflict(f"the account {account.name!r} has that API key", code="key_taken")
    lane = open_lane(session, vault, account, api_key)
    await session.flush()
    await audit(session, account, "account.key_added", actor, {"api_key_hint": lane.api_key_hint})
    await end_pauses(session, account)
    return lane


async def replace_keys(
    session: AsyncSession, vault: Vault, account: Account, api_key: SecretStr, *, actor: str
) -> Lane:
    """Use that key instead of all others, from now on; raises InvalidRequest, Conflict.

    It must be of the same DashScope account: it is what running tasks are asked for with.
    """
    refuse_removed(account)
    check_api_key(api_key)
    await hold_paces(session, account)
    replaced = await _list_lanes(session, account)
    now = await session.scalar(select(func.now()))
    for lane in replaced:
        lane.removed_at = now
    lane = open_lane(session, vault, account, api_key)
    await session.flush()
    detail = {"before": [old.api_key_hint for old in replaced], "after": [lane.api_key_hint]}
    await audit(session, account, "account.key_replaced", actor, detail)
    await end_pauses(session, account)
    return lane


async def open_keys(
    session: AsyncSession, vault: Vault, account: Account
) -> list[tuple[str, SecretStr | None]]:
    """The API keys of an account by the end of each; None for one that does not open."""
    lanes = await _list_lanes(session, account)
    return [(lane.api_key_hint, _find_key(lane, vault)) for lane in lanes]


def open_lane(session: AsyncSession, vault: Vault, account: Account, api_key: SecretStr) -> Lane:
    lane_id, plain = make_uuid7(), api_key.get_secret_value()
    lane = Lane(
        id=lane_id,
        account_id=account.id,
        api_key_sealed=vault.seal(plain, to_key_place(lane_id)),
        api_key_hint=to_hint(plain),
    )
    session.add(lane)
    return lane


async def _list_lanes(session: AsyncSession, account: Account) -> list[Lane]:
    used = select(Lane).where(Lane.account_id == account.id, Lane.removed_at.is_(None))
    return list(await session.scalars(used.order_by(Lane.created_at, Lane.id)))


def _find_key(lane: Lane, vault: Vault) -> SecretStr | None:
    try:
        return SecretStr(vault.open(lane.api_key_sealed, to_key_place(lane.id)))
    except CannotOpen:
        return None
