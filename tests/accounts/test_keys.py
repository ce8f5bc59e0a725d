"""The API keys of an account: added, replaced, recorded, and tried at once."""

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from app.accounts.directory import load_accounts
from app.accounts.keys import KEYS_LIMIT, add_key, replace_keys
from app.accounts.news import Barred, Reach
from app.accounts.paces import note
from app.accounts.store import get_account, list_accounts, remove_account, resume_account
from app.accounts.tables import Account
from app.audit.tables import AuditEntry
from app.kit.crypto import Vault
from app.kit.errors import Conflict, InvalidRequest
from app.kit.postgres.database import Pool, Sessions, transaction
from tests.factories import ACTOR, MODEL, make_account

FIRST, SECOND = "sk-first-0123456789", SecretStr("sk-second-9876543210")


@pytest.fixture
async def account(pool: Pool, sessions: Sessions, vault: Vault) -> Account:
    made = await make_account(sessions, vault, name="main", api_key=FIRST)
    await pool.execute(
        "insert into account_paces (account_id, model) values ($1, $2)", made.id, MODEL
    )
    return made


async def change(
    sessions: Sessions, vault: Vault, verb: object, api_key: SecretStr = SECOND
) -> None:
    assert callable(verb)
    async with sessions.begin() as session:
        found = await get_account(session, "main")
        await verb(session, vault, found, api_key, actor=ACTOR)


async def read_keys(pool: Pool, vault: Vault) -> list[str]:
    (account,) = await load_accounts(pool, vault)
    return [lane.api_key.get_secret_value() for lane in account.lanes]


async def suspend(pool: Pool, account: Account) -> None:
    async with transaction(pool) as connection:
        await note(connection, account.id, MODEL, Barred("InvalidApiKey", Reach.KEY))


async def test_a_key_is_added_to_those_in_use(
    pool: Pool, sessions: Sessions, vault: Vault, account: Account
) -> None:
    await change(sessions, vault, add_key)

    assert await read_keys(pool, vault) == [FIRST, SECOND.get_secret_value()]


async def test_a_key_replaces_all_others(
    pool: Pool, sessions: Sessions, vault: Vault, account: Account
) -> None:
    await change(sessions, vault, add_key)
    await change(sessions, vault, replace_keys, SecretStr("sk-third-5555555555"))

    assert await read_keys(pool, vault) == ["sk-third-5555555555"]


@pytest.mark.parametrize("verb", [add_key, replace_keys])
async def test_a_change_of_keys_is_recorded_without_them_and_ends_a_suspension(
    pool: Pool, sessions: Sessions, vault: Vault, account: Account, verb: object
) -> None:
    await suspend(pool, account)

    await change(sessions, vault, verb)

    async with sessions() as session:
        entries = list(await session.scalars(select(AuditEntry).order_by(AuditEntry.id)))
    assert entries[-1].action in ("account.key_added", "account.key_replaced")
    assert "3210" in str(entries[-1].detail)
    assert "sk-" not in str([entry.detail for entry in entries])
    assert not await pool.fetchval("select is_suspended from account_paces")
    told = await pool.fetch("select type from account_events order by id")
    assert [row["type"] for row in told] == ["account.suspended", "account.resumed"]


async def test_an_equal_key_and_one_too_many_are_refused(
    sessions: Sessions, vault: Vault, account: Account
) -> None:
    with pytest.raises(Conflict, match="has that API key"):
        await change(sessions, vault, add_key, SecretStr(FIRST))
    for number in range(KEYS_LIMIT - 1):
        await change(sessions, vault, add_key, SecretStr(f"sk-number-{number}"))

    with pytest.raises(Conflict, match=f"has {KEYS_LIMIT} API keys"):
        await change(sessions, vault, add_key)


@pytest.mark.parametrize("verb", [add_key, replace_keys])
async def test_a_bad_key_and_a_removed_account_are_refused(
    sessions: Sessions, vault: Vault, account: Account, verb: object
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await change(sessions, vault, verb, SecretStr("sk with space"))
    async with sessions.begin() as session:
        await remove_account(session, await get_account(session, "main"), actor=ACTOR)
    with pytest.raises(Conflict, match="was removed"):
        await change(sessions, vault, verb)

    assert [problem.path for problem in refused.value.problems] == ["api_key"]
    async with sessions() as session:
        assert [hints for _, hints in await list_accounts(session)] == [[]]


async def test_a_person_ends_a_suspension_and_is_recorded_only_for_that(
    pool: Pool, sessions: Sessions, vault: Vault, account: Account
) -> None:
    await suspend(pool, account)

    for _ in range(2):
        async with sessions.begin() as session:
            await resume_account(session, await get_account(session, "main"), actor=ACTOR)

    row = await pool.fetchrow("select * from account_paces")
    assert row is not None
    assert (row["is_suspended"], row["paused_until"], row["strikes"]) == (False, None, 0)
    async with sessions() as session:
        actions = list(await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))
    assert actions == ["account.added", "account.resumed"]
