"""The wish to stop a job: in every state, racing every step, never losing a paid picture."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from app.dashscope.outcomes import NotSent, OutcomeUnknown, Refused
from app.jobs.cancel import CancelResult, cancel_job, cancel_queued_job
from app.jobs.core.state import Created, Listed, ListProof, Unprepared
from app.jobs.lifecycle import Fence, Requeue, Run
from app.kit.errors import NotFound
from tests.jobs.scene import CannotWrite, Scene, ended_with, fail_to_write
from tests.jobs.watcher import SETTLED, Watcher, watching

URL = "https://result.example/a.png?Signature=s"
THROTTLED = Refused(429, "Throttling.RateQuota", "slower", "r-1")
CANCELED_FOR_FREE = [(1, 0, 0, 1, 0, 0, "0.000000")]


@pytest.fixture
async def waiting(scene: Scene) -> AsyncIterator[Watcher]:
    """An upstream whose tasks wait for an hour before they run."""
    async with watching(scene, pending_seconds=(3_600, 3_600)) as watcher:
        yield watcher


async def ask(scene: Scene, job_id: UUID) -> CancelResult:
    return await cancel_job(scene.pool, job_id, team_id=scene.team_id)


async def expect_free(scene: Scene, job_id: UUID) -> None:
    job = await scene.get(job_id)
    assert (job.status, job.amount, job.image_count) == ("canceled", Decimal(0), 0)
    assert [kind for kind, _, _ in await scene.entries_of(job_id)] == ["reserve", "release"]
    assert await scene.usage() == CANCELED_FOR_FREE
    await scene.expect_books_in_order()


class TestQueued:
    async def test_a_queued_job_is_canceled_for_free(self, scene: Scene) -> None:
        job_id = await scene.accept(n=4)

        assert await ask(scene, job_id) is CancelResult.CANCELED

        await expect_free(scene, job_id)
        assert (await scene.get(job_id)).error_code is None
        assert await scene.attempts_of(job_id) == []

    async def test_it_stays_queued_when_its_witness_cannot_write_it_down(
        self, scene: Scene
    ) -> None:
        job_id = await scene.accept()

        with pytest.raises(CannotWrite):
            await cancel_job(scene.pool, job_id, team_id=None, witness=fail_to_write)

        assert (await scene.get(job_id)).status == "queued"

    async def test_a_job_that_went_back_to_the_queue_can_be_canceled(self, scene: Scene) -> None:
        fence = await scene.submitting()
        await scene.decide(fence, Requeue("absent", "not_sent", "away"))

        assert await cancel_queued_job(scene.pool, fence.job_id, team_id=scene.team_id)

        await expect_free(scene, fence.job_id)

    async def test_a_wish_for_queued_jobs_only_is_too_late_once_the_create_is_on_its_way(
        self, scene: Scene
    ) -> None:
        fence = await scene.submitting()

        assert not await cancel_queued_job(scene.pool, fence.job_id, team_id=scene.team_id)

        run = await scene.run_of(fence.job_id)
        assert run is not None
        assert (run["status"], run["cancel_requested_at"]) == ("submitting", None)

    async def test_nobody_cancels_another_teams_job_but_an_operator(self, scene: Scene) -> None:
        job_id = await scene.accept()

        with pytest.raises(NotFound):
            await cancel_job(scene.pool, job_id, team_id=UUID(int=1))
        assert not await cancel_queued_job(scene.pool, job_id, team_id=UUID(int=1))
        assert (await scene.get(job_id)).status == "queued"

        assert await cancel_queued_job(scene.pool, job_id, team_id=None)
        assert not await cancel_queued_job(scene.pool, job_id, team_id=None)

    async def test_twice_is_the_same_as_once(self, scene: Scene) -> None:
        job_id = await scene.accept()

        results = await asyncio.gather(*(ask(scene, job_id) for _ in range(4)))

        assert set(results) == {CancelResult.CANCELED}
        assert (await scene.story_of(job_id)).count("job.canceled") == 1
        await expect_free(scene, job_id)

    async def test_racing_a_claim_a_job_is_either_stopped_or_told_to_stop(
        self, scene: Scene
    ) -> None:
        for _ in range(8):
            job_id = await scene.accept()
            result, (claimed, _) = await asyncio.gather(
                ask(scene, job_id), scene.try_claim(slots=20)
            )
            if claimed is None:
                assert result is CancelResult.CANCELED
                assert await scene.attempts_of(job_id) == []
            else:
                assert result is CancelResult.ASKED
                await scene.decide(claimed.fence, Run(f"t-{job_id}", "r"))
        await scene.expect_books_in_order()


class TestSubmitting:
    """The create is on its way: what comes of it decides."""

    async def test_the_wish_is_noted_once(self, scene: Scene) -> None:
        fence = await scene.submitting()

        results = await asyncio.gather(*(ask(scene, fence.job_id) for _ in range(3)))

        assert set(results) == {CancelResult.ASKED}
        assert (await scene.get(fence.job_id)).status == "submitting"
        assert (await scene.story_of(fence.job_id)).count("job.cancel_asked") == 1

    @pytest.mark.parametrize(
        "outcome",
        [THROTTLED, NotSent("away"), Unprepared("slow")],
        ids=["refused", "not sent", "unprepared"],
    )
    async def test_a_create_that_made_nothing_ends_the_job_for_free(
        self, watcher: Watcher, outcome: Any
    ) -> None:
        fence = await watcher.sent()
        await ask(watcher.scene, fence.job_id)

        await watcher.desk.judge.hear(fence.job_id, Created(1, outcome))

        await expect_free(watcher.scene, fence.job_id)
        (attempt,) = await watcher.scene.attempts_of(fence.job_id)
        assert attempt["outcome"] in ("refused", "absent")

    async def test_a_request_at_fault_fails_all_the_same(self, watcher: Watcher) -> None:
        fence = await watcher.sent()
        await ask(watcher.scene, fence.job_id)
        refused = Refused(400, "InvalidParameter", "no", "r-1")

        await watcher.desk.judge.hear(fence.job_id, Created(1, refused))

        assert (await watcher.job(fence)).status == "failed"
        await watcher.scene.expect_books_in_order()

    async def test_a_create_in_doubt_that_made_nothing_ends_the_job_for_free(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.in_doubt()
        await ask(watcher.scene, fence.job_id)
        await watcher.let_pass(SETTLED)

        await watcher.prove()

        await expect_free(watcher.scene, fence.job_id)

    async def test_a_create_in_doubt_that_made_a_task_delivers_its_picture(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.in_doubt()
        await ask(watcher.scene, fence.job_id)
        await watcher.ended()

        await watcher.resolve()
        await watcher.deliver(fence)

        assert (await watcher.job(fence)).status == "succeeded"

    async def test_an_adopted_task_that_waits_is_not_canceled_for_it_may_be_anothers(
        self, waiting: Watcher
    ) -> None:
        fence = await waiting.in_doubt()
        await ask(waiting.scene, fence.job_id)
        await waiting.create()

        await waiting.resolve()
        await waiting.follow()

        assert (await waiting.job(fence)).status == "running"
        assert await waiting.calls("cancel") == 0

    async def test_a_task_that_was_made_is_canceled_while_it_waits(self, waiting: Watcher) -> None:
        fence = await waiting.sent()
        await ask(waiting.scene, fence.job_id)

        await waiting.hear_accepted(fence, await waiting.create())
        for _ in range(2):
            await waiting.follow()

        await expect_free(waiting.scene, fence.job_id)


class TestRunning:
    async def test_a_task_that_waits_is_canceled_upstream_and_the_job_is_free(
        self, waiting: Watcher
    ) -> None:
        fence, task_id = await waiting.running()

        assert await ask(waiting.scene, fence.job_id) is CancelResult.ASKED
        await waiting.follow()
        assert (await waiting.upstream.query(task_id))["output"]["task_status"] == "CANCELED"
        await waiting.follow()

        await expect_free(waiting.scene, fence.job_id)
        (attempt,) = await waiting.scene.attempts_of(fence.job_id)
        assert attempt["task_status"] == "CANCELED"

    async def test_the_answer_to_the_cancel_is_not_needed(self, waiting: Watcher) -> None:
        fence, _ = await waiting.running()
        await ask(waiting.scene, fence.job_id)
        await waiting.upstream.arm({"on": "cancel", "do": "reset", "when": "after"})

        for _ in range(2):
            await waiting.follow()

        await expect_free(waiting.scene, fence.job_id)

    async def test_a_cancel_that_fails_is_tried_again(self, waiting: Watcher) -> None:
        fence, _ = await waiting.running()
        await ask(waiting.scene, fence.job_id)
        await waiting.upstream.arm({"on": "cancel", "do": "status", "status": 500, "times": 1})

        await waiting.follow()
        assert (await waiting.job(fence)).status == "running"
        for _ in range(2):
            await waiting.follow()

        await expect_free(waiting.scene, fence.job_id)

    async def test_a_task_that_runs_completes_and_its_picture_is_kept(
        self, watcher: Watcher
    ) -> None:
        fence, _ = await watcher.running()

        assert await ask(watcher.scene, fence.job_id) is CancelResult.ASKED
        await watcher.deliver(fence)

        job = await watcher.job(fence)
        assert (job.status, job.image_count) == ("succeeded", 1)
        assert await watcher.calls("cancel") == 0
        await watcher.scene.expect_books_in_order()

    async def test_a_task_that_ran_before_the_cancel_came_delivers(self, scene: Scene) -> None:
        async with watching(scene, pending_seconds=(1.0, 1.0)) as watcher:
            fence, _ = await watcher.running()
            await ask(scene, fence.job_id)
            await watcher.upstream.arm({"on": "cancel", "do": "hang", "seconds": 1.2})

            await watcher.follow()
            assert await watcher.calls("cancel") == 1
            await watcher.deliver(fence)

        assert (await scene.get(fence.job_id)).status == "succeeded"
        await scene.expect_books_in_order()

    async def test_a_failed_task_is_not_tried_again(self, watcher: Watcher) -> None:
        await watcher.upstream.arm({"on": "task", "do": "fail"})
        fence, task_id = await watcher.running()
        await ask(watcher.scene, fence.job_id)
        await watcher.upstream.wait_for(task_id)

        await watcher.follow()

        await expect_free(watcher.scene, fence.job_id)

    async def test_racing_the_end_of_its_task_no_picture_is_lost(self, watcher: Watcher) -> None:
        pairs = [await watcher.running() for _ in range(4)]
        for _, task_id in pairs:
            await watcher.upstream.wait_for(task_id)

        await asyncio.gather(
            watcher.follow(), *(ask(watcher.scene, fence.job_id) for fence, _ in pairs)
        )
        await watcher.follow()

        for fence, _ in pairs:
            assert (await watcher.job(fence)).status == "finalizing"
        assert await watcher.scene.pool.fetchval("select count(*) from pictures") == 4


class TestTooLate:
    async def test_pictures_that_are_being_kept_are_kept(self, scene: Scene) -> None:
        fence = await scene.finalizing(URL)

        assert await ask(scene, fence.job_id) is CancelResult.TOO_LATE

        await scene.keep(fence, 0)
        await scene.finish(fence)
        assert (await scene.get(fence.job_id)).status == "succeeded"
        assert await ask(scene, fence.job_id) is CancelResult.TOO_LATE
        await scene.expect_books_in_order()

    async def test_a_canceled_job_stays_canceled(self, scene: Scene) -> None:
        job_id = await scene.accept()
        await ask(scene, job_id)

        assert await ask(scene, job_id) is CancelResult.CANCELED


RACES: dict[str, Any] = {
    "accepted": None,
    "refused": Created(1, THROTTLED),
    "not sent": Created(1, NotSent("away")),
    "doubt": Created(1, OutcomeUnknown("reset")),
    "not made": Listed(1, proof=ListProof.FRESH),
    "ended": "collect",
}


@pytest.mark.parametrize("race", RACES, ids=list(RACES))
async def test_racing_any_news_the_job_ends_free_or_delivers_and_the_books_agree(
    watcher: Watcher, race: str
) -> None:
    scene = watcher.scene
    for number in range(4):
        await scene.pool.execute(
            "update account_paces set paused_until = null, pause_code = null, is_suspended = false"
        )
        fence = await watcher.sent()
        await asyncio.gather(
            ask(scene, fence.job_id), _happen(watcher, fence, race, f"{race}-{number}")
        )
        job = await scene.get(fence.job_id)
        match race:
            case "accepted":
                assert job.status == "running"
                await scene.decide(fence, ended_with(URL))
            case "ended":
                assert job.status == "finalizing"
            case "doubt":
                assert job.status == "submitting"
                await scene.decide(fence, Run(f"{race}-{number}", "r", adopted=True))
                await scene.decide(fence, ended_with(URL))
            case _:
                # The wish was first, or it found the job in the queue.
                assert job.status == "canceled"
                assert job.amount == 0
    await scene.expect_books_in_order()


async def _happen(watcher: Watcher, fence: Fence, race: str, task_id: str) -> None:
    judge, scene = watcher.desk.judge, watcher.scene
    match race:
        case "accepted":
            await watcher.hear_accepted(fence, task_id)
        case "ended":
            await scene.decide(fence, Run(task_id, "r"))
            await scene.decide(fence, ended_with(URL))
        case "not made":
            await scene.pool.execute(
                "update attempts set intended_at = intended_at - $1::interval,"
                " unlisted_at = intended_at",
                SETTLED,
            )
            await judge.hear_surely(fence.job_id, RACES[race])
        case _:
            await judge.hear_surely(fence.job_id, RACES[race])
