"""A billed task is in the books once, whoever it was thought to be of on the way there."""

import asyncio
from uuid import UUID

from app.billing.waste import book_waste
from app.jobs.core.state import RequeueAsked
from app.jobs.lifecycle import Fail, Fence, Orphan, Run, TaskFacts
from app.kit.postgres.database import transaction
from tests.jobs.test_waste import expect_bill, follow_to_end
from tests.jobs.watcher import Watcher
from tests.waiting import wait_until

BILLED = Fail("InternalError", "no url", task=TaskFacts("SUCCEEDED", None, None, None, 1))
LOST = Fail("task_lost", "gone", task=TaskFacts("UNKNOWN", None, None, None, 0))


async def call_person(watcher: Watcher, fence: Fence) -> None:
    await watcher.scene.pool.execute(
        "update job_runs set attention_code = 'task_unknown', attention_since = now(),"
        " attention_detail = 'denied' where job_id = $1",
        fence.job_id,
    )


async def late_and_guessed(watcher: Watcher) -> tuple[Fence, Fence, str]:
    """A create that was given up, the task that it made after all, and a job that adopted it."""
    author = await watcher.given_up(prompt="a fox")
    await deliver_known(watcher)
    await watcher.scene.pool.execute("update job_runs set due_at = now() + interval '1 hour'")
    thief = await watcher.in_doubt(prompt="an owl")
    task_id = await watcher.create(prompt="a fox")
    await watcher.scene.decide(thief, Run(task_id, "r", adopted=True))
    return author, thief, task_id


async def deliver_known(watcher: Watcher) -> None:
    """End the job whose task proved the list that gave the other one up."""
    run = await watcher.scene.pool.fetchrow("select * from job_runs where status = 'running'")
    assert run is not None
    await watcher.deliver(Fence(run["job_id"], run["attempt"]))


async def count_waste(watcher: Watcher) -> dict[UUID, int]:
    """The images of each job that are waste in the end, without those that are none."""
    rows = await watcher.scene.pool.fetch(
        "select job_id, sum(case debit when 'waste' then image_count else -image_count end)"
        " as count from ledger_entries where kind = 'waste' group by job_id"
    )
    return {row["job_id"]: row["count"] for row in rows if row["count"]}


class TestWhoseItWas:
    """A task that a job was thought to have made, and that another's create has made."""

    async def test_a_task_that_was_disowned_is_the_waste_of_the_create_that_made_it(
        self, watcher: Watcher
    ) -> None:
        author, thief, task_id = await late_and_guessed(watcher)
        await follow_to_end(watcher, thief)
        assert await watcher.orphans() == {task_id: "foreign"}

        await find_and_settle(watcher)

        assert await watcher.orphans() == {task_id: "wasted"}
        assert await count_waste(watcher) == {author.job_id: 1}
        await expect_bill(watcher, delivered=1, wasted=1)

    async def test_a_task_that_was_given_up_is_the_waste_of_the_create_that_made_it(
        self, watcher: Watcher
    ) -> None:
        author, thief, task_id = await late_and_guessed(watcher)
        await call_person(watcher, thief)
        await watcher.desk.judge.hear(thief.job_id, RequeueAsked("gone"))
        await watcher.upstream.wait_for(task_id)

        await find_and_settle(watcher)

        assert await watcher.orphans() == {task_id: "wasted"}
        assert await count_waste(watcher) == {author.job_id: 1}
        await expect_bill(watcher, delivered=1, wasted=1)

    async def test_so_is_a_task_that_the_upstream_had_lost_for_a_time(
        self, watcher: Watcher
    ) -> None:
        author, thief, task_id = await late_and_guessed(watcher)
        await watcher.scene.decide(thief, LOST)
        await watcher.scene.decide(thief, Orphan(task_id, "lost", is_ours=False))
        await watcher.upstream.wait_for(task_id)

        await find_and_settle(watcher)

        assert await count_waste(watcher) == {author.job_id: 1}
        await expect_bill(watcher, delivered=1, wasted=1)

    async def test_what_its_create_made_indeed_is_looked_for_once_the_guess_was_wrong(
        self, watcher: Watcher
    ) -> None:
        author, thief, guessed = await late_and_guessed(watcher)
        await watcher.scene.decide(thief, LOST)
        await watcher.scene.decide(thief, Orphan(guessed, "lost", is_ours=False))
        await watcher.upstream.wait_for(guessed)
        made = await watcher.ended(prompt="an owl")

        for _ in range(2):
            await find_and_settle(watcher)

        assert await watcher.orphans() == {guessed: "wasted", made: "wasted"}
        assert await count_waste(watcher) == {author.job_id: 1, thief.job_id: 1}
        await expect_bill(watcher, delivered=1, wasted=2)

    async def test_the_answer_of_its_own_create_outweighs_what_was_thought(
        self, watcher: Watcher
    ) -> None:
        author, thief, task_id = await late_and_guessed(watcher)
        await follow_to_end(watcher, thief)

        await watcher.hear_accepted(author, task_id)
        await watcher.settle()

        assert await count_waste(watcher) == {author.job_id: 1}
        await expect_bill(watcher, delivered=1, wasted=1)

    async def test_waste_that_its_owner_gets_after_all_is_taken_back(
        self, watcher: Watcher
    ) -> None:
        owner = await watcher.sent(await watcher.add_lane())
        thief = await watcher.in_doubt()
        task_id = await watcher.create()
        await watcher.scene.decide(thief, Run(task_id, "r", adopted=True))
        await call_person(watcher, thief)
        await watcher.desk.judge.hear(thief.job_id, RequeueAsked("gone"))
        await watcher.upstream.wait_for(task_id)
        await watcher.settle()
        assert await count_waste(watcher) == {thief.job_id: 1}

        await watcher.hear_accepted(owner, task_id)
        await watcher.deliver(owner)

        assert await watcher.orphans() == {task_id: "foreign"}
        assert await count_waste(watcher) == {}
        await expect_bill(watcher, delivered=1, wasted=0)


