"""A create that comes to nothing never holds up others, and is told to a person in time."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest

from app.dashscope.outcomes import Accepted, NotSent, Refused
from app.jobs.core.creates import TRIES_LIMIT
from app.jobs.core.state import Created, Rules
from app.jobs.engine.judge import Judge
from app.jobs.lifecycle import Fence
from app.media.store import StoreUnavailable
from tests.dashscope.upstreams import calling
from tests.emulator.client import SLOW, open_desk
from tests.jobs.scene import Scene
from tests.jobs.test_dispatch import RULES, Lane, stored

CROWDED = replace(SLOW, running_slots=2, queue_limit=1)
DENIED = Refused(403, "AccessDenied", "Access denied.", "r-1")


@pytest.fixture
async def lane(scene: Scene) -> AsyncIterator[Lane]:
    async with open_desk(CROWDED) as upstream, calling(upstream.base_url, "sk-desk") as api:
        yield Lane(scene, upstream, api)


@pytest.fixture
def judge(scene: Scene) -> Judge:
    return Judge(scene.pool, Rules(settle=RULES.settle, dice=lambda: 0.5))


async def make_due(scene: Scene) -> None:
    await scene.pool.execute("update job_runs set due_at = now() where status = 'queued'")
    await scene.pool.execute("update account_paces set paused_until = now() where pause_code > ''")


async def hear(scene: Scene, judge: Judge, outcome: NotSent | Refused | Accepted) -> Fence:
    fence = (await scene.claim()).fence
    await judge.hear(fence.job_id, Created(fence.attempt, outcome))
    return fence


@pytest.mark.parametrize("outcome", [NotSent("no route"), NotSent("slow", is_body=True), DENIED])
async def test_the_next_claim_is_another_job(
    scene: Scene, judge: Judge, outcome: NotSent | Refused
) -> None:
    first, second = await scene.accept(), await scene.accept()

    assert (await hear(scene, judge, outcome)).job_id == first
    await scene.pool.execute("update account_paces set paused_until = now() where pause_code > ''")

    assert (await scene.claim()).fence.job_id == second


@pytest.mark.parametrize("outcome", [NotSent("slow", is_body=True), DENIED])
async def test_from_the_fifth_try_on_it_has_attention_once_until_it_runs(
    scene: Scene, judge: Judge, outcome: NotSent | Refused
) -> None:
    job_id = await scene.accept()
    since = []
    for tries in range(1, TRIES_LIMIT + 3):
        await hear(scene, judge, outcome)
        run = await scene.run_of(job_id)
        assert run is not None
        assert (run["attention_code"] is not None) == (tries >= TRIES_LIMIT)
        since.append(run["attention_since"])
        await make_due(scene)

    assert len(set(since[TRIES_LIMIT - 1 :])) == 1
    assert (await scene.story_of(job_id)).count("job.attention") == 1

    await hear(scene, judge, Accepted("task-1", "r-2"))
    run = await scene.run_of(job_id)
    assert run is not None
    assert (run["status"], run["attention_code"]) == ("running", None)


async def test_a_body_that_is_never_whole_does_not_pause_its_account(
    scene: Scene, judge: Judge
) -> None:
    await scene.accept()
    for _ in range(TRIES_LIMIT + 1):
        await hear(scene, judge, NotSent("slow", is_body=True))
        await make_due(scene)

    row = await scene.pool.fetchrow("select pause_code, strikes, is_suspended from account_paces")
    assert row is not None
    assert tuple(row) == (None, 0, False)


async def test_a_refused_job_fails_once_another_was_taken_and_charges_its_team_the_turn(
    scene: Scene, judge: Judge
) -> None:
    guilty = (await _accept_and_hear(scene, judge, DENIED)).job_id
    await _accept_and_hear(scene, judge, Accepted("task-2", "r-2"))
    await make_due(scene)

    assert (await hear(scene, judge, DENIED)).job_id == guilty

    job = await scene.get(guilty)
    assert (job.status, job.error_code) == ("failed", "AccessDenied")
    assert job.error_message == "Access denied."
    assert await scene.pool.fetchval("select suspects from account_suspicions") == []
    await scene.expect_books_in_order()


async def test_who_waits_for_a_suspended_account_goes_when_it_takes_again(
    scene: Scene, judge: Judge
) -> None:
    jobs = [(await _accept_and_hear(scene, judge, DENIED)).job_id for _ in range(3)]
    assert await scene.pool.fetchval("select is_suspended from account_paces")
    await scene.pool.execute("update account_paces set paused_until = now()")

    await _accept_and_hear(scene, judge, Accepted("task-1", "r-1"))

    due = await scene.pool.fetch(
        "select job_id from job_runs where status = 'queued' and due_at <= now() order by job_id"
    )
    assert [row["job_id"] for row in due] == sorted(jobs)


async def test_the_inputs_that_cannot_be_read_are_told(lane: Lane) -> None:
    lane.inputs["a"] = StoreUnavailable("the disk is gone")
    job_id = await lane.scene.accept(images=[stored("a")])
    for _ in range(TRIES_LIMIT):
        await lane.work()
        await make_due(lane.scene)

    run = await lane.scene.run_of(job_id)
    assert run is not None
    assert run["attention_code"] == "cannot_be_sent"
    assert "inputs could not be prepared" in run["attention_detail"]


async def test_the_room_of_an_account_is_learned_from_one_refusal(lane: Lane) -> None:
    """The upstream has room for 3 tasks; the account is set to 6."""
    lane.slots = 6
    await lane.scene.pool.execute("update accounts set max_running = 6")
    for _ in range(8):
        await lane.scene.accept()

    await lane.work(times=7)

    rows = await lane.scene.pool.fetch("select outcome from attempts order by outcome")
    assert [row["outcome"] for row in rows] == ["accepted"] * 3 + ["refused"]
    assert await lane.scene.pool.fetchval("select priming from account_paces") == -3
    assert await _events(lane.scene, "account.room") == 1


async def _accept_and_hear(
    scene: Scene, judge: Judge, outcome: NotSent | Refused | Accepted
) -> Fence:
    job_id: UUID = await scene.accept()
    fence = await hear(scene, judge, outcome)
    assert fence.job_id == job_id
    return fence


async def _events(scene: Scene, name: str) -> int:
    count: int = await scene.pool.fetchval(
        "select count(*) from account_events where type = $1", name
    )
    return count
