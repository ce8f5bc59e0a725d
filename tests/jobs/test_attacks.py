"""Attacks: what the promises of docs/lifecycle.md say, and what happens."""

from datetime import timedelta

import pytest
from pydantic import SecretStr

from app.accounts.keys import replace_keys
from app.accounts.store import get_account
from app.jobs.core.state import RequeueAsked
from app.jobs.engine.strays import LATE_WATCH
from app.jobs.lifecycle import UPSTREAM_MEMORY, Fence, Run
from app.kit.crypto import Vault
from app.kit.postgres.database import Sessions
from tests.dashscope.upstreams import calling
from tests.jobs.scene import Scene
from tests.jobs.test_waste import expect_bill
from tests.jobs.watcher import KEYS, RULES, SETTLED, Watcher, watching


async def hold_back(watcher: Watcher, fence: Fence) -> None:
    await watcher.scene.pool.execute(
        "update job_runs set due_at = now() + interval '1 day' where job_id = $1", fence.job_id
    )


async def flag(watcher: Watcher, fence: Fence, code: str) -> None:
    await watcher.scene.pool.execute(
        "update job_runs set attention_code = $2, attention_since = now(),"
        " attention_detail = 'd' where job_id = $1",
        fence.job_id,
        code,
    )


@pytest.mark.parametrize("fault", ["extra", "no_usage", "no_url", "plain"])
async def test_own_task_of_a_lost_answer_is_not_sent_twice(watcher: Watcher, fault: str) -> None:
    if fault != "plain":
        await watcher.upstream.arm({"on": "task", "do": fault})
    fence = await watcher.in_doubt()
    await watcher.ended()
    await watcher.upstream.arm()
    await watcher.let_pass(SETTLED)
    await watcher.prove()
    job = await watcher.job(fence)
    orphans = await watcher.orphans()
    assert job.status in ("running", "submitting"), (job.status, orphans)


async def test_a_late_task_that_another_job_disowned_is_waste(scene: Scene) -> None:
    async with watching(scene, running_seconds=(1.0, 1.0)) as watcher:
        first = await watcher.given_up()
        await hold_back(watcher, first)
        task_id = await watcher.create()
        other = await watcher.in_doubt(prompt="make it red")
        await watcher.resolve()
        assert await watcher.task_of(other) == task_id
        await watcher.upstream.wait_for(task_id)
        await watcher.follow()
        assert await watcher.orphans() == {task_id: "foreign"}
        for _ in range(3):
            await watcher.resolve()
            await watcher.find_late()
            await watcher.settle()
        assert await watcher.orphans() == {task_id: "wasted"}


async def test_the_late_answer_of_a_create_given_up_is_put_down(scene: Scene) -> None:
    """The answer names the task of a create that a person gave up meanwhile."""
    async with watching(scene, running_seconds=(1.0, 1.0)) as watcher:
        owner = await watcher.in_doubt()
        await flag(watcher, owner, "submission_unknown")
        task_id = await watcher.create()
        await watcher.desk.judge.hear(owner.job_id, RequeueAsked("gone"))
        await hold_back(watcher, owner)
        await watcher.hear_accepted(owner, task_id)
        await watcher.upstream.wait_for(task_id)
        for _ in range(3):
            await watcher.find_late()
            await watcher.settle()
        await expect_bill(watcher, delivered=0, wasted=1)


async def test_control_a_late_task_is_waste(watcher: Watcher) -> None:
    first = await watcher.given_up()
    await hold_back(watcher, first)
    task_id = await watcher.ended()
    for _ in range(2):
        await watcher.find_late()
        await watcher.settle()
    assert await watcher.orphans() == {task_id: "wasted"}


async def test_a_late_task_that_runs_for_long_is_waste(watcher: Watcher) -> None:
    first = await watcher.given_up()
    await hold_back(watcher, first)
    task_id = await watcher.create()
    await watcher.find_late()
    await watcher.let_pass(LATE_WATCH + timedelta(minutes=1))
    await watcher.upstream.wait_for(task_id)
    for _ in range(2):
        await watcher.find_late()
        await watcher.settle()
    assert await watcher.orphans() == {task_id: "wasted"}


@pytest.mark.parametrize("slot", ["kept", "given back"])
async def test_a_disowned_job_can_be_given_up(scene: Scene, slot: str) -> None:
    async with watching(scene, running_seconds=(1.0, 1.0)) as watcher:
        fence = await watcher.in_doubt(prompt="make it red")
        task_id = await watcher.create()
        await watcher.resolve()
        assert await watcher.task_of(fence) == task_id
        if slot == "given back":
            await watcher.let_pass(RULES.slot_held_for + timedelta(minutes=1))
            await watcher.tick()
            assert (await watcher.run_of(fence))["slot"] is None
        await watcher.upstream.wait_for(task_id)
        await watcher.follow()
        assert (await watcher.job(fence)).status == "submitting"
        await watcher.let_pass(timedelta(days=1))
        for _ in range(3):
            await watcher.resolve()
            await watcher.review()
            await watcher.tick()
        run = await watcher.run_of(fence)
        actions = await watcher.desk.judge.hear(fence.job_id, RequeueAsked("gone"))
        assert actions, (run["status"], run["attention_code"], run["attention_detail"])


