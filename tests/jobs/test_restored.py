"""Jobs that a restored backup had on their way: found again, and never sent anew unasked."""

from dataclasses import replace
from datetime import timedelta

import pytest

from app.dashscope.outcomes import NotSent
from app.jobs.core.restored import RESTORED_CODE
from app.jobs.core.state import Created, RequeueAsked
from app.jobs.engine.judge import Judge
from app.jobs.lifecycle import Action, Doubt, Fence, Flag, JobStatus, Requeue, Run, Stop
from app.jobs.moves.restored import end_leases, hold_jobs
from app.jobs.requeue import Agreement, RequeueResult, requeue_job
from app.kit.postgres.database import transaction
from tests.jobs.news import (
    JOB_TTL,
    NOON,
    RULES,
    RUNNING,
    SUBMITTING,
    answer,
    candidate,
    create,
    hear,
    look,
    picture,
    query,
)
from tests.jobs.scene import Scene

REASON = "not in the console's list"
FAILED = answer("FAILED", code="InternalError.Timeout", message="it took too long")
IN_DOUBT = replace(SUBMITTING, is_restored=True)
UPSTREAM = replace(RUNNING, is_restored=True)


async def restore(scene: Scene) -> int:
    async with transaction(scene.pool) as connection:
        return await hold_jobs(connection)


def expect_held(actions: tuple[Action, ...], *, left: timedelta = JOB_TTL) -> None:
    """Queued until the job's own end, with a word to a person."""
    requeue, flag = actions
    assert isinstance(requeue, Requeue)
    assert (requeue.delay_seconds, requeue.keeps_attention) == (left.total_seconds(), True)
    assert isinstance(flag, Flag)
    assert flag.code == RESTORED_CODE


def test_a_create_of_the_backup_that_made_nothing_waits_for_a_person() -> None:
    absent = NotSent("no connection")
    expect_held(create(absent, IN_DOUBT))
    assert isinstance(create(absent)[0], Requeue)
    assert len(create(absent)) == 1

    unlisted = replace(IN_DOUBT, unlisted_at=NOON)
    age = RULES.settle + RULES.looks_apart
    expect_held(look(age=age, run=unlisted), left=JOB_TTL - age)


def test_a_task_of_the_backup_that_failed_waits_for_a_person() -> None:
    expect_held(query(FAILED, UPSTREAM))


def test_what_the_backup_had_on_its_way_is_found_and_kept_as_ever() -> None:
    assert isinstance(look(candidate("t-9"), run=IN_DOUBT)[0], Run)
    whole = answer("SUCCEEDED", picture("a"))
    assert query(whole, UPSTREAM) == query(whole)


def test_a_wish_goes_before() -> None:
    reviewed = replace(IN_DOUBT, attention_code="submission_unknown")
    (requeue,) = hear(reviewed, RequeueAsked(REASON))
    assert isinstance(requeue, Requeue)
    assert requeue.delay_seconds == 0

    unwanted = replace(IN_DOUBT, is_cancel_asked=True)
    (stop,) = create(NotSent("no connection"), unwanted)
    assert isinstance(stop, Stop)


async def test_a_queued_job_is_not_claimed_before_a_person_says_so(scene: Scene) -> None:
    job_id = await scene.accept()

    assert await restore(scene) == 1

    assert (await scene.try_claim())[0] is None
    job = await scene.get(job_id)
    assert job.attention is not None
    assert job.attention["code"] == RESTORED_CODE
    assert "job.attention" in await scene.story_of(job_id)

    assert await requeue_job(scene.pool, job_id, reason=REASON) is RequeueResult.START_NOW
    assert (await scene.get(job_id)).attention is None
    assert (await scene.claim()).fence == Fence(job_id, 1)


async def test_a_job_that_comes_after_the_restore_is_not_held(scene: Scene) -> None:
    await scene.accept()
    await restore(scene)

    newer = await scene.accept()

    assert (await scene.claim()).fence.job_id == newer


async def test_other_marks_of_a_queued_job_stay_when_it_is_hastened(scene: Scene) -> None:
    fence = await scene.submitting()
    await scene.decide(fence, Requeue("absent", "not_sent", "no", keeps_attention=True))
    await scene.decide(fence, Flag("cannot_be_sent", "five tries"))

    await requeue_job(scene.pool, fence.job_id, reason=REASON)

    attention = (await scene.get(fence.job_id)).attention
    assert attention is not None
    assert attention["code"] == "cannot_be_sent"


@pytest.mark.parametrize("was_doubted", [True, False])
async def test_a_create_under_way_in_the_backup_is_not_repeated(
    scene: Scene, *, was_doubted: bool
) -> None:
    fence = await scene.submitting()
    if was_doubted:
        await scene.decide(fence, Doubt("no answer"))
    assert await restore(scene) == 0

    await Judge(scene.pool, RULES).hear(fence.job_id, Created(1, NotSent("no connection")))

    run = await scene.run_of(fence.job_id)
    assert run is not None
    assert (run["status"], run["attention_code"]) == (JobStatus.QUEUED, RESTORED_CODE)
    assert abs(run["due_at"] - run["expires_at"]) < timedelta(seconds=1)
    assert (await scene.try_claim())[0] is None


async def test_a_person_gives_up_what_the_backup_had_under_way_and_it_goes_at_once(
    scene: Scene,
) -> None:
    fence = await scene.running()
    await restore(scene)
    await scene.decide(fence, Flag("task_unknown", "not known"))

    agreed = Agreement(1, JobStatus.RUNNING)
    await requeue_job(scene.pool, fence.job_id, reason=REASON, agreed=agreed)

    assert (await scene.claim()).fence == Fence(fence.job_id, 2)
    await Judge(scene.pool, RULES).hear(fence.job_id, Created(2, NotSent("no connection")))
    run = await scene.run_of(fence.job_id)
    assert run is not None
    assert run["attention_code"] is None


async def test_nobody_holds_a_job_whose_process_has_not_come_along(scene: Scene) -> None:
    fence = await scene.submitting()

    async with transaction(scene.pool) as connection:
        await end_leases(connection)

    left = "select lease_expires_at - now() from job_runs where job_id = $1"
    assert await scene.pool.fetchval(left, fence.job_id) <= timedelta(0)
