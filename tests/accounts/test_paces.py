"""News of accounts in Postgres: what is written, told, and shared between models."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.accounts.directory import load_accounts
from app.accounts.evidence.suspicion import Source
from app.accounts.keys import add_key
from app.accounts.news import Barred, Crowded, News, Reach, Taken, Throttled, Troubled, Unforeseen
from app.accounts.paces import learn_key_id, learn_run_time, note
from app.accounts.rules import AccountLimits
from app.accounts.store import get_account, resume_account, set_account
from app.accounts.tables import Account
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Record, Sessions, transaction
from tests.factories import ACTOR, MODEL, make_account
from tests.waiting import wait_until

OTHER_MODEL = "another-model"
ARREARS = Barred("Arrearage", Reach.ACCOUNT)
BAD_KEY = Barred("InvalidApiKey", Reach.KEY)


@pytest.fixture
async def account(pool: Pool, sessions: Sessions, vault: Vault) -> Account:
    """Taken up for two models."""
    made = await make_account(sessions, vault, name="main")
    await pool.executemany(
        "insert into account_paces (account_id, model) values ($1, $2)",
        [(made.id, MODEL), (made.id, OTHER_MODEL)],
    )
    return made


async def hear(pool: Pool, account: Account, *many: News, **options: Any) -> None:
    for news in many:
        async with transaction(pool) as connection:
            await note(connection, account.id, MODEL, news, dice=lambda: 0.0, **options)


async def end_wait(pool: Pool) -> None:
    await pool.execute("update account_paces set paused_until = now() where pause_code <> ''")


async def read(pool: Pool, model: str = MODEL) -> Record:
    row = await pool.fetchrow(
        "select *, paused_until - now() as pause from account_paces where model = $1", model
    )
    assert row is not None
    return row


async def story(pool: Pool) -> list[tuple[str, str | None]]:
    rows = await pool.fetch("select type, detail->>'code' as code from account_events order by id")
    return [(row["type"], row["code"]) for row in rows]


async def test_throttling_slows_one_model_and_is_told_once(pool: Pool, account: Account) -> None:
    with capture_logs() as logs:
        for _ in range(3):
            await hear(pool, account, Throttled("Throttling.RateQuota", 17.0))
            await end_wait(pool)

    row = await read(pool)
    assert (row["pace_share"], row["pause_code"]) == (0.125, "Throttling.RateQuota")
    assert (await read(pool, OTHER_MODEL))["pause_code"] is None
    assert await story(pool) == [("account.paused", "Throttling.RateQuota")]
    assert [log["event"] for log in logs] == ["account.paused"]


async def test_a_pause_is_as_long_as_was_asked(pool: Pool, account: Account) -> None:
    await hear(pool, account, Throttled("Throttling.RateQuota", 17.0))

    assert 16 < (await read(pool))["pause"].total_seconds() <= 17


async def test_arrears_suspend_every_model_and_one_task_brings_all_back(
    pool: Pool, account: Account
) -> None:
    await hear(pool, account, ARREARS)

    assert [(await read(pool, model))["is_suspended"] for model in (MODEL, OTHER_MODEL)] == [
        True,
        True,
    ]

    await end_wait(pool)
    await hear(pool, account, Taken(1))

    for model in (MODEL, OTHER_MODEL):
        row = await read(pool, model)
        assert (row["is_suspended"], row["pause_code"], row["strikes"]) == (False, None, 0)
    assert sorted(await story(pool)) == [
        *[("account.recovered", "Arrearage")] * 2,
        *[("account.suspended", "Arrearage")] * 2,
    ]


async def test_a_fault_of_one_model_leaves_the_other_alone(pool: Pool, account: Account) -> None:
    await hear(pool, account, Barred("Model.AccessDenied", Reach.MODEL))

    assert (await read(pool))["is_suspended"]
    assert not (await read(pool, OTHER_MODEL))["is_suspended"]


async def test_a_suspension_is_told_once_however_often_it_is_probed(
    pool: Pool, account: Account
) -> None:
    for _ in range(3):
        await hear(pool, account, Barred("Arrearage", Reach.MODEL))
        await end_wait(pool)

    assert (await read(pool))["strikes"] == 3
    assert await story(pool) == [("account.suspended", "Arrearage")]


async def test_a_task_taken_in_good_health_writes_nothing(pool: Pool, account: Account) -> None:
    before = await pool.fetch("select xmin::text, * from account_paces order by model")

    await hear(pool, account, Taken(1))

    assert await pool.fetch("select xmin::text, * from account_paces order by model") == before
    assert await story(pool) == []


async def test_priming_that_rises_and_falls_is_told(pool: Pool, account: Account) -> None:
    await hear(pool, account, Taken(5), Crowded("Throttling.Concurrency"))

    changes = await pool.fetch("select detail from account_events order by id")
    assert [row["detail"] for row in changes] == [
        {"before": 0, "now": 1},
        {"before": 1, "now": 0},
    ]
    assert (await read(pool))["priming_held_until"] is not None


@pytest.mark.parametrize("verb", ["set", "resume"])
async def test_a_person_has_the_limit_count_again(
    pool: Pool, sessions: Sessions, account: Account, verb: str
) -> None:
    """The room that was learned below one limit says nothing below another."""
    await hear(pool, account, Crowded("Throttling.Concurrency", 3))
    assert (await read(pool))["priming"] == -3

    async with sessions.begin() as session:
        held = await get_account(session, "main")
        if verb == "resume":
            await resume_account(session, held, actor=ACTOR)
        else:
            await set_account(session, held, AccountLimits(max_running=2), actor=ACTOR)

    row = await read(pool)
    assert (row["priming"], row["priming_held_until"]) == (0, None)


async def test_a_word_that_nobody_knows_is_told_once_an_hour(pool: Pool, account: Account) -> None:
    with capture_logs() as logs:
        await hear(pool, account, *[Unforeseen("Brand.NewCode")] * 3)

    assert await story(pool) == [("account.unforeseen", "Brand.NewCode")]
    assert [(log["event"], log["log_level"]) for log in logs] == [("account.unforeseen", "error")]


async def test_refusals_of_creates_that_were_out_at_once_count_once(
    pool: Pool, account: Account
) -> None:
    await asyncio.gather(*(hear(pool, account, Troubled("not_sent")) for _ in range(4)))

    assert (await read(pool))["strikes"] == 1


async def test_news_waits_for_news_that_is_being_written(pool: Pool, account: Account) -> None:
    async def is_waiting() -> bool:
        return bool(await pool.fetchval("select exists (select from pg_locks where not granted)"))

    async with transaction(pool) as connection:
        await note(connection, account.id, MODEL, Throttled("Throttling"), dice=lambda: 0.0)
        other = asyncio.create_task(hear(pool, account, Barred("ModelNotFound", Reach.MODEL)))
        await wait_until(is_waiting)
    await other

    row = await read(pool)
    assert (row["pace_share"], row["is_suspended"]) == (0.5, True)


async def test_tasks_that_end_at_once_are_all_learned(pool: Pool, account: Account) -> None:
    async def learn_one() -> None:
        async with transaction(pool) as connection:
            await learn_run_time(connection, account.id, MODEL, 30.0)

    await asyncio.gather(*(learn_one() for _ in range(8)))

    assert (await read(pool))["service_count"] == 8


async def test_news_of_an_account_that_nobody_has_taken_up_is_no_trouble(
    pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    made = await make_account(sessions, vault)

    await hear(pool, made, Taken(1), ARREARS)

    assert await story(pool) == []


async def test_run_times_are_learned(pool: Pool, account: Account) -> None:
    for seconds in (30.0, 60.0, 0.0, -5.0):
        async with transaction(pool) as connection:
            await learn_run_time(connection, account.id, MODEL, seconds)

    row = await read(pool)
    assert row["service_count"] == 2
    assert row["service_log_mean"] == pytest.approx(3.747, abs=0.001)
    assert row["service_log_variance"] == pytest.approx(0.1201, abs=0.0001)


async def test_a_keys_name_at_the_upstream_is_learned(pool: Pool, account: Account) -> None:
    (lane_id,) = await lanes_of(pool, account)

    for _ in range(2):
        await learn_key_id(pool, lane_id, "1234567")

    assert await pool.fetchval("select upstream_key_id from lanes") == "1234567"


class TestSuspicion:
    """What one request may have drawn, over the rows."""

    async def test_one_job_does_not_suspend_and_two_teams_do(
        self, pool: Pool, account: Account
    ) -> None:
        await hear(pool, account, denied(1), denied(1))
        assert not (await read(pool))["is_suspended"]

        await hear(pool, account, denied(2, team=2))

        assert (await read(pool))["is_suspended"]
        assert not (await read(pool, OTHER_MODEL))["is_suspended"]

    async def test_the_wait_of_the_account_is_told(self, pool: Pool, account: Account) -> None:
        await hear(pool, account, denied(1))
        async with transaction(pool) as connection:
            verdict = await note(connection, account.id, MODEL, denied(2, team=2))

        assert 9 < verdict.wait_seconds <= 12

    async def test_two_that_come_at_once_are_both_seen(self, pool: Pool, account: Account) -> None:
        await asyncio.gather(
            hear(pool, account, denied(1)), hear(pool, account, denied(2, team=2))
        )

        assert (await read(pool))["is_suspended"]

    async def test_a_persons_word_weighs_anew(
        self, pool: Pool, sessions: Sessions, account: Account
    ) -> None:
        await hear(pool, account, denied(1), denied(2, team=2))

        async with sessions.begin() as session:
            await resume_account(session, await get_account(session, "main"), actor=ACTOR)
        await hear(pool, account, denied(3, team=3))

        assert not (await read(pool))["is_suspended"]

    async def test_a_key_without_a_right_rests_by_what_different_jobs_meet(
        self, pool: Pool, sessions: Sessions, vault: Vault, account: Account
    ) -> None:
        await _add_key(sessions, vault)
        first, second = await lanes_of(pool, account)
        no_right = [
            replace(denied(number, team=number), code="Workspace.AccessDenied", reach=Reach.KEY)
            for number in (1, 2)
        ]

        await hear(pool, account, no_right[0], lane_id=first)
        assert await used_lanes(pool, vault) == [first, second]
        await hear(pool, account, no_right[1], lane_id=first)

        assert await used_lanes(pool, vault) == [second]
        assert not (await read(pool))["is_suspended"]


def denied(job: int, *, team: int = 1) -> Barred:
    source = Source(UUID(int=job), UUID(int=team))
    return Barred("Model.AccessDenied", Reach.MODEL, source)


class TestKeys:
    """A refused key of several rests by itself; the last one takes its account with it."""

    async def test_a_refused_key_rests_and_the_other_works_on(
        self, pool: Pool, sessions: Sessions, vault: Vault, account: Account
    ) -> None:
        await _add_key(sessions, vault)
        first, second = await lanes_of(pool, account)

        await hear(pool, account, BAD_KEY, lane_id=first)

        assert not (await read(pool))["is_suspended"]
        assert await story(pool) == [("key.rested", "InvalidApiKey")]
        assert await used_lanes(pool, vault) == [second]

    async def test_the_last_key_suspends_the_account(
        self, pool: Pool, sessions: Sessions, vault: Vault, account: Account
    ) -> None:
        await _add_key(sessions, vault)
        first, second = await lanes_of(pool, account)

        await hear(pool, account, BAD_KEY, lane_id=first)
        await hear(pool, account, BAD_KEY, lane_id=second)

        assert (await read(pool))["is_suspended"]
        assert await used_lanes(pool, vault) == [second]

    async def test_two_keys_refused_at_once_do_not_both_rest(
        self, pool: Pool, sessions: Sessions, vault: Vault, account: Account
    ) -> None:
        await _add_key(sessions, vault)

        await asyncio.gather(
            *(
                hear(pool, account, BAD_KEY, lane_id=lane_id)
                for lane_id in await lanes_of(pool, account)
            )
        )

        assert len(await used_lanes(pool, vault)) == 1
        assert (await read(pool))["is_suspended"]

    async def test_a_key_that_has_rested_is_tried_again(
        self, pool: Pool, sessions: Sessions, vault: Vault, account: Account
    ) -> None:
        await _add_key(sessions, vault)
        first, _ = await lanes_of(pool, account)
        await hear(pool, account, BAD_KEY, lane_id=first)

        await pool.execute("update lanes set rests_until = rests_until - interval '10 minutes'")

        assert first in await used_lanes(pool, vault)

    async def test_a_person_ends_the_rest_at_once(
        self, pool: Pool, sessions: Sessions, vault: Vault, account: Account
    ) -> None:
        await _add_key(sessions, vault)
        first, _ = await lanes_of(pool, account)
        await hear(pool, account, BAD_KEY, lane_id=first)

        async with sessions.begin() as session:
            await resume_account(session, await get_account(session, "main"), actor=ACTOR)

        assert first in await used_lanes(pool, vault)

    async def test_news_of_a_key_that_is_gone_says_nothing_of_the_account(
        self, pool: Pool, account: Account
    ) -> None:
        (lane_id,) = await lanes_of(pool, account)
        await pool.execute("update lanes set removed_at = now()")

        await hear(pool, account, BAD_KEY, lane_id=lane_id)

        assert not (await read(pool))["is_suspended"]


async def lanes_of(pool: Pool, account: Account) -> list[UUID]:
    rows = await pool.fetch(
        "select id from lanes where account_id = $1 order by created_at, id", account.id
    )
    return [row["id"] for row in rows]


async def used_lanes(pool: Pool, vault: Vault) -> list[UUID]:
    (account,) = await load_accounts(pool, vault)
    return [lane.id for lane in account.lanes]


async def _add_key(sessions: Sessions, vault: Vault) -> None:
    async with sessions.begin() as session:
        found = await get_account(session, "main")
        await add_key(session, vault, found, SecretStr("sk-another-0123456789"), actor=ACTOR)