@pytest.mark.parametrize("end", ["control", "task_lost", "given_up"])
async def test_a_forgotten_task_spoils_no_proof(watcher: Watcher, end: str) -> None:
    """The upstream has lost a task that it accepted; another create made none."""
    if end != "control":
        ghost = await watcher.scene.submitting()
        await watcher.scene.decide(ghost, Run("ghost", "r"))
        await flag(watcher, ghost, "task_unknown")
        await watcher.desk.judge.hear(ghost.job_id, RequeueAsked("lost"))
        await hold_back(watcher, ghost)
        await watcher.scene.pool.execute(
            "update attempts set error_code = $1 where error_code = 'given_up'", end
        )
    fence = await watcher.in_doubt()
    await watcher.let_pass(SETTLED)
    await watcher.prove()
    assert (await watcher.job(fence)).status == "queued"


async def test_the_same_key_set_again_has_its_tasks_found(
    watcher: Watcher, sessions: Sessions, vault: Vault
) -> None:
    """The upstream lists them under the name that its removed lane holds."""
    await watcher.running()
    await watcher.follow()
    async with sessions.begin() as session:
        account = await get_account(session, str(watcher.scene.account_id))
        await replace_keys(session, vault, account, SecretStr("sk-0123456789abcdef"), actor="me")
    lane_id = await watcher.scene.pool.fetchval("select id from lanes where removed_at is null")
    await watcher.scene.accept()
    fence = (await watcher.scene.claim(lane_id=lane_id)).fence
    await watcher.ended(KEYS[0])
    await watcher.let_pass(timedelta(minutes=2))
    for _ in range(2):
        await watcher.known()
        await watcher.resolve()
        await watcher.resolve()

    assert (await watcher.job(fence)).status == "running"


async def test_a_revoked_key_hides_no_task_from_the_others(watcher: Watcher) -> None:
    fence, task_id = await watcher.running()
    await watcher.upstream.wait_for(task_id)
    refuse = {"do": "status", "status": 401, "code": "InvalidApiKey", "match": {"key": KEYS[0]}}
    await watcher.upstream.arm({"on": "list", **refuse}, {"on": "query", **refuse})
    async with calling(watcher.upstream.base_url, KEYS[1]) as other:
        watcher.desk.view.others = (other,)
        for _ in range(3):
            await watcher.let_pass(timedelta(seconds=20))
            await watcher.follow()

    assert (await watcher.job(fence)).status == "finalizing"


async def test_a_task_taken_back_after_it_was_waste_is_paid_once(watcher: Watcher) -> None:
    owner = await watcher.sent(await watcher.add_lane())
    thief = await watcher.in_doubt()
    task_id = await watcher.create()
    await watcher.scene.decide(thief, Run(task_id, "r", adopted=True))
    await flag(watcher, thief, "task_unknown")
    await watcher.desk.judge.hear(thief.job_id, RequeueAsked("gone"))
    await watcher.upstream.wait_for(task_id)
    await watcher.settle()
    assert await watcher.orphans() == {task_id: "wasted"}
    await watcher.hear_accepted(owner, task_id)
    await watcher.deliver(owner)
    await expect_bill(watcher, delivered=1, wasted=0)


async def test_the_own_answer_outweighs_the_own_guess(scene: Scene) -> None:
    async with watching(scene, running_seconds=(1.0, 1.0)) as watcher:
        fence = await watcher.in_doubt()
        guess = await watcher.create(images=["https://img.example/another.png"])
        await watcher.resolve()
        assert await watcher.task_of(fence) == guess
        own = await watcher.create()

        await watcher.hear_accepted(fence, own)
        await watcher.hear_accepted(fence, own)

        assert await watcher.task_of(fence) == own
        (attempt,) = await scene.attempts_of(fence.job_id)
        assert (attempt["outcome"], attempt["upstream_task_id"]) == ("accepted", own)


async def test_an_orphan_that_cannot_be_asked_for_ends_some_day(watcher: Watcher) -> None:
    fence, task_id = await watcher.running()
    await flag(watcher, fence, "task_unknown")
    await watcher.desk.judge.hear(fence.job_id, RequeueAsked("gone"))
    await watcher.upstream.arm({"on": "query", "do": "status", "status": 404, "code": "NotFound"})
    await watcher.let_pass(UPSTREAM_MEMORY)
    await watcher.settle()
    assert await watcher.orphans() == {task_id: "watched"}

    await watcher.let_pass(UPSTREAM_MEMORY * 2)
    await watcher.settle()
    assert await watcher.orphans() == {task_id: "lost"}


async def test_an_adopted_task_with_more_than_was_asked_sends_nothing_again(scene: Scene) -> None:
    async with watching(scene, running_seconds=(1.0, 1.0)) as watcher:
        await watcher.upstream.arm({"on": "task", "do": "extra"})
        fence = await watcher.in_doubt()
        task_id = await watcher.create()
        await watcher.resolve()
        assert await watcher.task_of(fence) == task_id
        await watcher.upstream.wait_for(task_id)
        await watcher.upstream.arm()
        await watcher.follow()
        await watcher.let_pass(SETTLED)
        await watcher.prove()
        await watcher.let_pass(RULES.review_after)
        for _ in range(2):
            await watcher.resolve()

        run = await watcher.run_of(fence)
        assert (run["status"], run["attention_code"]) == ("submitting", "submission_unknown")
        assert len(await scene.attempts_of(fence.job_id)) == 1
