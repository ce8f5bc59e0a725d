"""The gateway's own tables beside the emulator's own bill, as the checker reads them."""

from collections.abc import Awaitable, Callable, Sequence

import pytest

from app.bench.storm.check import Evidence, Finding, Kind, check
from app.bench.storm.contenders.books import read_books
from app.bench.storm.ledgers import Hearsay, read_bill
from app.jobs.cancel import cancel_queued_job
from app.jobs.lifecycle import Doubt, Fence, Requeue, Run
from app.jobs.moves.pictures import lose_pictures
from app.kit.postgres.database import transaction
from tests.jobs.test_waste import follow_to_end, send
from tests.jobs.watcher import Watcher

Story = Callable[[Watcher], Awaitable[Fence]]

MONEY = (Kind.LEDGER, Kind.UNBOOKED, Kind.DUPLICATE)


async def judge(watcher: Watcher) -> Sequence[Finding]:
    """What is wrong with the money, by the checker."""
    await watcher.scene.pool.execute("update teams set name = 'storm-1'")
    bill = await watcher.upstream.control("bill")
    async with watcher.scene.pool.acquire() as connection:
        books = await read_books(connection)
    verdict = check(Evidence(read_bill(bill["tasks"]), books, Hearsay(), {}))
    return [finding for finding in verdict.findings if finding.kind in MONEY]


async def lose_one(watcher: Watcher) -> Fence:
    fence = await send(watcher, 2)
    await follow_to_end(watcher, fence)
    await watcher.scene.keep(fence, 0)
    async with transaction(watcher.scene.pool) as connection:
        await lose_pictures(connection, fence, [1], reason="gone")
    await watcher.scene.finish(fence)
    return fence


async def disown_one(watcher: Watcher) -> Fence:
    await watcher.upstream.arm({"on": "task", "do": "extra"})
    fence = await watcher.sent(n=1)
    task_id = await watcher.create(n=1)
    await watcher.scene.decide(fence, Doubt("reset"))
    await watcher.scene.decide(fence, Run(task_id, "r", adopted=True))
    await follow_to_end(watcher, fence)
    await watcher.scene.decide(fence, Requeue("absent", "not_created", "nothing was found"))
    await cancel_queued_job(watcher.scene.pool, fence.job_id, team_id=None)
    return fence


@pytest.mark.parametrize("story", [lose_one, disown_one], ids=["lost", "disowned"])
async def test_nothing_is_wrong_with_what_was_billed_for_nothing(
    watcher: Watcher, story: Story
) -> None:
    await story(watcher)

    assert await judge(watcher) == []


@pytest.mark.parametrize("story", [lose_one, disown_one], ids=["lost", "disowned"])
async def test_a_book_without_its_waste_is_found_out(watcher: Watcher, story: Story) -> None:
    fence = await story(watcher)
    async with transaction(watcher.scene.pool) as connection:
        await connection.execute("set local session_replication_role = 'replica'")
        await connection.execute("delete from ledger_entries where kind = 'waste'")
        await connection.execute("delete from daily_waste")

    kinds = {finding.kind for finding in await judge(watcher)}

    assert Kind.LEDGER in kinds
    assert kinds & {Kind.UNBOOKED, Kind.DUPLICATE}, fence
