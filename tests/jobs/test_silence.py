"""Attacks on silence: what stands still must call a person."""

from datetime import timedelta

import pytest

from app.dashscope.outcomes import Refused
from app.jobs.core.state import Created, RequeueAsked
from app.jobs.lifecycle import Run
from tests.jobs.scene import Scene
from tests.jobs.watcher import SETTLED, Watcher, watching

TEN_MINUTES = timedelta(minutes=10)

REFUSALS = {
    "Arrearage": Refused(400, "Arrearage", "pay", "r"),
    "AllocationQuota": Refused(429, "Throttling.AllocationQuota", "used up", "r"),
    "Throttling": Refused(429, "Throttling.RateQuota", "slow", "r"),
    "ModelServingError": Refused(429, "ModelServingError", "busy", "r"),
    "crowded": Refused(429, "Throttling.Concurrency", "crowded", "r"),
    "AccessDenied": Refused(403, "AccessDenied", "no", "r"),
    "InvalidApiKey": Refused(401, "InvalidApiKey", "no", "r"),
}


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_job_that_is_refused_for_hours_calls_a_person(watcher: Watcher, code: str) -> None:
    """Pauses and delays are those of the program; four hours in steps of five minutes."""
    pool = watcher.scene.pool
    job_id = await watcher.scene.accept(ttl_seconds=86_400)
    claims = 0
    suspended = False
    for _ in range(48):
        submission, _ = await watcher.scene.try_claim()
        if submission is not None:
            claims += 1
            event = Created(submission.fence.attempt, REFUSALS[code])
            await watcher.desk.judge.hear_surely(job_id, event)
        await watcher.tick()
        suspended |= await pool.fetchval("select bool_or(is_suspended) from account_paces")
        await watcher.let_pass(timedelta(minutes=5))
        await pool.execute(
            "update account_paces set next_submit_at = next_submit_at - interval '5 min',"
            " paused_until = paused_until - interval '5 min',"
            " priming_held_until = priming_held_until - interval '5 min'"
        )
    run = await watcher.scene.run_of(job_id)
    assert run is not None
    assert run["attention_code"] is not None, f"{claims} claims, {suspended=}"


@pytest.mark.parametrize("fault", ["extra", "fail"])
async def test_a_disowned_job_that_was_denied_can_be_given_up(scene: Scene, fault: str) -> None:
    """Denied for two minutes and its slot given back; then it proves another's."""
    async with watching(scene, running_seconds=(1.0, 1.0)) as watcher:
        await watcher.upstream.arm({"on": "task", "do": fault})
        fence = await watcher.in_doubt()
        task_id = await watcher.create()
        await watcher.resolve()
        assert await watcher.task_of(fence) == task_id
        await scene.pool.execute(
            "update job_runs set attention_code = 'task_unknown', attention_since = now(),"
            " attention_detail = 'denied', slot = null"
        )
        await watcher.upstream.wait_for(task_id)
        await watcher.follow()
        assert (await watcher.job(fence)).status == "submitting"
        await watcher.upstream.arm({"on": "list", "do": "status", "status": 403})
        await watcher.let_pass(timedelta(hours=2))
        for _ in range(3):
            await watcher.resolve()
            await watcher.review()
            await watcher.tick()
        actions = await watcher.desk.judge.hear(fence.job_id, RequeueAsked("gone"))
        run = await watcher.run_of(fence)
        assert actions, (run["status"], run["attention_code"])


@pytest.mark.parametrize("end", ["finalizing", "succeeded"])
async def test_an_answer_whose_task_another_has_had_is_not_lost_in_silence(
    watcher: Watcher, end: str
) -> None:
    """The guess has had the pictures; the owner's own answer comes late."""
    owner = await watcher.sent(await watcher.add_lane())
    thief = await watcher.in_doubt()
    task_id = await watcher.create()
    await watcher.scene.decide(thief, Run(task_id, "r", adopted=True))
    await watcher.upstream.wait_for(task_id)
    await watcher.follow()
    if end == "succeeded":
        await watcher.scene.keep(thief, 0)
        await watcher.scene.finish(thief)
    await watcher.hear_accepted(owner, task_id)
    await watcher.let_pass(SETTLED)
    await watcher.prove()
    assert (await watcher.job(owner)).status == "queued"
