"""Decisions written down: status, attempt, event, money and usage move together or not at all."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from app.jobs.cancel import cancel_queued_job
from app.jobs.events import JOB_CHANGED, PICTURES_WAITING, QUEUE_CHANGED
from app.jobs.lifecycle import (
    Decision,
    Doubt,
    Fail,
    Fence,
    Flag,
    JobStatus,
    Requeue,
    Run,
    TaskFacts,
)
from app.jobs.moves import StaleRun
from app.jobs.record import end
from app.kit.postgres.database import connect, transaction
from tests.jobs.scene import Scene, ended_with
from tests.waiting import wait_until

URL = "https://result.example/a.png?Signature=s"
THROTTLED = Requeue(
    "refused",
    "Throttling.RateQuota",
    "slower",
    pause_seconds=8.0,
    http_status=429,
    request_id="r-1",
)
ENDED = TaskFacts("FAILED", None, None, None, 0)


async def usage_of(scene: Scene) -> list[tuple[object, ...]]:
    rows = await scene.pool.fetch(
        "select jobs, succeeded, failed, canceled, expired, image_count, amount::text"
        " from daily_usage"
    )
    return [tuple(row) for row in rows]


async def finish(scene: Scene, fence: Fence, status: JobStatus = JobStatus.SUCCEEDED) -> None:
    async with transaction(scene.pool) as connection:
        await end(connection, fence, status)


async def keep(scene: Scene, fence: Fence, *indexes: int) -> None:
    """As if the pictures were kept; the others are lost."""
    await scene.pool.execute(
        """
        update pictures set source_url = null,
            status = case when index = any($2) then 'kept' else 'failed' end,
            error_code = case when index = any($2) then null else 'picture_lost' end,
            store_key = 'k', sha256 = '\\x00', content_type = 'image/png', byte_count = 1,
            width = 1, height = 1
        where job_id = $1 and status = 'upstream'
        """,
        fence.job_id,
        list(indexes),
    )
    await scene.pool.execute(
        "update pictures set store_key = null where job_id = $1 and status = 'failed'",
        fence.job_id,
    )


async def test_a_run_has_its_task_and_its_attempt_says_how_it_came(scene: Scene) -> None:
    fence = await scene.submitting()

    await scene.decide(fence, Run("t-1", "r-1"))

    run = await scene.run_of(fence.job_id)
    (attempt,) = await scene.attempts_of(fence.job_id)
    assert run is not None
    assert (run["status"], run["upstream_task_id"], run["slot"]) == ("running", "t-1", 0)
    assert run["lease_token"] is None
    assert run["submitted_at"] == attempt["intended_at"]
    assert (attempt["outcome"], attempt["upstream_task_id"]) == ("accepted", "t-1")
    assert attempt["upstream_request_id"] == "r-1"
    assert await scene.story_of(fence.job_id) == ["job.queued", "job.submitting", "job.running"]


async def test_an_adopted_task_is_told_from_an_accepted_one(scene: Scene) -> None:
    fence = await scene.submitting()
    await scene.decide(fence, Doubt("reset"))

    await scene.decide(fence, Run("t-1", "r-1", adopted=True))

    (attempt,) = await scene.attempts_of(fence.job_id)
    assert attempt["outcome"] == "adopted"


async def test_one_task_never_belongs_to_two_jobs(scene: Scene) -> None:
    first = await scene.running("t-1")
    second = await scene.submitting()

    with pytest.raises(asyncpg.UniqueViolationError):
        await scene.decide(second, Run("t-1", "r-2"))

    assert (await scene.get(second.job_id)).status == "submitting"
    assert (await scene.get(first.job_id)).status == "running"


async def test_a_doubt_keeps_lane_and_slot_and_ends_the_lease(scene: Scene) -> None:
    fence = await scene.submitting()

    await scene.decide(fence, Doubt("no answer", 502))

    run = await scene.run_of(fence.job_id)
    (attempt,) = await scene.attempts_of(fence.job_id)
    assert run is not None
    assert (run["status"], run["slot"], run["lane_id"]) == ("submitting", 0, scene.lane_id)
    assert (run["lease_token"], run["lease_expires_at"]) == (None, None)
    assert (attempt["outcome"], attempt["http_status"]) == ("unknown", 502)
    assert (await scene.story_of(fence.job_id))[-1] == "job.submission_unknown"


async def test_a_requeued_job_waits_its_turn_and_its_account_pauses(scene: Scene) -> None:
    fence = await scene.submitting()
    await scene.decide(fence, Flag("submission_unknown", "look"))

    await scene.decide(fence, THROTTLED)

    run = await scene.run_of(fence.job_id)
    (attempt,) = await scene.attempts_of(fence.job_id)
    assert run is not None
    assert (run["status"], run["attempt"]) == ("queued", 1)
    assert (run["account_id"], run["lane_id"], run["slot"], run["lease_token"]) == (None,) * 4
    assert run["attention_code"] is None
    assert (attempt["outcome"], attempt["error_code"]) == ("refused", "Throttling.RateQuota")
    assert (attempt["http_status"], attempt["upstream_request_id"]) == (429, "r-1")
    claimed, wait_seconds = await scene.try_claim()
    assert claimed is None
    assert 7 < wait_seconds <= 8
    assert await scene.entries_of(fence.job_id) == [("reserve", "0.20", 1)]


async def test_a_shorter_pause_does_not_shorten_a_longer_one(scene: Scene) -> None:
    await scene.pool.execute(
        "update account_paces set paused_until = now(), pause_code = 'Throttling'"
    )
    fence = await scene.submitting()
    await scene.pool.execute(
        "update account_paces set paused_until = now() + interval '50 s', pause_code = 'Arrearage'"
    )

    await scene.decide(fence, THROTTLED)

    _, wait_seconds = await scene.try_claim()
    assert 49 < wait_seconds <= 50


async def test_a_job_with_a_delay_of_its_own_holds_up_nobody_else(scene: Scene) -> None:
    fence = await scene.submitting()
    other = await scene.accept()

    await scene.decide(fence, Requeue("absent", "not_prepared", "store away", delay_seconds=60))

    assert (await scene.claim()).fence.job_id == other


async def test_a_collected_job_has_its_pictures_and_frees_its_slot(scene: Scene) -> None:
    fence = await scene.running(n=2)
    ended_at = datetime(2026, 11, 23, 12, tzinfo=UTC)

    await scene.decide(fence, ended_with(URL, None, ended_at=ended_at))

    run = await scene.run_of(fence.job_id)
    assert run is not None
    assert (run["status"], run["slot"]) == ("finalizing", None)
    pictures = await scene.pool.fetch("select * from pictures order by index")
    assert [(row["status"], row["source_url"], row["error_code"]) for row in pictures] == [
        ("upstream", URL, None),
        ("failed", None, "InternalError.Timeout"),
    ]
    assert pictures[0]["source_expires_at"] == ended_at + timedelta(hours=24)
    (attempt,) = await scene.attempts_of(fence.job_id)
    assert (attempt["task_status"], attempt["image_count"]) == ("SUCCEEDED", 1)
    assert attempt["task_ended_at"] == ended_at


async def test_delivered_pictures_are_captured_and_the_rest_released(scene: Scene) -> None:
    fence = await scene.finalizing(URL, None, URL)
    await keep(scene, fence, 0, 2)

    await finish(scene, fence)

    job = await scene.get(fence.job_id)
    assert (job.status, job.image_count, f"{job.amount:.2f}") == ("succeeded", 2, "0.40")
    assert job.finished_at is not None
    assert job.submitted_at is not None
    assert await scene.run_of(fence.job_id) is None
    assert await scene.entries_of(fence.job_id) == [
        ("reserve", "0.60", 3),
        ("capture", "0.40", 2),
        ("release", "0.20", 1),
    ]
    assert await usage_of(scene) == [(1, 1, 0, 0, 0, 2, "0.400000")]
    await scene.expect_books_in_order()


async def test_a_whole_job_leaves_nothing_to_release(scene: Scene) -> None:
    fence = await scene.finalizing(URL)
    await keep(scene, fence, 0)

    await finish(scene, fence)

    assert [kind for kind, _, _ in await scene.entries_of(fence.job_id)] == ["reserve", "capture"]
    await scene.expect_books_in_order()


@pytest.mark.parametrize(
    "failure",
    [
        Fail("InvalidParameter", "no", 400, "r-1"),
        Fail("input_lost", "gone", outcome="absent"),
    ],
)
async def test_a_job_refused_at_its_create_costs_nothing(scene: Scene, failure: Fail) -> None:
    fence = await scene.submitting(n=2)

    await scene.decide(fence, failure)

    job = await scene.get(fence.job_id)
    assert (job.status, job.error_code, job.error_message) == (
        "failed",
        failure.code,
        failure.message,
    )
    assert (job.image_count, job.amount) == (0, Decimal(0))
    assert (await scene.attempts_of(fence.job_id))[0]["outcome"] == failure.outcome
    assert await scene.entries_of(fence.job_id) == [("reserve", "0.40", 2), ("release", "0.40", 2)]
    assert await usage_of(scene) == [(1, 0, 1, 0, 0, 0, "0.000000")]
    await scene.expect_books_in_order()


async def test_a_task_that_failed_costs_nothing_and_is_told_in_the_attempt(scene: Scene) -> None:
    fence = await scene.running()

    await scene.decide(fence, Fail("DataInspectionFailed", "not that", task=ENDED))

    (attempt,) = await scene.attempts_of(fence.job_id)
    assert (attempt["outcome"], attempt["task_status"]) == ("accepted", "FAILED")
    assert (await scene.get(fence.job_id)).error_code == "DataInspectionFailed"
    assert (await scene.entries_of(fence.job_id))[-1] == ("release", "0.20", 1)
    assert (await scene.story_of(fence.job_id))[-1] == "job.failed"
    await scene.expect_books_in_order()


async def test_a_flag_keeps_the_status_and_is_told_once(scene: Scene) -> None:
    fence = await scene.running()

    for detail in ("first", "second"):
        await scene.decide(fence, Flag("task_unknown", detail))
    first_since = (await scene.get(fence.job_id)).attention
    await scene.decide(fence, Flag("wrong_task", "another"))

    job = await scene.get(fence.job_id)
    assert job.status == "running"
    assert first_since is not None
    assert first_since["detail"] == "second"
    assert job.attention is not None
    assert job.attention["code"] == "wrong_task"
    assert (await scene.story_of(fence.job_id)).count("job.attention") == 2


STALE: list[Decision] = [
    Run("t-9", "r-9"),
    THROTTLED,
    Doubt("late"),
    ended_with(URL),
    Fail("InvalidParameter", "late"),
    Fail("InternalError", "late", task=ENDED),
    Flag("task_unknown", "late"),
]


@pytest.mark.parametrize("decision", STALE, ids=lambda decision: type(decision).__name__)
async def test_news_of_an_earlier_attempt_are_dropped(scene: Scene, decision: Decision) -> None:
    old = await scene.submitting()
    await scene.decide(old, THROTTLED)
    await scene.pool.execute("update account_paces set paused_until = null, pause_code = null")
    new = (await scene.claim()).fence
    before = await scene.run_of(new.job_id)

    with pytest.raises(StaleRun):
        await scene.decide(old, decision)

    assert await scene.run_of(new.job_id) == before
    assert [row["outcome"] for row in await scene.attempts_of(new.job_id)] == [
        "refused",
        "intended",
    ]


@pytest.mark.parametrize("decision", STALE, ids=lambda decision: type(decision).__name__)
async def test_news_of_a_job_that_has_ended_are_dropped(scene: Scene, decision: Decision) -> None:
    fence = await scene.submitting()
    await scene.decide(fence, Fail("InvalidParameter", "no"))

    with pytest.raises(StaleRun):
        await scene.decide(fence, decision)

    assert (await scene.get(fence.job_id)).error_message == "no"
    await scene.expect_books_in_order()


@pytest.mark.parametrize(
    "decision",
    [Run("t-9", "r-9"), THROTTLED, Doubt("late"), Fail("InvalidParameter", "late")],
    ids=lambda decision: type(decision).__name__,
)
async def test_news_of_a_create_are_dropped_once_its_task_is_known(
    scene: Scene, decision: Decision
) -> None:
    fence = await scene.running("t-1")

    with pytest.raises(StaleRun):
        await scene.decide(fence, decision)

    run = await scene.run_of(fence.job_id)
    assert run is not None
    assert (run["status"], run["upstream_task_id"]) == ("running", "t-1")


async def test_a_task_is_collected_once(scene: Scene) -> None:
    fence = await scene.finalizing(URL)

    with pytest.raises(StaleRun):
        await scene.decide(fence, ended_with(URL))

    assert await scene.pool.fetchval("select count(*) from pictures") == 1


async def test_a_job_ends_once_even_when_two_hands_end_it_at_once(scene: Scene) -> None:
    fence = await scene.finalizing(URL)
    await keep(scene, fence, 0)

    outcomes = await asyncio.gather(
        *(finish(scene, fence) for _ in range(4)), return_exceptions=True
    )

    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, StaleRun) for outcome in outcomes) == 3
    await scene.expect_books_in_order()


async def test_an_end_that_the_book_contradicts_is_not_written(scene: Scene) -> None:
    fence = await scene.finalizing(URL)
    await keep(scene, fence, 0)
    await scene.pool.execute("alter table ledger_entries disable trigger user")
    await scene.pool.execute("delete from ledger_entries")

    with pytest.raises(RuntimeError, match="nothing is reserved"):
        await finish(scene, fence)

    assert (await scene.get(fence.job_id)).status == "finalizing"


async def test_a_success_without_a_kept_picture_cannot_be_written(scene: Scene) -> None:
    fence = await scene.finalizing(URL)

    with pytest.raises(asyncpg.CheckViolationError, match="success_delivers"):
        await finish(scene, fence)


class TestCancel:
    async def test_a_queued_job_is_canceled_for_free(self, scene: Scene) -> None:
        job_id = await scene.accept(n=4)

        assert await cancel_queued_job(scene.pool, job_id, team_id=scene.team_id)

        job = await scene.get(job_id)
        assert (job.status, job.amount, job.error_code) == ("canceled", Decimal(0), None)
        assert await scene.entries_of(job_id) == [("reserve", "0.80", 4), ("release", "0.80", 4)]
        assert await usage_of(scene) == [(1, 0, 0, 1, 0, 0, "0.000000")]
        await scene.expect_books_in_order()

    async def test_a_job_that_went_back_to_the_queue_can_be_canceled(self, scene: Scene) -> None:
        fence = await scene.submitting()
        await scene.decide(fence, THROTTLED)

        assert await cancel_queued_job(scene.pool, fence.job_id, team_id=scene.team_id)

    async def test_it_is_too_late_once_the_create_is_on_its_way(self, scene: Scene) -> None:
        fence = await scene.submitting()

        assert not await cancel_queued_job(scene.pool, fence.job_id, team_id=scene.team_id)
        assert (await scene.get(fence.job_id)).status == "submitting"

    async def test_nobody_cancels_another_teams_job_but_an_operator(self, scene: Scene) -> None:
        job_id = await scene.accept()

        assert not await cancel_queued_job(scene.pool, job_id, team_id=UUID(int=1))
        assert await cancel_queued_job(scene.pool, job_id, team_id=None)
        assert not await cancel_queued_job(scene.pool, job_id, team_id=None)


@pytest.fixture
async def heard(scene: Scene, database: str) -> AsyncIterator[list[tuple[str, str]]]:
    """The notifications of the engine's channels, as they come."""
    notes: list[tuple[str, str]] = []
    connection = await connect(database)
    for channel in (JOB_CHANGED, QUEUE_CHANGED, PICTURES_WAITING):
        await connection.add_listener(
            channel, lambda _, __, name, payload: notes.append((name, str(payload)))
        )
    yield notes
    await connection.close()


async def test_every_step_wakes_those_who_wait_for_it(
    scene: Scene, heard: list[tuple[str, str]]
) -> None:
    def has(*notes: tuple[str, str]) -> bool:
        return set(notes) <= set(heard)

    job_id = await scene.accept()
    await wait_until(lambda: has((QUEUE_CHANGED, "")))

    fence = (await scene.claim()).fence
    await wait_until(lambda: has((JOB_CHANGED, str(job_id))))

    heard.clear()
    await scene.decide(fence, Run("t-1", "r-1"))
    await wait_until(lambda: has((JOB_CHANGED, str(job_id))))

    heard.clear()
    await scene.decide(fence, ended_with(URL))
    await wait_until(
        lambda: has((PICTURES_WAITING, ""), (QUEUE_CHANGED, ""), (JOB_CHANGED, str(job_id)))
    )

    heard.clear()
    await keep(scene, fence, 0)
    await finish(scene, fence)
    await wait_until(lambda: has((JOB_CHANGED, str(job_id))))

    failing = await scene.running("t-2")
    heard.clear()
    await scene.decide(failing, Fail("InternalError", "no", task=ENDED))
    await wait_until(lambda: has((QUEUE_CHANGED, ""), (JOB_CHANGED, str(failing.job_id))))
