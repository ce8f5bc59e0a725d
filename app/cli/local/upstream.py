"""Which upstream a machine works with: the accounts it has, or the emulator in their place."""

import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import PROGRAM
from app.accounts.rules import NewAccount
from app.accounts.store import (
    DEFAULT_ACCOUNT,
    create_account,
    drain_account,
    list_accounts,
    remove_account,
    restore_account,
    resume_account,
)
from app.accounts.tables import Account
from app.cli.output import say
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.errors import Conflict
from app.kit.ports import find_free_port, is_port_free
from app.kit.postgres.database import make_engine, make_sessions
from app.settings import Settings
from app.teams.rules import KeySettings, Role
from app.teams.store import create_key
from app.teams.tables import Key

EMULATOR = "emulator"
HOST = "127.0.0.1"
EMULATOR_URL = "http://127.0.0.1:{port}/api/v1"
ACTOR = "up"


async def choose_upstream(settings: Settings, url: str, vault: Vault) -> str | None:
    """The emulator's base URL when it stands in for DashScope; None with an account of your own.

    The stand-in is one of the accounts. It leaves as soon as a real one is there, for jobs must
    never be shared out between the two, and comes back when the last of those was removed.
    """
    engine = make_engine(url, pool_size=1)
    try:
        async with make_sessions(engine).begin() as session:
            accounts = [account for account, _ in await list_accounts(session)]
            if _has_account_of_its_own(settings, accounts):
                await dismiss_stand_in(session)
                return None
            stand_in = next((a for a in accounts if a.name == EMULATOR), None)
            if stand_in is None:
                stand_in = await _add(session, vault, settings.emulator_port)
            elif stand_in.state == "removed":
                await restore_account(session, vault, stand_in, _make_api_key(), actor=ACTOR)
            elif stand_in.state == "draining":
                await resume_account(session, stand_in, actor=ACTOR)
            _move_to_free_port(stand_in)
            return stand_in.base_url
    finally:
        await engine.dispose()


def _has_account_of_its_own(settings: Settings, accounts: Sequence[Account]) -> bool:
    """One that is there, or the one that the environment is about to bring."""
    if any(a.name != EMULATOR and a.state != "removed" for a in accounts):
        return True
    if settings.dashscope_api_key is None:
        return False
    if all(a.name != DEFAULT_ACCOUNT for a in accounts):
        return True
    say(
        f"DASHSCOPE_API_KEY is not used: the account {DEFAULT_ACCOUNT!r} that it made was "
        f"removed. To use the key: {PROGRAM} account add NAME --region cn-beijing "
        "--api-key-env DASHSCOPE_API_KEY"
    )
    return False


async def make_first_operator_key(settings: Settings, url: str, vault: Vault) -> SecretStr | None:
    """An operator's key when there is none yet and the environment names none."""
    if settings.admin_key is not None:
        return None
    engine = make_engine(url, pool_size=1)
    try:
        async with make_sessions(engine).begin() as session:
            if await session.scalar(select(Key.id).where(Key.role.is_not(None)).limit(1)):
                return None
            _, text = await create_key(
                session,
                vault,
                KeySettings(name="first"),
                owner=Role.ADMIN,
                actor=ACTOR,
                now=utc_now(),
            )
            return SecretStr(text)
    finally:
        await engine.dispose()


async def _add(session: AsyncSession, vault: Vault, port: int) -> Account:
    new = NewAccount(
        name=EMULATOR,
        region="cn-beijing",
        base_url=EMULATOR_URL.format(port=port),
        api_key=_make_api_key(),
    )
    return await create_account(session, vault, new, actor=ACTOR)


def _make_api_key() -> SecretStr:
    return SecretStr(f"sk-emulator-{secrets.token_hex(16)}")


def _move_to_free_port(account: Account) -> None:
    """The stand-in forgets its tasks with its process anyway: another port costs nothing."""
    port = urlsplit(account.base_url).port
    if port is None or not is_port_free(HOST, port):
        account.base_url = EMULATOR_URL.format(port=find_free_port(HOST))


async def dismiss_stand_in(session: AsyncSession) -> bool:
    """Take the emulator out, now that there is a real account; jobs on it come to their end.

    Whether it was there.
    """
    account = await session.scalar(
        select(Account).where(Account.name == EMULATOR, Account.state == "active")
    )
    if account is None:
        return False
    try:
        await remove_account(session, account, actor=ACTOR)
    except Conflict:
        await drain_account(session, account, actor=ACTOR)
    return True
