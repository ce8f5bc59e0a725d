"""Whatever a task tells of its bill, and however its job ends: the books are the bill."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.jobs.cancel import cancel_queued_job
from app.jobs.core.state import RequeueAsked
from app.jobs.lifecycle import Doubt, Fail, Fence, JobStatus, Orphan, Requeue, Run, TaskFacts
from app.jobs.moves import StaleRun
from app.jobs.moves.pictures import lose_pictures
from app.kit.postgres.database import transaction
from tests.jobs.watcher import Watcher

FAULTS: dict[str, tuple[dict[str, Any], ...]] = {
    "as asked": (),
    "one more": ({"do": "extra"},),
    "no url": ({"do": "no_url"},),
    "first url": ({"do": "no_url", "indexes": [0]},),
    "no usage": ({"do": "no_usage"},),
    "silent": ({"do": "no_usage"}, {"do": "no_url"}),
    "one failed": ({"do": "partial", "indexes": [1]},),
    "failed": ({"do": "moderation"},),
}
ROADS = ("answered", "adopted", "answered late")
ENDS = ("kept", "lost", "stopped", "given up", "denied")


@dataclass(frozen=True, slots=True)
class Story:
    """One job: what its task tells, how it came by it, how it ends, how often all is told."""

    n: int
    fault: str
    road: str
    end: str
    lost_count: int
    times: int


STORIES = st.builds(
    Story,
    n=st.integers(1, 3),
    fault=st.sampled_from(sorted(FAULTS)),
    road=st.sampled_from(ROADS),
    end=st.sampled_from(ENDS),
    lost_count=st.integers(1, 3),
    times=st.integers(1, 3),
)


@given(story=STORIES)
@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_captures_and_waste_are_the_bill(watcher: Watcher, story: Story) -> None:
    prompt = str(uuid4())
    fence = await begin(watcher, story, prompt)
    await end(watcher, story, fence)
    for _ in range(2):
        await repeat(story, watcher.settle)

    bill = await watcher.upstream.control("bill")
    billed = sum(line["image_count"] for line in bill["tasks"] if line["prompt"] == prompt)
    booked = await watcher.scene.pool.fetchval(
        "select coalesce(sum(case debit when 'company' then -image_count else image_count end), 0)"
        " from ledger_entries where job_id = $1 and kind in ('capture', 'waste')",
        fence.job_id,
    )
    assert booked == billed
    await watcher.scene.expect_books_in_order()
    await leave(watcher, fence)


async def begin(watcher: Watcher, story: Story, prompt: str) -> Fence:
    """A job whose task has ended upstream, and which it has by the story's road."""
    rules = [{"on": "task", **fault} for fault in FAULTS[story.fault]]
    await watcher.upstream.arm(*rules)
    fence = await watcher.sent(n=story.n, prompt=prompt)
    task_id = await watcher.create(n=story.n, prompt=prompt)
    await watcher.upstream.wait_for(task_id)
    match story.road:
        case "adopted":
            await watcher.scene.decide(fence, Doubt("reset"))
            await watcher.scene.decide(fence, Run(task_id, "r", adopted=True))
        case "answered late":
            await watcher.scene.decide(fence, Doubt("reset"))
            await watcher.scene.decide(fence, Requeue("absent", "not_created", "nothing"))
            await repeat(story, lambda: watcher.hear_accepted(fence, task_id))
        case _:
            await repeat(story, lambda: watcher.hear_accepted(fence, task_id))
    return fence


async def end(watcher: Watcher, story: Story, fence: Fence) -> None:
    status = (await watcher.job(fence)).status
    if status == JobStatus.RUNNING:
        await upset(watcher, story, fence)
        await repeat(story, watcher.follow)
    if (await watcher.job(fence)).status == JobStatus.FINALIZING:
        await repeat(story, lambda: finish(watcher, story, fence))


async def upset(watcher: Watcher, story: Story, fence: Fence) -> None:
    """What befalls the job before its task's end is heard."""
    pool = watcher.scene.pool
    match story.end:
        case "stopped":
            await pool.execute(
                "update job_runs set cancel_requested_at = now() where job_id = $1", fence.job_id
            )
        case "given up":
            await pool.execute(
                "update job_runs set attention_code = 'task_overdue', attention_since = now(),"
                " attention_detail = 'long' where job_id = $1",
                fence.job_id,
            )
            asked = RequeueAsked("not wanted")
            await repeat(story, lambda: watcher.desk.judge.hear(fence.job_id, asked))
        case "denied":
            task_id = await watcher.task_of(fence)
            assert task_id is not None
            lost = Fail("task_lost", "gone", task=TaskFacts("UNKNOWN", None, None, None, 0))
            await watcher.scene.decide(fence, lost)
            orphan = Orphan(task_id, "lost", is_ours=story.road != "adopted")
            await repeat(story, lambda: watcher.scene.decide(fence, orphan))


async def finish(watcher: Watcher, story: Story, fence: Fence) -> None:
    """Lose what the story loses, keep the others, and end; as several hands at once may do."""
    rows = await watcher.scene.pool.fetch(
        "select index from pictures where job_id = $1 and status <> 'failed' order by index",
        fence.job_id,
    )
    lost = [row["index"] for row in rows][: story.lost_count if story.end == "lost" else 0]
    try:
        async with transaction(watcher.scene.pool) as connection:
            await lose_pictures(connection, fence, lost, reason="gone")
        await watcher.scene.keep(
            fence, *(row["index"] for row in rows if row["index"] not in lost)
        )
        is_any = len(rows) > len(lost)
        await watcher.scene.finish(fence, JobStatus.SUCCEEDED if is_any else JobStatus.FAILED)
    except StaleRun:
        assert story.times > 1


async def leave(watcher: Watcher, fence: Fence) -> None:
    """What waits again, or is in doubt again, is not in the next story's way."""
    match (await watcher.job(fence)).status:
        case JobStatus.QUEUED:
            await cancel_queued_job(watcher.scene.pool, fence.job_id, team_id=None)
        case JobStatus.SUBMITTING:
            await watcher.scene.decide(fence, Fail("absent", "disowned", outcome="absent"))


async def repeat(story: Story, deed: Callable[[], Awaitable[object]]) -> None:
    """The same thing told or done several times, at once."""
    await asyncio.gather(*(deed() for _ in range(story.times)))
