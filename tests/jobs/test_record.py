"""Decisions written down: status, attempt, event, money and usage move together or not at all."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from app.jobs.events import ACCEPTED, JOB_CHANGED, PICTURES_WAITING, QUEUE_CHANGED
from app.jobs.lifecycle import (
    Decision,
    Disown,
    Doubt,
    Fail,
    Fence,
    Flag,
    NoteCancel,
    Requeue,
    Review,
    Run,
    TaskFacts,
    Unflag,
)
from app.jobs.moves import StaleRun
from app.kit.postgres.database import connect
from tests.jobs.scene import Scene, ended_with
from tests.waiting import wait_until

URL = "https://result.example/a.png?Signature=s"
THROTTLED = Requeue(
    "refused",
    "Throttling.RateQuota",
    "slower",
    http_status=429,
    request_id="r-1",
)
ENDED = TaskFacts("FAILED", None, None, None, 0)
FAILED_BY_CHANCE = Requeue("accepted", "InternalError", "chance", task=ENDED, is_failure=True)


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


async def test_a_requeued_job_waits_its_turn_and_keeps_nothing(scene: Scene) -> None:
    fence = await scene.submitting()
    await scene.decide(fence, Flag("submission_unknown", "look"))

    await scene.decide(fence, THROTTLED)

    run = await scene.run_of(fence.job_id)
    (attempt,) = await scene.attempts_of(fence.job_id)
    assert run is not None
    assert (run["status"], run["attempt"], run["task_failures"]) == ("queued", 1, 0)
    assert (run["account_id"], run["lane_id"], run["slot"], run["lease_token"]) == (None,) * 4
    assert run["attention_code"] is None
    assert (attempt["outcome"], attempt["error_code"]) == ("refused", "Throttling.RateQuota")
    assert (attempt["http_status"], attempt["upstream_request_id"]) == (429, "r-1")
    assert (await scene.claim()).fence == Fence(fence.job_id, 2)
    assert await scene.entries_of(fence.job_id) == [("reserve", "0.20", 1)]


async def test_a_job_whose_task_failed_is_tried_again_and_its_failure_counted(
    scene: Scene,
) -> None:
    fence = await scene.running("t-1")

    await scene.decide(fence, FAILED_BY_CHANCE)

    run = await scene.run_of(fence.job_id)
    (attempt,) = await scene.attempts_of(fence.job_id)
    assert run is not None
    assert (run["status"], run["task_failures"]) == ("queued", 1)
    assert (run["upstream_task_id"], run["submitted_at"]) == (None, None)
    assert (attempt["outcome"], attempt["upstream_task_id"]) == ("accepted", "t-1")
    assert (attempt["task_status"], attempt["error_code"]) == ("FAILED", "InternalError")


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
    await scene.keep(fence, 0, 2)

    await scene.finish(fence)

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
    assert await scene.usage() == [(1, 1, 0, 0, 0, 2, "0.400000")]
    await scene.expect_books_in_order()


async def test_a_whole_job_leaves_nothing_to_release(scene: Scene) -> None:
    fence = await scene.finalizing(URL)
    await scene.keep(fence, 0)

    await scene.finish(fence)

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
    assert await scene.usage() == [(1, 0, 1, 0, 0, 0, "0.000000")]
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
    FAILED_BY_CHANCE,
    Disown("t-9", "late"),
    Flag("task_unknown", "late"),
    Unflag(),
    Review("task_unknown", "late"),
    NoteCancel(),
]


@pytest.mark.parametrize("decision", STALE, ids=lambda decision: type(decision).__name__)
async def test_news_of_an_earlier_attempt_are_dropped(scene: Scene, decision: Decision) -> None:
    old = await scene.submitting()
    await scene.decide(old, THROTTLED)
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
    await scene.keep(fence, 0)

    outcomes = await asyncio.gather(
        *(scene.finish(fence) for _ in range(4)), return_exceptions=True
    )

    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, StaleRun) for outcome in outcomes) == 3
    await scene.expect_books_in_order()


async def test_an_end_that_the_book_contradicts_is_not_written(scene: Scene) -> None:
    fence = await scene.finalizing(URL)
    await scene.keep(fence, 0)
    await scene.pool.execute("alter table ledger_entries disable trigger user")
    await scene.pool.execute("delete from ledger_entries")

    with pytest.raises(RuntimeError, match="nothing is reserved"):
        await scene.finish(fence)

    assert (await scene.get(fence.job_id)).status == "finalizing"


async def test_a_success_without_a_kept_picture_cannot_be_written(scene: Scene) -> None:
    fence = await scene.finalizing(URL)

    with pytest.raises(asyncpg.CheckViolationError, match="success_delivers"):
        await scene.finish(fence)


class TestReview:
    """A person must decide; meanwhile the job holds neither lane nor slot."""

    async def test_a_create_in_review_leaves_lane_and_slot_to_others(self, scene: Scene) -> None:
        fence = await scene.submitting()
        await scene.decide(fence, Doubt("reset"))
        other = await scene.accept()

        await scene.decide(fence, Review("submission_unknown", "t-1, t-2"))

        run = await scene.run_of(fence.job_id)
        assert run is not None
        assert (run["status"], run["lane_id"], run["slot"]) == ("submitting", None, None)
        attention = (await scene.get(fence.job_id)).attention
        assert attention is not None
        assert attention["detail"] == "t-1, t-2"
        assert (await scene.claim(slots=1)).fence.job_id == other
        assert (await scene.story_of(fence.job_id))[-2:] == [
            "job.attention",
            "job.slot_released",
        ]

    async def test_what_runs_without_a_slot_stays_flagged_until_its_task_has_ended(
        self, scene: Scene
    ) -> None:
        fence = await scene.submitting()
        await scene.decide(fence, Review("submission_unknown", "t-1"))

        await scene.decide(fence, Run("t-1", "r-1", adopted=True))
        assert (await scene.get(fence.job_id)).attention is not None
        with pytest.raises(StaleRun):
            await scene.decide(fence, Unflag())

        await scene.decide(fence, ended_with(URL))
        assert (await scene.get(fence.job_id)).attention is None

    async def test_a_flag_is_taken_off_once(self, scene: Scene) -> None:
        fence = await scene.running()
        await scene.decide(fence, Flag("task_unknown", "gone"))

        await scene.decide(fence, Unflag())
        with pytest.raises(StaleRun):
            await scene.decide(fence, Unflag())

        assert (await scene.get(fence.job_id)).attention is None
        assert (await scene.story_of(fence.job_id)).count("job.attention_over") == 1


class TestDisown:
    async def test_the_create_is_in_doubt_again_and_the_task_left_out(self, scene: Scene) -> None:
        fence = await scene.submitting()
        await scene.decide(fence, Run("t-1", "r-1", adopted=True))

        await scene.decide(fence, Disown("t-1", "another's"))

        run = await scene.run_of(fence.job_id)
        (attempt,) = await scene.attempts_of(fence.job_id)
        assert run is not None
        assert (run["status"], run["slot"], run["lane_id"]) == ("submitting", 0, None)
        assert (run["upstream_task_id"], run["submitted_at"]) == (None, None)
        assert (attempt["outcome"], attempt["upstream_task_id"]) == ("unknown", None)
        left_out = await scene.pool.fetchrow("select upstream_task_id, state from orphans")
        assert left_out is not None
        assert tuple(left_out) == ("t-1", "foreign")

    @pytest.mark.parametrize("adopted", [True, False])
    async def test_only_the_task_that_was_adopted_can_be_disowned(
        self, scene: Scene, adopted: bool
    ) -> None:
        fence = await scene.submitting()
        await scene.decide(fence, Run("t-1", "r-1", adopted=adopted))

        with pytest.raises(StaleRun):
            await scene.decide(fence, Disown("t-2" if adopted else "t-1", "another's"))

        assert (await scene.get(fence.job_id)).status == "running"


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
    await wait_until(lambda: has((QUEUE_CHANGED, ACCEPTED)))

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
    await scene.keep(fence, 0)
    await scene.finish(fence)
    await wait_until(lambda: has((JOB_CHANGED, str(job_id))))

    failing = await scene.running("t-2")
    heard.clear()
    await scene.decide(failing, Fail("InternalError", "no", task=ENDED))
    await wait_until(lambda: has((QUEUE_CHANGED, ""), (JOB_CHANGED, str(failing.job_id))))
