"""A job tried again by a person: in each state as it may be, never twice, never unnoticed."""

import asyncio
from uuid import UUID

import pytest

from app.jobs import requeue
from app.jobs.cancel import cancel_job
from app.jobs.events import PICTURES_WAITING, QUEUE_CHANGED
from app.jobs.lifecycle import Decision, Doubt, Fence, Flag, JobStatus, Review, Run
from app.jobs.requeue import (
    REASON_CHARACTERS_LIMIT,
    Agreement,
    CostNotAgreed,
    RequeueResult,
    requeue_job,
)
from app.kit.errors import Conflict, GatewayError, InvalidRequest, NotFound
from app.kit.ids import make_uuid7
from app.kit.postgres.database import Pool, connect
from tests.jobs.scene import CannotWrite, Scene, fail_to_write

REASON = "looked it up: no task of ours"
CANDIDATES = "these tasks may be this job's: t-7"
LATER = "update job_runs set due_at = now() + interval '1 hour' where job_id = $1"


async def in_review(scene: Scene) -> Fence:
    """A job whose create is in doubt for so long that a person must look."""
    fence = await scene.submitting()
    await scene.decide(fence, Doubt("no answer"))
    await scene.decide(fence, Review("submission_unknown", CANDIDATES))
    return fence


async def ask(scene: Scene, job_id: UUID, *, is_cost_agreed: bool = True) -> RequeueResult:
    agreed = await shown_of(scene, job_id) if is_cost_agreed else None
    return await requeue_job(scene.pool, job_id, reason=REASON, agreed=agreed)


async def shown_of(scene: Scene, job_id: UUID) -> Agreement | None:
    run = await scene.run_of(job_id)
    return None if run is None else Agreement(run["attempt"], JobStatus(run["status"]))


async def test_who_agreed_to_an_attempt_that_is_over_is_refused_and_shown_the_new_one(
    scene: Scene,
) -> None:
    fence = await in_review(scene)
    agreed = await shown_of(scene, fence.job_id)
    await ask(scene, fence.job_id)
    second = (await scene.claim()).fence
    await scene.decide(second, Doubt("no answer"))
    await scene.decide(second, Review("submission_unknown", "none"))
    before = await scene.run_of(fence.job_id)

    with pytest.raises(CostNotAgreed, match="1-submitting, but the job has moved on") as refused:
        await requeue_job(scene.pool, fence.job_id, reason=REASON, agreed=agreed)

    assert "--yes 2-submitting" in refused.value.message
    assert await scene.run_of(fence.job_id) == before


async def test_a_task_that_shows_after_the_agreement_makes_it_another_matter(
    scene: Scene,
) -> None:
    fence = await in_review(scene)
    agreed = await shown_of(scene, fence.job_id)
    await scene.decide(fence, Run("t-1", "r"))
    await scene.decide(fence, Flag("task_unknown", "not known"))

    with pytest.raises(CostNotAgreed, match="made task t-1"):
        await requeue_job(scene.pool, fence.job_id, reason=REASON, agreed=agreed)


@pytest.mark.parametrize("is_given_up", [True, False], ids=["attempt", "status"])
async def test_a_job_that_moves_on_between_the_look_and_the_deed_is_left_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, *, is_given_up: bool
) -> None:
    fence = await in_review(scene)
    find = requeue._find_prospect

    async def find_and_move_on(pool: Pool, job_id: UUID) -> requeue.Prospect:
        prospect = await find(pool, job_id)
        monkeypatch.setattr(requeue, "_find_prospect", find)
        if is_given_up:
            await ask(scene, job_id)
            second = (await scene.claim()).fence
            await scene.decide(second, Doubt("no answer"))
            await scene.decide(second, Review("submission_unknown", "none"))
        else:
            await scene.decide(fence, Run("t-1", "r"))
            await scene.decide(fence, Flag("task_unknown", "not known"))
        return prospect

    monkeypatch.setattr(requeue, "_find_prospect", find_and_move_on)
    with pytest.raises(Conflict) as refused:
        await ask(scene, fence.job_id)

    assert refused.value.code == "job_moved_on"
    run = await scene.run_of(fence.job_id)
    assert run is not None
    assert run["status"] == ("submitting" if is_given_up else "running")


