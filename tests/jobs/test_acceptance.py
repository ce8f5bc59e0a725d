"""The acceptance transaction: all of a job or nothing of it, and each key once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest

from app.jobs.acceptance import HEAD_START_SECONDS
from app.jobs.accepting.keys import GUARD_TTL_SECONDS, KEY_TTL_SECONDS
from app.jobs.accepting.outcomes import Acceptance, Idempotency, KeyReused, StillAnswering
from app.jobs.cancel import WISH_RULES
from app.jobs.engine.judge import Judge
from app.jobs.engine.sweep import expire_queued
from app.jobs.intake import BATCH_LIMIT, WAITING_LIMIT, Intake
from app.kit.crypto import Vault
from app.kit.errors import GatewayError, Unavailable
from app.kit.postgres.database import Connection, Pool, Sessions, open_pool, transaction_within
from app.kit.postgres.presence import Presence
from tests.factories import make_account, make_price, make_team
from tests.jobs.scene import Scene
from tests.waiting import wait_until

KEY = Idempotency("key:a", b"\1" * 32)
OTHER_REQUEST = Idempotency("key:a", b"\2" * 32)


@asynccontextmanager
async def running_intake(pool: Pool) -> AsyncIterator[Intake]:
    intake = Intake(pool)
    intake.start()
    try:
        yield intake
    finally:
        await intake.close()


async def count(scene: Scene, table: str = "jobs") -> int:
    found: int = await scene.pool.fetchval(f"select count(*) from {table}")
    return found


async def test_a_job_its_run_its_event_and_its_reservation_are_stored_together(
    scene: Scene,
) -> None:
    (outcome,) = await scene.store(scene.ask(n=3, priority="batch", idempotency=KEY))

    assert isinstance(outcome, Acceptance)
    job = await scene.get(outcome.job_id)
    assert (job.status, job.n, f"{job.unit_price:.2f}", job.currency) == (
        "queued",
        3,
        "0.20",
        "CNY",
    )
    assert (job.expires_at - job.created_at).total_seconds() == 3_600
    run = await scene.run_of(job.id)
    assert run is not None
    assert (run["status"], run["attempt"], run["n"]) == ("queued", 0, 3)
    assert run["expires_at"] == job.expires_at
    assert await scene.story_of(job.id) == ["job.queued"]
    assert await scene.entries_of(job.id) == [("reserve", "0.60", 3)]
    await scene.expect_books_in_order()


async def test_what_fails_leaves_nothing_of_any_part(scene: Scene) -> None:
    bad = scene.ask(idempotency=KEY, n=5)

    with pytest.raises(asyncpg.CheckViolationError):
        await scene.store(bad)

    for table in ("jobs", "job_runs", "job_events", "ledger_entries", "idempotency_keys"):
        assert await count(scene, table) == 0


async def test_an_interactive_job_is_ranked_four_hours_ahead(scene: Scene) -> None:
    for name, head_start_seconds in (("interactive", HEAD_START_SECONDS), ("batch", 0)):
        job = await scene.get(await scene.accept(priority=name))

        run = await scene.run_of(job.id)
        assert run is not None
        assert (job.created_at - run["rank_at"]).total_seconds() == head_start_seconds


async def test_the_price_of_the_moment_is_stamped_on_the_job(scene: Scene) -> None:
    before = await scene.accept()
    await scene.pool.execute("update prices set unit_price = 0.5")
    after = await scene.accept()

    prices = [f"{(await scene.get(job_id)).unit_price:.2f}" for job_id in (before, after)]
    assert prices == ["0.20", "0.50"]


async def test_a_model_without_a_price_is_refused_and_the_others_of_its_batch_are_not(
    scene: Scene,
) -> None:
    unknown, known = await scene.store(scene.ask(model="wan9", idempotency=KEY), scene.ask())

    assert isinstance(unknown, Unavailable)
    assert unknown.code == "price_unknown"
    assert "wan9" in unknown.message
    assert isinstance(known, Acceptance)
    assert await count(scene) == 1
    assert await count(scene, "idempotency_keys") == 0


async def test_an_account_in_a_region_without_a_price_stops_acceptance(
    scene: Scene, sessions: Sessions, vault: Vault
) -> None:
    await make_account(sessions, vault, region="ap-southeast-1")

    (outcome,) = await scene.store(scene.ask())

    assert isinstance(outcome, Unavailable)
    assert outcome.code == "price_unknown"


async def test_prices_in_two_currencies_stop_acceptance(
    scene: Scene, sessions: Sessions, vault: Vault
) -> None:
    await make_account(sessions, vault, region="ap-southeast-1")
    await make_price(sessions, region="ap-southeast-1", currency="USD")

    (outcome,) = await scene.store(scene.ask())

    assert isinstance(outcome, GatewayError)
    assert outcome.code == "mixed_currencies"
    assert await count(scene) == 0


async def test_the_same_key_and_request_is_the_same_job(scene: Scene) -> None:
    (first,) = await scene.store(scene.ask(idempotency=KEY))
    (second,) = await scene.store(scene.ask(idempotency=KEY))

    assert isinstance(first, Acceptance)
    assert second == Acceptance(first.job_id, replayed=True)
    assert await count(scene) == await count(scene, "ledger_entries") == 1


async def test_a_key_is_remembered_for_three_days(scene: Scene) -> None:
    await scene.accept(idempotency=KEY)

    seconds = await scene.pool.fetchval(
        "select extract(epoch from expires_at - now()) from idempotency_keys"
    )
    assert KEY_TTL_SECONDS - 60 < seconds <= KEY_TTL_SECONDS


async def test_the_same_key_for_another_request_is_refused(scene: Scene) -> None:
    await scene.accept(idempotency=KEY)
    (outcome,) = await scene.store(scene.ask(idempotency=OTHER_REQUEST))

    assert isinstance(outcome, KeyReused)
    assert outcome.code == "idempotency_key_reuse"
    assert await count(scene) == 1


async def test_the_same_key_of_another_team_is_another_key(
    scene: Scene, sessions: Sessions
) -> None:
    team = await make_team(sessions)
    mine = await scene.accept(idempotency=KEY)
    theirs = await scene.accept(idempotency=OTHER_REQUEST, team_id=team.id)

    assert mine != theirs
    assert await count(scene) == 2


async def test_a_key_whose_time_is_over_may_be_used_again(scene: Scene) -> None:
    first = await scene.accept(idempotency=KEY)
    await scene.pool.execute("update idempotency_keys set expires_at = now()")
    second = await scene.accept(idempotency=OTHER_REQUEST)
    (third,) = await scene.store(scene.ask(idempotency=OTHER_REQUEST))

    assert first != second
    assert third == Acceptance(second, replayed=True)


async def test_a_replay_outlives_the_job(scene: Scene) -> None:
    job_id = await scene.accept(idempotency=KEY, ttl_seconds=0)
    await expire_queued(Judge(scene.pool, WISH_RULES))

    (outcome,) = await scene.store(scene.ask(idempotency=KEY))

    assert outcome == Acceptance(job_id, replayed=True)
    assert (await scene.get(job_id)).status == "expired"


async def test_a_guard_counts_only_once_its_client_or_its_process_is_gone(
    scene: Scene, database: str
) -> None:
    """While the first is being answered, nobody can tell whether an equal one is meant."""
    presence, stop = Presence(database), asyncio.Event()
    here = asyncio.create_task(presence.run(stop))
    guard = Idempotency("sent:b", b"\3" * 32, guard_owner=presence.number)
    await wait_until(lambda: _is_present(scene.pool, presence))
    (first,) = await scene.store(scene.ask(idempotency=guard))
    (while_alive,) = await scene.store(scene.ask(idempotency=guard))

    stop.set()
    await here
    await wait_until(lambda: _is_absent(scene.pool, presence))
    (when_gone,) = await scene.store(scene.ask(idempotency=guard))

    assert isinstance(first, Acceptance)
    assert isinstance(while_alive, StillAnswering)
    assert when_gone == Acceptance(first.job_id, replayed=True)


async def test_a_guard_whose_client_left_stands_for_its_job_until_it_is_over(
    scene: Scene, database: str
) -> None:
    presence, stop = Presence(database), asyncio.Event()
    here = asyncio.create_task(presence.run(stop))
    guard = Idempotency("sent:c", b"\4" * 32, guard_owner=presence.number)
    await wait_until(lambda: _is_present(scene.pool, presence))
    async with running_intake(scene.pool) as intake:
        first = await intake.accept(scene.ask(idempotency=guard))
        await intake.guards.arm(scene.team_id, guard.key, first.job_id)
        again = await intake.accept(scene.ask(idempotency=guard))
        seconds = await scene.pool.fetchval(
            "select extract(epoch from expires_at - now()) from idempotency_keys"
        )
        await intake.guards.release(scene.team_id, guard.key, first.job_id)
        later = await intake.accept(scene.ask(idempotency=guard))
    stop.set()
    await here

    assert again == Acceptance(first.job_id, replayed=True)
    assert 0 < seconds <= GUARD_TTL_SECONDS
    assert later.job_id != first.job_id


async def test_jobs_of_one_batch_that_share_a_key_are_one_job(scene: Scene) -> None:
    async with running_intake(scene.pool) as intake:
        accepted = await asyncio.gather(
            *(intake.accept(scene.ask(idempotency=KEY)) for _ in range(5)),
            intake.accept(scene.ask()),
            intake.accept(scene.ask(idempotency=OTHER_REQUEST)),
            return_exceptions=True,
        )

    *same, unkeyed, reused = accepted
    assert len({outcome.job_id for outcome in same if isinstance(outcome, Acceptance)}) == 1
    assert [outcome.replayed for outcome in same if isinstance(outcome, Acceptance)].count(
        False
    ) == 1
    assert isinstance(unkeyed, Acceptance)
    assert isinstance(reused, KeyReused)
    assert await count(scene) == 2


async def test_the_same_key_in_many_processes_at_once_is_one_job(
    scene: Scene, database: str
) -> None:
    keys = [Idempotency(f"key:{number}", bytes([number]) * 32) for number in range(20)]
    other_pool = await open_pool(database, max_size=4)
    async with running_intake(scene.pool) as one, running_intake(other_pool) as other:
        accepted = await asyncio.gather(
            *(
                intake.accept(scene.ask(idempotency=key))
                for intake, order in ((one, keys), (other, keys[::-1]))
                for key in order
            )
        )
    await other_pool.close()

    by_job = Counter(acceptance.job_id for acceptance in accepted)
    assert len(by_job) == 20
    assert set(by_job.values()) == {2}
    assert sum(acceptance.replayed for acceptance in accepted) == 20
    assert await count(scene) == await count(scene, "ledger_entries") == 20


async def test_one_bad_row_does_not_spoil_its_batch(scene: Scene) -> None:
    bad = scene.ask(key_id=str(uuid4()))
    async with running_intake(scene.pool) as intake:
        accepted = await asyncio.gather(
            *(intake.accept(scene.ask()) for _ in range(4)),
            intake.accept(bad),
            return_exceptions=True,
        )

    *good, refused = accepted
    assert all(isinstance(outcome, Acceptance) for outcome in good)
    assert isinstance(refused, asyncpg.ForeignKeyViolationError)
    assert await count(scene) == 4


async def test_five_hundred_at_once_are_five_hundred_jobs_in_a_few_commits(scene: Scene) -> None:
    async with running_intake(scene.pool) as intake:
        accepted = await asyncio.gather(*(intake.accept(scene.ask()) for _ in range(500)))

    assert len({acceptance.job_id for acceptance in accepted}) == await count(scene) == 500
    commits = await scene.pool.fetchval("select count(distinct xmin::text) from jobs")
    assert commits <= 2 * (500 // BATCH_LIMIT + 1)
    await scene.expect_books_in_order()


async def test_a_full_intake_says_so_at_once(scene: Scene) -> None:
    intake = Intake(scene.pool)
    waiting = [asyncio.create_task(intake.accept(scene.ask())) for _ in range(WAITING_LIMIT)]
    await asyncio.sleep(0)

    with pytest.raises(Unavailable) as refusal:
        await intake.accept(scene.ask())

    assert refusal.value.code == "intake_full"
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_closing_writes_what_is_waiting(scene: Scene) -> None:
    intake = Intake(scene.pool)
    intake.start()
    waiting = [asyncio.create_task(intake.accept(scene.ask())) for _ in range(50)]
    await asyncio.sleep(0)

    await intake.close()

    assert all(isinstance(task.result(), Acceptance) for task in waiting)
    assert await count(scene) == 50


async def test_a_client_that_leaves_does_not_take_its_job_or_its_neighbours_with_it(
    scene: Scene,
) -> None:
    intake = Intake(scene.pool)
    leaving = asyncio.create_task(intake.accept(scene.ask()))
    staying = asyncio.create_task(intake.accept(scene.ask()))
    await asyncio.sleep(0)
    leaving.cancel()
    intake.start()

    assert isinstance(await staying, Acceptance)
    await intake.close()
    assert await count(scene) == 2


async def test_without_a_database_the_client_hears_that_nothing_was_stored(
    database: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.jobs.intake.LOOK_AGAIN_SECONDS", 0)
    pool = await open_pool(database, max_size=2)
    await pool.close()
    async with running_intake(pool) as intake:
        with pytest.raises(Unavailable) as refusal:
            await intake.accept(scene.ask())

    assert refusal.value.code == "database_unavailable"


async def test_a_job_whose_commit_came_through_is_accepted_though_the_connection_broke(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def broken_after_commit(pool: Pool, seconds: float) -> AsyncIterator[Connection]:
        async with transaction_within(pool, seconds) as connection:
            yield connection
        raise ConnectionResetError

    monkeypatch.setattr("app.jobs.intake.transaction_within", broken_after_commit)
    async with running_intake(scene.pool) as intake:
        acceptance = await intake.accept(scene.ask())

    assert (await scene.get(acceptance.job_id)).status == "queued"


async def _is_absent(pool: Pool, presence: Presence) -> bool:
    return not await _is_present(pool, presence)


async def _is_present(pool: Pool, presence: Presence) -> bool:
    holds: bool = await pool.fetchval(
        "select exists (select from pg_locks where locktype = 'advisory' and objid = $1)",
        presence.number,
    )
    return holds
