"""Whatever the upstream bills is in the books: delivered to a team, or the company's waste."""

from typing import Any

import pytest

from app.jobs.core.state import RequeueAsked
from app.jobs.explain.load import load_facts
from app.jobs.explain.story import tell_story
from app.jobs.lifecycle import Fence, JobStatus
from app.jobs.moves.pictures import lose_pictures
from app.kit.postgres.database import transaction
from tests.jobs.watcher import Watcher


async def follow_to_end(watcher: Watcher, fence: Fence) -> str:
    """Have its task end, and be told of it."""
    task_id = await watcher.task_of(fence)
    assert task_id is not None
    await watcher.upstream.wait_for(task_id)
    await watcher.follow()
    return task_id


async def send(watcher: Watcher, n: int, **fault: Any) -> Fence:
    """A job that runs upstream; the fault is its task's."""
    if fault:
        await watcher.upstream.arm({"on": "task", **fault})
    fence = await watcher.sent(n=n)
    await watcher.hear_accepted(fence, await watcher.create(n=n))
    return fence


async def expect_bill(watcher: Watcher, *, delivered: int, wasted: int) -> None:
    """Captures and waste are the upstream's bill, image for image, and the rollup agrees."""
    bill = await watcher.upstream.control("bill")
    billed = sum(line["image_count"] for line in bill["tasks"])
    rows = await watcher.scene.pool.fetch(
        "select kind, sum(case debit when 'company' then -image_count else image_count end)"
        " as count from ledger_entries group by kind"
    )
    booked = {row["kind"]: row["count"] for row in rows}
    assert (booked.get("capture", 0), booked.get("waste", 0)) == (delivered, wasted)
    assert billed == delivered + wasted
    rolled = await watcher.scene.pool.fetchrow(
        "select coalesce(sum(image_count), 0) as count, coalesce(sum(amount), 0) as amount"
        " from daily_waste"
    )
    assert rolled is not None
    assert (rolled["count"], f"{rolled['amount']:.2f}") == (wasted, f"{wasted * 0.2:.2f}")
    await watcher.scene.expect_books_in_order()


async def test_a_picture_that_is_lost_is_waste(watcher: Watcher) -> None:
    fence = await send(watcher, 2)
    await follow_to_end(watcher, fence)
    await watcher.scene.keep(fence, 0)
    async with transaction(watcher.scene.pool) as connection:
        await lose_pictures(connection, fence, [1], reason="gone")
    await watcher.scene.finish(fence)

    assert (await watcher.job(fence)).image_count == 1
    await expect_bill(watcher, delivered=1, wasted=1)
    facts = await load_facts(watcher.scene.pool, fence.job_id)
    assert tell_story(facts).money.wasted_image_count == 1


async def test_a_task_that_succeeds_without_a_url_is_waste(watcher: Watcher) -> None:
    fence = await send(watcher, 1, do="no_url")

    await follow_to_end(watcher, fence)

    assert (await watcher.job(fence)).status == "failed"
    await expect_bill(watcher, delivered=0, wasted=1)


async def test_one_url_that_is_missing_of_two_is_waste(watcher: Watcher) -> None:
    fence = await send(watcher, 2, do="no_url", indexes=[1])

    await follow_to_end(watcher, fence)
    await watcher.scene.keep(fence, 0)
    await watcher.scene.finish(fence)

    await expect_bill(watcher, delivered=1, wasted=1)


async def test_results_beyond_those_that_were_asked_for_are_waste(watcher: Watcher) -> None:
    fence = await send(watcher, 1, do="extra")

    await watcher.deliver(fence)

    await expect_bill(watcher, delivered=1, wasted=1)


@pytest.mark.parametrize("fault", [{}, {"do": "no_usage"}], ids=["told", "not told"])
async def test_the_task_of_an_attempt_that_a_person_gave_up_is_waste_whatever_it_tells(
    watcher: Watcher, fault: dict[str, Any]
) -> None:
    fence = await send(watcher, 1, **fault)
    task_id = await watcher.task_of(fence)
    assert task_id is not None
    await watcher.scene.pool.execute(
        "update job_runs set attention_code = 'task_overdue', attention_since = now(),"
        " attention_detail = 'long'"
    )
    await watcher.desk.judge.hear(fence.job_id, RequeueAsked("not wanted"))
    await watcher.upstream.wait_for(task_id)
    for _ in range(2):
        await watcher.settle()

    assert await watcher.orphans() == {task_id: "wasted"}
    await expect_bill(watcher, delivered=0, wasted=1)


async def test_what_is_told_twice_is_booked_once(watcher: Watcher) -> None:
    fence = await send(watcher, 1, do="extra")
    await follow_to_end(watcher, fence)
    for _ in range(2):
        await watcher.follow()
    await watcher.scene.keep(fence, 0)
    await watcher.scene.finish(fence)
    await watcher.follow()
    await watcher.settle()
    await watcher.find_late()

    await expect_bill(watcher, delivered=1, wasted=1)


async def test_a_job_that_is_to_stop_and_whose_task_was_billed_for_nothing_is_waste(
    watcher: Watcher,
) -> None:
    fence = await send(watcher, 1, do="no_url")
    await watcher.scene.pool.execute("update job_runs set cancel_requested_at = now()")

    await follow_to_end(watcher, fence)

    assert (await watcher.job(fence)).amount == 0
    await expect_bill(watcher, delivered=0, wasted=1)


FAULTS: dict[str, dict[str, Any]] = {
    "as asked": {},
    "one more": {"do": "extra"},
    "no url": {"do": "no_url"},
    "one url of two": {"do": "no_url", "indexes": [0]},
    "no usage": {"do": "no_usage"},
    "one failed": {"do": "partial", "indexes": [1]},
}
ENDS = ("kept", "lost", "stopped", "given up")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_however_it_ends_captures_and_waste_are_the_bill(
    watcher: Watcher, fault: str, end: str
) -> None:
    fence = await send(watcher, 2, **FAULTS[fault])
    if end == "given up":
        await watcher.scene.pool.execute(
            "update job_runs set attention_code = 'task_overdue', attention_since = now(),"
            " attention_detail = 'long'"
        )
        await watcher.desk.judge.hear(fence.job_id, RequeueAsked("not wanted"))
    if end == "stopped":
        await watcher.scene.pool.execute("update job_runs set cancel_requested_at = now()")
    task_id = str((await watcher.scene.attempts_of(fence.job_id))[0]["upstream_task_id"])
    await watcher.upstream.wait_for(task_id)
    await watcher.follow()
    await watcher.settle()
    if (await watcher.job(fence)).status == "finalizing":
        await end_pictures(watcher, fence, is_lost=end == "lost")

    bill = await watcher.upstream.control("bill")
    delivered = (await watcher.job(fence)).image_count or 0
    billed = sum(line["image_count"] for line in bill["tasks"])
    await expect_bill(watcher, delivered=delivered, wasted=billed - delivered)


async def end_pictures(watcher: Watcher, fence: Fence, *, is_lost: bool) -> None:
    """Keep what can be had, or lose the first of it."""
    rows = await watcher.scene.pool.fetch(
        "select index from pictures where status = 'upstream' order by index"
    )
    indexes = [row["index"] for row in rows]
    lost = indexes[:1] if is_lost else []
    async with transaction(watcher.scene.pool) as connection:
        await lose_pictures(connection, fence, lost, reason="gone")
    await watcher.scene.keep(fence, *[index for index in indexes if index not in lost])
    is_any = len(indexes) > len(lost)
    await watcher.scene.finish(fence, JobStatus.SUCCEEDED if is_any else JobStatus.FAILED)
