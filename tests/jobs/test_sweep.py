"""The chores that time brings."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from app.jobs.accepting.outcomes import Idempotency
from app.jobs.core.state import Rules, Ticked
from app.jobs.engine.judge import Judge
from app.jobs.engine.sweep import BATCH, EXPIRY_BATCH, MONTHS_AHEAD, Upkeep, expire_queued
from app.jobs.events import JOB_CHANGED
from app.jobs.lifecycle import Requeue
from app.kit.postgres.database import Pool
from app.media.files.expiry import apart_files, delete_expired_files
from app.media.store import PictureStore, open_store
from tests.jobs.scene import Scene
from tests.media.images import make_image, make_noise
from tests.media.kept import keep_until
from tests.media.stored import is_stored

TIMES = ("id", "created_at", "expires_at", "finished_at")
RULES = Rules(settle=timedelta(0))
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return open_store((tmp_path / "store").as_uri())


async def list_parts(pool: Pool) -> set[str]:
    rows = await pool.fetch(
        "select inhrelid::regclass::text as name from pg_inherits"
        " where inhparent = 'job_events'::regclass"
    )
    return {row["name"] for row in rows}


async def test_a_queued_job_whose_time_is_over_expires_for_free(scene: Scene) -> None:
    late = await scene.accept(ttl_seconds=0, n=2)
    waiting = await scene.accept()

    assert await expire_queued(Judge(scene.pool, RULES)) is False

    job = await scene.get(late)
    assert (job.status, job.error_code, job.amount) == ("expired", "expired", Decimal(0))
    assert await scene.entries_of(late) == [("reserve", "0.40", 2), ("release", "0.40", 2)]
    assert (await scene.get(waiting)).status == "queued"
    usage = await scene.pool.fetchrow("select jobs, expired from daily_usage")
    assert usage is not None
    assert tuple(usage) == (1, 1)
    await scene.expect_books_in_order()


async def test_a_job_that_is_upstream_does_not_expire(scene: Scene) -> None:
    fence = await scene.submitting()
    await scene.pool.execute("update job_runs set expires_at = now()")

    await expire_queued(Judge(scene.pool, RULES))
    assert (await scene.get(fence.job_id)).status == "submitting"

    await scene.decide(fence, Requeue("absent", "not_sent", "no"))
    await expire_queued(Judge(scene.pool, RULES))
    assert (await scene.get(fence.job_id)).status == "expired"


async def test_many_expire_batch_by_batch(scene: Scene) -> None:
    await scene.store(*(scene.ask(ttl_seconds=0) for _ in range(EXPIRY_BATCH + 1)))

    assert await expire_queued(Judge(scene.pool, RULES)) is True
    assert await expire_queued(Judge(scene.pool, RULES)) is False

    assert await scene.pool.fetchval("select count(*) from job_runs") == 0
    assert await scene.usage() == [(EXPIRY_BATCH + 1, 0, 0, 0, EXPIRY_BATCH + 1, 0, "0.000000")]
    await scene.expect_books_in_order()


async def test_one_that_expires_among_others_ends_as_one_that_ends_alone(scene: Scene) -> None:
    alone, other = [await scene.accept(ttl_seconds=0, n=3) for _ in range(2)]
    await Judge(scene.pool, RULES).hear(alone, Ticked())

    await expire_queued(Judge(scene.pool, RULES))

    traces = []
    for job_id in (alone, other):
        job = await scene.pool.fetchrow("select * from jobs where id = $1", job_id)
        event = await scene.pool.fetchrow(
            "select type, detail from job_events where job_id = $1 order by id desc", job_id
        )
        assert job is not None
        assert event is not None
        fixed = {name: value for name, value in job.items() if name not in TIMES}
        traces.append((fixed, dict(event), await scene.entries_of(job_id)))
    assert traces[0] == traces[1]
    assert await scene.usage() == [(2, 0, 0, 0, 2, 0, "0.000000")]


async def test_a_job_that_the_book_contradicts_keeps_no_other_from_its_end(scene: Scene) -> None:
    jobs = [await scene.accept(ttl_seconds=0) for _ in range(9)]
    sent = await scene.submitting()
    await scene.decide(sent, Requeue("absent", "not_sent", "no"))
    await scene.pool.execute("update job_runs set expires_at = now()")
    bad = {jobs[4], sent.job_id}
    await scene.pool.execute("update jobs set unit_price = 9 where id = any($1)", list(bad))

    assert await expire_queued(Judge(scene.pool, RULES)) is False

    left = await scene.pool.fetch("select job_id from job_runs")
    assert {row["job_id"] for row in left} == bad


async def test_whoever_waits_for_an_expired_job_is_woken(scene: Scene) -> None:
    job_ids = [await scene.accept(ttl_seconds=0) for _ in range(2)]
    heard: list[str] = []
    async with scene.pool.acquire() as connection:

        def listen(*note: object) -> None:
            heard.append(str(note[-1]))

        await connection.add_listener(JOB_CHANGED, listen)
        await expire_queued(Judge(scene.pool, RULES))
        await connection.fetchval("select 1")
        await connection.remove_listener(JOB_CHANGED, listen)
    assert sorted(heard) == sorted(map(str, job_ids))


async def test_keys_and_files_whose_time_is_over_go_and_the_others_stay(
    scene: Scene, store: PictureStore
) -> None:
    kept_key, old_key = (Idempotency(name, b"\0" * 32) for name in ("kept", "old"))
    await scene.accept(idempotency=kept_key)
    await scene.accept(idempotency=old_key)
    await scene.pool.execute(
        "update idempotency_keys set expires_at = now() - interval '1 s' where key = 'old'"
    )
    content = make_image("PNG", 400, 400)
    file = await keep_until(scene.pool, store, scene.team_id, content, LONG_AGO)

    assert await Upkeep(scene.pool, store).tidy() is False

    keys = await scene.pool.fetch("select key from idempotency_keys")
    assert [row["key"] for row in keys] == ["kept"]
    assert await scene.pool.fetchval("select count(*) from files") == 0
    assert not await is_stored(store, file.store_key)


async def test_more_than_a_batch_of_old_keys_says_that_there_is_more(
    scene: Scene, store: PictureStore
) -> None:
    keys = (Idempotency(f"key:{number}", b"\0" * 32) for number in range(BATCH + 1))
    await scene.store(*(scene.ask(idempotency=key) for key in keys))
    await scene.pool.execute("update idempotency_keys set expires_at = now() - interval '1 s'")

    assert await Upkeep(scene.pool, store).tidy() is True
    assert await Upkeep(scene.pool, store).tidy() is False


async def test_the_months_to_come_are_opened_in_time_and_twice_does_no_harm(
    scene: Scene, store: PictureStore
) -> None:
    for name in sorted(await list_parts(scene.pool) - {"job_events_rest"})[1:]:
        await scene.pool.execute(f"drop table {name}")

    await Upkeep(scene.pool, store).tidy()
    await Upkeep(scene.pool, store).tidy()

    now = await scene.pool.fetchval("select now() at time zone 'UTC'")
    first = now.year * 12 + now.month - 1
    months = [divmod(first + step, 12) for step in range(MONTHS_AHEAD + 1)]
    parts = {f"job_events_y{year}m{month + 1:02}" for year, month in months}
    assert await list_parts(scene.pool) == parts | {"job_events_rest"}


async def test_an_event_of_any_month_has_a_place(scene: Scene) -> None:
    for at, part in (("2026-12-31 23:59:59+00", "job_events_y2026m12"), ("2031-01-01+00", "rest")):
        found = await scene.pool.fetchval(
            "insert into job_events (at, job_id, type) values ($1::text::timestamptz,"
            " gen_random_uuid(), 'x') returning tableoid::regclass::text",
            at,
        )
        assert found.endswith(part)


async def test_a_store_that_deletes_nothing_keeps_no_other_chore_from_its_work(
    scene: Scene, tmp_path: Path
) -> None:
    store = open_store((tmp_path / "store").as_uri())
    for seed in range(5):
        await keep_until(scene.pool, store, scene.team_id, make_noise(seed=seed), LONG_AGO)
    for name in sorted(await list_parts(scene.pool) - {"job_events_rest"})[1:]:
        await scene.pool.execute(f"drop table {name}")
    (tmp_path / "store").rename(tmp_path / "unmounted")

    upkeep = Upkeep(scene.pool, store)
    assert await upkeep.tidy() is False

    assert len(await list_parts(scene.pool)) == MONTHS_AHEAD + 2
    counted = await scene.pool.fetch("select work, last_error from chore_failures order by work")
    assert [row["work"] for row in counted] == ["expired files", "upkeep"]
    assert await scene.pool.fetchval("select count(*) from files") == 5
    (tmp_path / "unmounted").rename(tmp_path / "store")
    assert await Upkeep(scene.pool, store).tidy() is False
    assert await scene.pool.fetchval("select count(*) from files") == 0


async def test_files_that_cannot_be_deleted_do_not_fill_the_batch_for_ever(
    scene: Scene, store: PictureStore
) -> None:
    apart = apart_files()
    for number, key in enumerate(("no key/../at all", "neither//this", None)):
        expired_at = LONG_AGO + timedelta(days=number)
        content = make_noise(seed=number)
        file = await keep_until(scene.pool, store, scene.team_id, content, expired_at)
        if key:
            await scene.pool.execute("update files set store_key = $2 where id = $1", file.id, key)

    deleted = [
        await delete_expired_files(scene.pool, store, limit=2, apart=apart) for _ in range(2)
    ]

    assert deleted == [0, 1]
