"""A task that nobody is shown to have made is billed all the same: it is the company's."""

import asyncio

import pytest

from app.billing.waste import book_waste
from app.dashscope.payloads import TaskAnswer, TaskStatus, TaskUsage
from app.jobs.engine import strays
from app.jobs.engine.watch import AccountView, find_answer
from app.jobs.explain.load import load_facts
from app.jobs.explain.story import tell_story
from app.jobs.lifecycle import Doubt, Fence, Orphan, Requeue, Run
from app.kit.postgres.database import transaction
from tests.jobs.test_waste import expect_bill, follow_to_end
from tests.jobs.test_waste_once import count_waiting, count_waste
from tests.jobs.watcher import Watcher
from tests.waiting import wait_until


async def disowned(watcher: Watcher, *, n: int = 2) -> tuple[Fence, str]:
    """A job that had adopted a task of its own words, which made one more than it asked for."""
    await watcher.upstream.arm({"on": "task", "do": "extra"})
    fence = await watcher.sent(n=n)
    task_id = await watcher.create(n=n)
    await watcher.scene.decide(fence, Doubt("reset"))
    await watcher.scene.decide(fence, Run(task_id, "r", adopted=True))
    await follow_to_end(watcher, fence)
    return fence, task_id


class TestDisowned:
    async def test_what_was_adopted_and_disowned_is_waste_and_told(self, watcher: Watcher) -> None:
        fence, _ = await disowned(watcher)
        for _ in range(2):
            await watcher.follow()
            await watcher.settle()

        # It is not left out of the next look: that would look like its absence.
        assert await watcher.orphans() == {}
        assert (await watcher.job(fence)).status == "submitting"
        assert await count_waste(watcher) == {fence.job_id: 3}
        await expect_bill(watcher, delivered=0, wasted=3)
        story = tell_story(await load_facts(watcher.scene.pool, fence.job_id))
        assert story.money.wasted_image_count == 3
        assert any(
            "its 3 pictures are the company's waste" in line.text for line in story.timeline
        )

    async def test_it_is_taken_back_when_its_own_create_answers_after_all(
        self, watcher: Watcher
    ) -> None:
        fence, task_id = await disowned(watcher)

        await watcher.hear_accepted(fence, task_id)
        await follow_to_end(watcher, fence)
        await watcher.scene.keep(fence, 0, 1)
        await watcher.scene.finish(fence)

        await expect_bill(watcher, delivered=2, wasted=1)

    async def test_it_is_taken_back_when_the_create_that_made_it_adopts_it(
        self, watcher: Watcher
    ) -> None:
        thief = await watcher.sent(n=1)
        author = await watcher.in_doubt(await watcher.add_lane(), n=2)
        task_id = await watcher.create(n=2)
        await watcher.scene.decide(thief, Doubt("reset"))
        await watcher.scene.decide(thief, Run(task_id, "r", adopted=True))
        await follow_to_end(watcher, thief)
        assert await count_waste(watcher) == {thief.job_id: 2}

        await watcher.scene.decide(author, Run(task_id, "r", adopted=True))
        await follow_to_end(watcher, author)
        await watcher.scene.keep(author, 0, 1)
        await watcher.scene.finish(author)

        assert await count_waste(watcher) == {}
        await expect_bill(watcher, delivered=2, wasted=0)

    async def test_it_is_the_waste_of_the_create_that_made_it_once_that_is_known(
        self, watcher: Watcher
    ) -> None:
        fence, task_id = await disowned(watcher)
        author = await watcher.sent(await watcher.add_lane(), n=3)

        await watcher.scene.decide(author, Orphan(task_id, "late", is_ours=True))
        for _ in range(2):
            await watcher.settle()

        assert await watcher.orphans() == {task_id: "wasted"}
        assert await count_waste(watcher) == {author.job_id: 3}
        await expect_bill(watcher, delivered=0, wasted=3)
        assert fence.job_id != author.job_id


class TestWhoGetsItMeanwhile:
    @pytest.mark.parametrize("is_booked_first", [True, False])
    async def test_a_task_is_never_both_somebodys_and_waste(
        self, watcher: Watcher, is_booked_first: bool
    ) -> None:
        """Of a booking and a create's answer that cross, the second sees the first."""
        other = await watcher.in_doubt(n=1)
        owner = await watcher.sent(await watcher.add_lane(), n=1)
        task_id = await watcher.ended(n=1)

        async def book() -> None:
            async with transaction(watcher.scene.pool) as connection:
                await book_waste(connection, other.job_id, task_id, billed=1)

        async def own() -> None:
            await watcher.hear_accepted(owner, task_id)

        first, second = (book, own) if is_booked_first else (own, book)
        async with asyncio.TaskGroup() as group, transaction(watcher.scene.pool) as connection:
            await connection.execute(
                "select pg_advisory_xact_lock(hashtextextended('waste:' || $1, 0))", task_id
            )
            group.create_task(first())
            await wait_until(lambda: count_waiting(watcher, 1))
            group.create_task(second())
            await wait_until(lambda: count_waiting(watcher, 2))

        await watcher.follow()
        await watcher.scene.keep(owner, 0)
        await watcher.scene.finish(owner)
        await expect_bill(watcher, delivered=1, wasted=0)


@pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.CANCELED])
async def test_a_task_too_many_that_did_not_succeed_and_was_billed_all_the_same_is_waste(
    watcher: Watcher, status: TaskStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(view: AccountView, task_id: str) -> TaskAnswer | None:
        answer = await find_answer(view, task_id)
        assert answer is not None
        output = answer.output.model_copy(update={"task_status": status})
        return answer.model_copy(update={"output": output, "usage": TaskUsage(image_count=1)})

    fence = await watcher.sent(n=1)
    task_id = await watcher.ended(n=1)
    await watcher.scene.decide(fence, Orphan(task_id, "late", is_ours=True))
    monkeypatch.setattr(strays, "find_answer", fail)

    await watcher.settle()

    assert await count_waste(watcher) == {fence.job_id: 1}
    await expect_bill(watcher, delivered=0, wasted=1)


class TestOwnNextCreate:
    """A look for a job's first create finds what its second one has made."""

    @pytest.mark.parametrize("is_settled", [True, False], ids=["booked", "watched"])
    async def test_what_a_create_is_answered_with_is_no_task_too_many(
        self, watcher: Watcher, is_settled: bool
    ) -> None:
        again, task_id = await found_late(watcher)
        if is_settled:
            await watcher.settle()

        await watcher.hear_accepted(again, task_id)
        await deliver_one(watcher, again)
        await watcher.settle()

        assert await count_waste(watcher) == {}
        assert await watcher.orphans() == {task_id: "foreign"}

    async def test_nor_if_the_look_and_the_answer_cross(self, watcher: Watcher) -> None:
        """The look writes the task down while the answer is being written."""
        again, task_id = await found_late(watcher)
        await watcher.hear_accepted(again, task_id)
        await watcher.scene.pool.execute("update orphans set state = 'watched', settled_at = null")

        await watcher.settle()
        await deliver_one(watcher, again)

        assert await count_waste(watcher) == {}
        assert await watcher.orphans() == {task_id: "foreign"}


async def found_late(watcher: Watcher) -> tuple[Fence, str]:
    """A job's second create, and its task, put down as one that the first had made."""
    first = await watcher.given_up(n=1)
    submission = await watcher.scene.claim(lane_id=watcher.scene.lane_id)
    again = submission.fence
    assert (again.job_id, again.attempt) == (first.job_id, 2)
    task_id = await watcher.ended(n=1)
    await watcher.scene.decide(first, Orphan(task_id, "late", is_ours=False))
    assert await watcher.orphans() == {task_id: "watched"}
    return again, task_id


async def deliver_one(watcher: Watcher, fence: Fence) -> None:
    await follow_to_end(watcher, fence)
    await watcher.scene.keep(fence, 0)
    await watcher.scene.finish(fence)


class TestNeverAdopted:
    """A task that had ended before the first look, and was not taken for the job's."""

    async def test_what_a_given_up_create_made_too_much_of_is_waste(
        self, watcher: Watcher
    ) -> None:
        fence, task_id = await given_up_with_extra(watcher)

        for _ in range(3):
            await watcher.find_late()
            await watcher.settle()

        assert await count_waste(watcher) == {fence.job_id: 3}
        assert await watcher.orphans() == {task_id: "foreign"}

    async def test_two_that_may_have_made_it_do_not_take_turns(self, watcher: Watcher) -> None:
        await given_up_with_extra(watcher, others=1)

        for _ in range(3):
            await watcher.find_late()
            await watcher.settle()

        assert sum((await count_waste(watcher)).values()) == 3
        entries = await watcher.waste()
        assert len(entries) == 1

    async def test_it_is_left_to_the_create_that_asked_for_as_many(self, watcher: Watcher) -> None:
        author = await watcher.in_doubt(n=3)
        other = await watcher.in_doubt(await watcher.add_lane(), n=2)
        task_id = await watcher.ended(n=3)
        await give_up(watcher, other)
        await watcher.find_late()
        assert await watcher.orphans() == {}

        await give_up(watcher, author)
        for _ in range(3):
            await watcher.find_late()
            await watcher.settle()

        assert await watcher.orphans() == {task_id: "wasted"}
        assert await count_waste(watcher) == {author.job_id: 3}


async def given_up_with_extra(watcher: Watcher, *, others: int = 0) -> tuple[Fence, str]:
    """A create that was given up although its task made one picture too many; and others."""
    await watcher.upstream.arm({"on": "task", "do": "extra"})
    fence = await watcher.in_doubt(n=2)
    doubts = [fence] + [
        await watcher.in_doubt(await watcher.add_lane(), n=2) for _ in range(others)
    ]
    task_id = await watcher.ended(n=2)
    for each in doubts:
        await give_up(watcher, each)
    return fence, task_id


async def give_up(watcher: Watcher, fence: Fence) -> None:
    await watcher.scene.decide(fence, Requeue("absent", "not_created", "nothing was found"))
