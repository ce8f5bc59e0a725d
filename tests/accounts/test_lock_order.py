"""A person's change of an account and the engine's news never wait for each other in turn."""

import asyncio

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.keys import add_key, replace_keys
from app.accounts.news import Barred, News, Reach, Taken
from app.accounts.paces import note
from app.accounts.store import get_account, resume_account, set_account, to_limits
from app.accounts.tables import Account
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions, transaction
from tests.factories import ACTOR, MODEL, make_account
from tests.waiting import wait_until

OTHER_MODEL = "a-model-before-the-other"
ARREARS = Barred("Arrearage", Reach.ACCOUNT)


@pytest.fixture
async def account(pool: Pool, sessions: Sessions, vault: Vault) -> Account:
    made = await make_account(sessions, vault, name="main")
    for model in (MODEL, OTHER_MODEL):
        await pool.execute(
            "insert into account_paces (account_id, model) values ($1, $2)", made.id, model
        )
    return made


async def is_waiting(pool: Pool) -> bool:
    waits = "select exists (select from pg_stat_activity"
    waits += " where datname = current_database() and wait_event_type = 'Lock')"
    return bool(await pool.fetchval(waits))


@pytest.mark.parametrize("verb", ["set", "resume", "add key", "replace key"])
@pytest.mark.parametrize("news", [ARREARS, Taken(5)], ids=["suspends", "primes"])
async def test_news_that_holds_the_pace_passes_a_person_who_holds_the_account(
    pool: Pool, sessions: Sessions, vault: Vault, account: Account, verb: str, news: News
) -> None:
    """The engine has the paces and must write a row of the account; a person has the account."""
    async with sessions.begin() as session:
        held = await get_account(session, "main")
        async with transaction(pool) as connection:
            await connection.execute(
                "select from account_paces where account_id = $1 for update", account.id
            )
            change = asyncio.create_task(_change(session, held, vault, verb))
            if verb != "set":
                await wait_until(lambda: is_waiting(pool))
            await asyncio.wait_for(note(connection, account.id, MODEL, news), 10)
        await asyncio.wait_for(change, 10)

    assert await pool.fetchval("select count(*) from account_events") >= 1


async def test_pauses_end_in_the_order_in_which_news_holds_the_models(
    pool: Pool, sessions: Sessions, account: Account
) -> None:
    await pool.execute("update account_paces set paused_until = now(), pause_code = 'x'")
    async with transaction(pool) as connection:
        await connection.execute(
            "select from account_paces where model = $1 for update", OTHER_MODEL
        )

        async def resume() -> None:
            async with sessions.begin() as session:
                await resume_account(session, await get_account(session, "main"), actor=ACTOR)

        change = asyncio.create_task(resume())
        await wait_until(lambda: is_waiting(pool))
        later = "select from account_paces where model = $1 for update nowait"
        await connection.execute(later, MODEL)
    await asyncio.wait_for(change, 10)

    assert await pool.fetchval("select count(*) from account_paces where pause_code = 'x'") == 0


async def _change(session: AsyncSession, account: Account, vault: Vault, verb: str) -> None:
    another = SecretStr("sk-another-0123456789")
    match verb:
        case "set":
            await set_account(session, account, to_limits(account), actor=ACTOR)
        case "resume":
            await resume_account(session, account, actor=ACTOR)
        case "add key":
            await add_key(session, vault, account, another, actor=ACTOR)
        case "replace key":
            await replace_keys(session, vault, account, another, actor=ACTOR)