class TestOnce:
    async def test_who_books_a_task_beside_another_waits_and_adds_nothing(
        self, watcher: Watcher
    ) -> None:
        pool = watcher.scene.pool
        fence = await watcher.sent(n=2)

        async def book() -> None:
            async with transaction(pool) as connection:
                await book_waste(connection, fence.job_id, "task-1", billed=2, delivered=1)

        async with asyncio.TaskGroup() as group, transaction(pool) as connection:
            await book_waste(connection, fence.job_id, "task-1", billed=2, delivered=1)
            group.create_task(book())
            await wait_until(lambda: count_waiting(watcher, 1))

        assert await watcher.waste() == [(fence.job_id, "0.20", 1)]

    async def test_two_ends_of_one_team_that_both_book_waste_do_not_lock_each_other(
        self, watcher: Watcher
    ) -> None:
        pool = watcher.scene.pool
        for number in range(2):
            first = await watcher.scene.finalizing("u", "v", task_id=f"task-{number}")
            await watcher.scene.keep(first, 0)
            await watcher.scene.finish(first)
        failing = await watcher.scene.running("task-8")
        losing = await watcher.scene.finalizing("u", "v", task_id="task-9")
        await watcher.scene.keep(losing, 0)

        async with asyncio.TaskGroup() as group, transaction(pool) as connection:
            await connection.execute("select from daily_waste for update")
            group.create_task(watcher.scene.decide(failing, BILLED))
            await wait_until(lambda: count_waiting(watcher, 1))
            group.create_task(watcher.scene.finish(losing))
            await wait_until(lambda: count_waiting(watcher, 2))

        assert len(await watcher.waste()) == 4
        await watcher.scene.expect_books_in_order()


async def test_a_task_that_tells_neither_usage_nor_url_is_billed_by_its_metrics(
    watcher: Watcher,
) -> None:
    await watcher.upstream.arm({"on": "task", "do": "no_usage"}, {"on": "task", "do": "no_url"})
    fence = await watcher.sent(n=2)
    await watcher.hear_accepted(fence, await watcher.create(n=2))

    await follow_to_end(watcher, fence)

    assert (await watcher.job(fence)).status == "failed"
    await expect_bill(watcher, delivered=0, wasted=2)


async def find_and_settle(watcher: Watcher) -> None:
    for _ in range(2):
        await watcher.find_late()
        await watcher.settle()


async def count_waiting(watcher: Watcher, count: int) -> bool:
    waiting: int = await watcher.scene.pool.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock'"
    )
    return waiting == count