async def expect_refused(scene: Scene, job_id: UUID, code: str) -> GatewayError:
    """Refused with that code, and nothing of the job has changed."""
    run, story = await scene.run_of(job_id), await scene.story_of(job_id)

    with pytest.raises(Conflict) as refused:
        await ask(scene, job_id)

    assert refused.value.code == code
    assert await scene.run_of(job_id) == run
    assert await scene.story_of(job_id) == story
    return refused.value


async def test_a_create_in_review_is_given_up_and_its_job_waits_again(scene: Scene) -> None:
    fence = await in_review(scene)

    assert await ask(scene, fence.job_id) is RequeueResult.GIVE_UP

    run = await scene.run_of(fence.job_id)
    assert run is not None
    assert (run["status"], run["attention_code"], run["task_failures"]) == ("queued", None, 0)
    (attempt,) = await scene.attempts_of(fence.job_id)
    assert (attempt["outcome"], attempt["error_code"]) == ("absent", "given_up")
    assert attempt["error_message"] == REASON
    assert (await scene.claim()).fence == Fence(fence.job_id, 2)


@pytest.mark.parametrize("is_reviewed", [True, False])
async def test_nothing_is_done_when_its_witness_cannot_write_it_down(
    scene: Scene, *, is_reviewed: bool
) -> None:
    job_id = (await in_review(scene)).job_id if is_reviewed else await scene.accept()
    await scene.pool.execute(LATER, job_id)
    run, story = await scene.run_of(job_id), await scene.story_of(job_id)

    with pytest.raises(CannotWrite):
        await requeue_job(
            scene.pool,
            job_id,
            reason=REASON,
            agreed=await shown_of(scene, job_id),
            witness=fail_to_write,
        )

    assert await scene.run_of(job_id) == run
    assert await scene.story_of(job_id) == story


async def test_a_task_that_is_given_up_is_watched_so_that_its_cost_is_booked(scene: Scene) -> None:
    fence = await scene.running("t-1")
    await scene.decide(fence, Review("task_unknown", "not known"))

    assert await ask(scene, fence.job_id) is RequeueResult.GIVE_UP

    orphan = await scene.pool.fetchrow("select * from orphans")
    assert orphan is not None
    assert (orphan["upstream_task_id"], orphan["state"]) == ("t-1", "watched")
    assert (await scene.claim()).fence == Fence(fence.job_id, 2)


@pytest.mark.parametrize("decision", [None, Run("t-1", "r")], ids=["in doubt", "upstream"])
async def test_giving_up_may_cost_and_is_not_done_unless_that_is_agreed(
    scene: Scene, decision: Decision | None
) -> None:
    fence = await in_review(scene)
    if decision is not None:
        await scene.decide(fence, decision)
        await scene.decide(fence, Flag("task_unknown", "not known"))
    before = await scene.run_of(fence.job_id)

    with pytest.raises(CostNotAgreed) as refused:
        await ask(scene, fence.job_id, is_cost_agreed=False)

    known = (
        "made task t-1 (task_unknown"
        if decision
        else f"may have made a task (submission_unknown: {CANDIDATES}"
    )
    assert known in refused.value.message
    assert "0.20 CNY a second time" in refused.value.message
    assert await scene.run_of(fence.job_id) == before


async def test_whoever_agrees_is_told_when_the_jobs_time_is_over(scene: Scene) -> None:
    fence = await in_review(scene)
    await scene.pool.execute("update job_runs set expires_at = now()")

    with pytest.raises(CostNotAgreed, match="it expires instead"):
        await ask(scene, fence.job_id, is_cost_agreed=False)


