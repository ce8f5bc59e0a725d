"""What a person sees of accounts: health, keys, what is in use, the last trouble."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from app.accounts.keys import add_key
from app.accounts.news import Barred, News, Reach, Taken, Throttled
from app.accounts.overview import AccountView, load_overview
from app.accounts.paces import learn_run_time, note
from app.accounts.store import get_account
from app.accounts.tables import Account
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions, transaction
from tests.accounts.running import occupy
from tests.factories import ACTOR, MODEL, make_account

RATE = Throttled("Throttling.RateQuota", 30.0)
ARREARS = Barred("Arrearage", Reach.ACCOUNT)


@pytest.fixture
async def account(pool: Pool, sessions: Sessions, vault: Vault) -> Account:
    made = await make_account(sessions, vault, name="main")
    await pool.execute(
        "insert into account_paces (account_id, model) values ($1, $2)", made.id, MODEL
    )
    return made


async def look(sessions: Sessions, vault: Vault | None) -> AccountView:
    async with sessions() as session:
        (view,) = await load_overview(session, vault)
    return view


async def hear(pool: Pool, account: Account, news: News, **options: Any) -> None:
    async with transaction(pool) as connection:
        await note(connection, account.id, MODEL, news, **options)


@pytest.mark.parametrize(
    ("news", "health", "code"),
    [
        (Taken(1), "healthy", None),
        (RATE, "throttled", "Throttling.RateQuota"),
        (ARREARS, "suspended", "Arrearage"),
    ],
)
async def test_health_is_what_was_heard(
    pool: Pool,
    sessions: Sessions,
    vault: Vault,
    account: Account,
    news: News,
    health: str,
    code: str | None,
) -> None:
    await hear(pool, account, news)

    view = await look(sessions, vault)

    (pace,) = view.paces
    assert (pace.health, pace.code) == (health, code)
    assert (pace.until is None) == (health == "healthy")
    assert (view.last_trouble.code if view.last_trouble else None) == code


async def test_a_suspension_whose_pause_is_over_is_a_probe(
    pool: Pool, sessions: Sessions, vault: Vault, account: Account
) -> None:
    await hear(pool, account, ARREARS)
    await pool.execute("update account_paces set paused_until = now() - interval '1 second'")

    (pace,) = (await look(sessions, vault)).paces

    assert (pace.health, pace.code, pace.until) == ("probing", "Arrearage", None)


async def test_what_runs_and_what_was_learned_is_there(
    pool: Pool, sessions: Sessions, vault: Vault, account: Account
) -> None:
    await occupy(pool, sessions, vault, account)
    for seconds in (20.0, 30.0, 45.0):
        async with transaction(pool) as connection:
            await learn_run_time(connection, account.id, MODEL, seconds)

    (pace,) = (await look(sessions, vault)).paces

    assert (pace.in_use, pace.learned_count, pace.run_seconds_p50) == (1, 3, 30.0)
    assert pace.run_seconds_p90 is not None
    assert pace.run_seconds_p90 > 40


async def test_keys_that_rest_or_do_not_open_are_seen(
    pool: Pool, sessions: Sessions, vault: Vault, account: Account
) -> None:
    async with sessions.begin() as session:
        found = await get_account(session, "main")
        lane = await add_key(session, vault, found, SecretStr("sk-second-9999"), actor=ACTOR)
        await add_key(session, vault, found, SecretStr("sk-third-12345"), actor=ACTOR)
    await hear(pool, account, Barred("InvalidApiKey", Reach.KEY), lane_id=lane.id)
    await pool.execute("update lanes set api_key_sealed = 'x' where api_key_hint = '2345'")

    keys = (await look(sessions, vault)).keys

    assert [(key.hint, key.state) for key in keys] == [
        ("cdef", "works"),
        ("9999", "rests"),
        ("2345", "unreadable"),
    ]
    unseen = (await look(sessions, None)).keys
    assert [key.state for key in unseen] == ["works", "rests", "works"]


async def test_the_last_task_is_the_newest_that_was_made(
    pool: Pool, sessions: Sessions, vault: Vault, account: Account
) -> None:
    await occupy(pool, sessions, vault, account)
    await pool.execute(
        "insert into attempts (job_id, number, account_id, lane_id, intended_at, outcome,"
        " settled_at, upstream_task_id) select job_id, 1, account_id, lane_id, now(), 'accepted',"
        " '2026-11-23 09:00+00', 't-1' from job_runs"
    )

    view = await look(sessions, vault)

    assert view.last_taken_at == datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


async def test_an_account_that_nobody_has_taken_up_is_there(
    sessions: Sessions, vault: Vault
) -> None:
    await make_account(sessions, vault)

    view = await look(sessions, vault)

    assert (view.paces, view.last_trouble, view.last_taken_at) == ((), None, None)
