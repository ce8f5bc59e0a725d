"""Tasks beyond their job's: found, canceled while they can be, else booked as waste, once."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.jobs.cancel import cancel_queued_job
from app.jobs.core.state import RequeueAsked
from app.jobs.engine.strays import LATE_WATCH, LONGEST_RUN
from app.jobs.lifecycle import (
    UPSTREAM_MEMORY,
    Fail,
    Fence,
    Orphan,
    Review,
    Run,
    TaskFacts,
)
from tests.jobs.scene import Scene
from tests.jobs.watcher import Watcher, denying, watching

PAST_MEMORY = UPSTREAM_MEMORY + timedelta(minutes=1)
LOST = Fail("task_lost", "gone", task=TaskFacts("UNKNOWN", None, None, None, 0))


async def is_ours(watcher: Watcher, task_id: str) -> bool:
    known: bool = await watcher.scene.pool.fetchval(
        "select is_ours from orphans where upstream_task_id = $1", task_id
    )
    return known


async def note(watcher: Watcher, fence: Fence, task_id: str, *, is_ours: bool = True) -> None:
    await watcher.scene.decide(fence, Orphan(task_id, "surplus", is_ours=is_ours))


class TestLate:
    """Tasks that the upstream made after their create had been given up."""

    async def test_a_late_task_is_booked_as_waste_once_and_the_team_pays_for_one(
        self, watcher: Watcher
    ) -> None:
        scene = watcher.scene
        await watcher.given_up()
        again = (await scene.claim()).fence
        await watcher.hear_accepted(again, await watcher.create())
        late = await watcher.ended()

        await asyncio.gather(*(watcher.find_late() for _ in range(3)))
        assert await watcher.orphans() == {late: "watched"}
        assert (await scene.story_of(again.job_id)).count("job.orphan_found") == 1
        await asyncio.gather(*(watcher.settle() for _ in range(3)))
        await watcher.deliver(again)
        await watcher.find_late()
        await watcher.settle()

        assert await watcher.orphans() == {late: "wasted"}
        assert await watcher.waste() == [(again.job_id, "0.20", 1)]
        assert await scene.usage() == [(1, 1, 0, 0, 0, 1, "0.200000")]
        assert (await scene.get(again.job_id)).image_count == 1
        await scene.expect_books_in_order()

    async def test_the_task_of_a_create_that_a_person_gave_up_is_found_as_well(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.in_doubt()
        await watcher.scene.decide(fence, Review("submission_unknown", "one of many"))
        await watcher.desk.judge.hear(fence.job_id, RequeueAsked("made nothing"))
        late = await watcher.ended()

        await watcher.find_late()
        await watcher.settle()

        assert await watcher.orphans() == {late: "wasted"}
        assert await watcher.waste() == [(fence.job_id, "0.20", 1)]

    async def test_it_is_found_even_after_its_job_has_ended(self, watcher: Watcher) -> None:
        await watcher.given_up()
        again = (await watcher.scene.claim()).fence
        await watcher.hear_accepted(again, await watcher.create())
        await watcher.deliver(again)
        late = await watcher.ended()

        await watcher.find_late()
        await watcher.settle()

        assert await watcher.orphans() == {late: "wasted"}
        await watcher.scene.expect_books_in_order()

    @pytest.mark.parametrize("stranger", [{"prompt": "another's"}, {"size": "1*1"}])
    async def test_a_task_of_other_words_or_none_is_nobodys_waste(
        self, watcher: Watcher, stranger: dict[str, Any]
    ) -> None:
        await watcher.given_up()
        await watcher.ended(**stranger)

        await watcher.find_late()

        assert await watcher.orphans() == {}

    async def test_a_task_that_is_denied_for_a_moment_is_found_afterwards(
        self, watcher: Watcher
    ) -> None:
        await watcher.given_up()
        task_id = await watcher.ended()
        with denying():
            await watcher.find_late()
        assert await watcher.orphans() == {}

        await watcher.find_late()

        assert await watcher.orphans() == {task_id: "watched"}

    async def test_a_task_that_goes_on_is_judged_when_it_has_ended(
        self, slow_watcher: Watcher
    ) -> None:
        await slow_watcher.given_up()
        await slow_watcher.create()

        await slow_watcher.find_late()

        assert await slow_watcher.orphans() == {}

    async def test_what_its_own_job_adopts_on_the_next_try_is_not_late(
        self, watcher: Watcher
    ) -> None:
        await watcher.given_up()
        again = (await watcher.scene.claim()).fence
        task_id = await watcher.ended()
        await watcher.scene.decide(again, Run(task_id, "r", adopted=True))

        await watcher.find_late()

        assert await watcher.orphans() == {}

    async def test_a_task_that_an_open_create_may_have_made_is_left_to_it(
        self, watcher: Watcher
    ) -> None:
        """A paid picture must not be thrown away because its answer is not yet written down."""
        await watcher.given_up()
        again = (await watcher.scene.claim()).fence
        task_id = await watcher.ended()

        await watcher.find_late()
        await watcher.hear_accepted(again, task_id)
        await watcher.deliver(again)
        await watcher.settle()

        assert (await watcher.job(again)).status == "succeeded"
        assert (await watcher.orphans(), await watcher.waste()) == ({}, [])

    async def test_a_create_given_up_long_ago_is_looked_for_no_more(
        self, watcher: Watcher
    ) -> None:
        await watcher.given_up()
        await watcher.ended()
        await watcher.let_pass(LATE_WATCH + LONGEST_RUN)
        lists = await watcher.calls("list")

        await watcher.find_late()

        assert await watcher.calls("list") == lists
        assert await watcher.orphans() == {}

    async def test_while_the_list_is_down_nothing_is_found(self, watcher: Watcher) -> None:
        await watcher.given_up()
        await watcher.ended()
        await watcher.upstream.arm({"on": "list", "do": "status", "status": 500})

        await watcher.find_late()

        assert await watcher.orphans() == {}


class TestStaleWorker:
    """A worker that slept through its lease, and whose create was taken after all."""

    async def test_its_task_is_ours_and_canceled_while_it_waits(self, scene: Scene) -> None:
        async with watching(scene, pending_seconds=(3_600, 3_600)) as watcher:
            fence = await watcher.given_up()
            task_id = await watcher.create()

            await watcher.hear_accepted(fence, task_id)
            assert await is_ours(watcher, task_id)
            for _ in range(2):
                await watcher.settle()

            assert await watcher.orphans() == {task_id: "canceled"}
            assert await watcher.waste() == []
            assert (await watcher.job(fence)).status == "queued"

    async def test_its_task_is_waste_once_it_has_run(self, watcher: Watcher) -> None:
        fence = await watcher.given_up()
        again = (await watcher.scene.claim()).fence
        await watcher.hear_accepted(again, await watcher.create())
        task_id = await watcher.ended()

        for _ in range(2):
            await watcher.hear_accepted(fence, task_id)
        await watcher.settle()
        await watcher.deliver(again)

        assert await watcher.orphans() == {task_id: "wasted"}
        assert await watcher.waste() == [(fence.job_id, "0.20", 1)]
        await watcher.scene.expect_books_in_order()

    async def test_its_news_after_the_jobs_end_are_noted_as_well(self, watcher: Watcher) -> None:
        fence = await watcher.given_up()
        assert await cancel_queued_job(watcher.scene.pool, fence.job_id, team_id=None)
        task_id = await watcher.ended()

        await watcher.hear_accepted(fence, task_id)
        await watcher.settle()

        assert await watcher.orphans() == {task_id: "wasted"}

    async def test_a_task_that_the_next_try_has_adopted_is_no_orphan(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.given_up()
        again = (await watcher.scene.claim()).fence
        task_id = await watcher.create()
        await watcher.scene.decide(again, Run(task_id, "r", adopted=True))

        await watcher.hear_accepted(fence, task_id)

        assert await watcher.orphans() == {}
        assert await watcher.task_of(again) == task_id


class TestWatched:
    """What becomes of a surplus task."""

    async def test_one_that_is_only_thought_to_be_ours_is_never_canceled(
        self, scene: Scene
    ) -> None:
        async with watching(scene, pending_seconds=(3_600, 3_600)) as watcher:
            fence, _ = await watcher.running()
            task_id = await watcher.create()
            await note(watcher, fence, task_id, is_ours=False)

            await watcher.settle()

            assert await watcher.calls("cancel") == 0
            assert await watcher.orphans() == {task_id: "watched"}

    @pytest.mark.parametrize(
        ("changes", "ours", "state", "images"),
        [
            ({}, True, "wasted", 1),
            ({}, False, "wasted", 1),
            ({"n": 3}, True, "wasted", 3),
            ({"n": 3}, False, "foreign", 3),
            ({"prompt": "another's"}, False, "foreign", 0),
            ({"size": "1*1"}, True, "free", 0),
        ],
    )
    async def test_what_it_was_asked_for_says_whose_waste_it_is(
        self, watcher: Watcher, changes: dict[str, Any], ours: bool, state: str, images: int
    ) -> None:
        fence, _ = await watcher.running()
        task_id = await watcher.ended(**changes)
        await note(watcher, fence, task_id, is_ours=ours)

        await watcher.settle()

        assert await watcher.orphans() == {task_id: state}
        assert sum(count for _, _, count in await watcher.waste()) == images
        await watcher.scene.expect_books_in_order()

    async def test_one_that_the_upstream_forgot_is_watched_as_long_as_it_may_come_back(
        self, watcher: Watcher
    ) -> None:
        await watcher.upstream.arm({"on": "task", "do": "lost", "match": {"prompt": "gone"}})
        fence, _ = await watcher.running()
        task_id = await watcher.create(prompt="gone")
        await note(watcher, fence, task_id)

        await watcher.settle()
        assert await watcher.orphans() == {task_id: "watched"}

        await watcher.let_pass(PAST_MEMORY)
        await watcher.settle()
        assert await watcher.orphans() == {task_id: "lost"}

    async def test_a_query_that_fails_settles_nothing(self, watcher: Watcher) -> None:
        fence, _ = await watcher.running()
        task_id = await watcher.ended()
        await note(watcher, fence, task_id)
        await watcher.upstream.arm({"on": "query", "do": "status", "status": 500})

        await watcher.settle()

        assert await watcher.orphans() == {task_id: "watched"}

    async def test_a_jobs_own_task_is_never_an_orphan(self, watcher: Watcher) -> None:
        fence, task_id = await watcher.running()

        await note(watcher, fence, task_id)

        assert await watcher.orphans() == {}

    async def test_a_lost_task_that_comes_back_is_waste_because_its_job_cost_nothing(
        self, watcher: Watcher
    ) -> None:
        scene = watcher.scene
        await watcher.upstream.arm({"on": "task", "do": "lost", "for_seconds": 2})
        fence, task_id = await watcher.running()
        await scene.decide(fence, LOST)
        await note(watcher, fence, task_id)

        await watcher.upstream.wait_for(task_id, "SUCCEEDED")
        await watcher.settle()

        assert await watcher.orphans() == {task_id: "wasted"}
        assert await scene.usage() == [(1, 0, 1, 0, 0, 0, "0.000000")]
        await scene.expect_books_in_order()