async def test_a_job_that_was_asked_to_stop_ends_free_instead(scene: Scene) -> None:
    fence = await in_review(scene)
    await cancel_job(scene.pool, fence.job_id, team_id=None)

    with pytest.raises(CostNotAgreed, match="it ends free"):
        await ask(scene, fence.job_id, is_cost_agreed=False)
    assert await ask(scene, fence.job_id) is RequeueResult.END

    job = await scene.get(fence.job_id)
    assert job.status is JobStatus.CANCELED
    assert job.amount == 0
    await scene.expect_books_in_order()


async def test_a_queued_job_is_due_now_at_no_agreed_cost(scene: Scene) -> None:
    job_id = await scene.accept()
    await scene.pool.execute(LATER, job_id)

    assert await ask(scene, job_id, is_cost_agreed=False) is RequeueResult.START_NOW

    assert (await scene.claim()).fence == Fence(job_id, 1)
    assert "job.hastened" in await scene.story_of(job_id)


async def test_pictures_are_tried_again_now(scene: Scene) -> None:
    fence = await scene.finalizing("https://r.example/a.png")
    await scene.decide(fence, Flag("store_unavailable", "picture 0: full"))
    await scene.pool.execute(LATER, fence.job_id)

    assert await ask(scene, fence.job_id, is_cost_agreed=False) is RequeueResult.KEEP_NOW

    assert await scene.pool.fetchval("select due_at <= now() from job_runs")
    assert (await scene.get(fence.job_id)).status is JobStatus.FINALIZING


async def test_whoever_waits_for_work_is_woken(scene: Scene, database: str) -> None:
    woken: list[str] = []
    listener = await connect(database)
    for channel in (QUEUE_CHANGED, PICTURES_WAITING):
        await listener.add_listener(channel, lambda *told: woken.append(str(told[2])))
    fence = await scene.finalizing("https://r.example/a.png")
    job_id = await scene.accept()
    await listener.fetchval("select 1")
    woken.clear()

    await ask(scene, fence.job_id)
    await ask(scene, job_id)

    await listener.fetchval("select 1")
    assert woken == [PICTURES_WAITING, QUEUE_CHANGED]
    await listener.close()


@pytest.mark.parametrize("state", ["submitting", "running"])
async def test_a_job_on_its_way_is_left_alone(scene: Scene, state: str) -> None:
    fence = await (scene.running() if state == "running" else scene.submitting())

    refused = await expect_refused(scene, fence.job_id, "job_on_its_way")

    assert "wait, or cancel it" in refused.message


async def test_a_job_that_has_ended_wants_a_new_one(scene: Scene) -> None:
    job_id = await scene.accept()
    await cancel_job(scene.pool, job_id, team_id=None)

    refused = await expect_refused(scene, job_id, "job_finished")

    assert refused.message == f"job {job_id} is canceled: submit a new job"


async def test_a_job_that_is_not_there_is_not_found(scene: Scene) -> None:
    with pytest.raises(NotFound):
        await ask(scene, make_uuid7())


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "\x00", "x" * 501])
async def test_a_reason_that_says_nothing_is_refused(scene: Scene, reason: str) -> None:
    job_id = await scene.accept()

    with pytest.raises(InvalidRequest) as refused:
        await requeue_job(scene.pool, job_id, reason=reason)

    (problem,) = refused.value.problems
    assert problem.limits == {"max": REASON_CHARACTERS_LIMIT, "actual": len(reason)}
    assert await scene.story_of(job_id) == ["job.queued"]


async def test_of_two_people_at_once_one_gives_up_and_no_attempt_is_lost(scene: Scene) -> None:
    fence = await in_review(scene)

    outcomes = await asyncio.gather(
        *(ask(scene, fence.job_id) for _ in range(4)), return_exceptions=True
    )

    assert outcomes.count(RequeueResult.GIVE_UP) == 1
    others = [one for one in outcomes if one is not RequeueResult.GIVE_UP]
    assert all(
        one is RequeueResult.START_NOW or getattr(one, "code", None) == "job_moved_on"
        for one in others
    )
    assert (await scene.story_of(fence.job_id)).count("job.requeued") == 1
