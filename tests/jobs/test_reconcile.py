"""Creates whose answer was lost: looked up in the list, given to nobody wrongly, made once."""

import asyncio
from datetime import datetime, timedelta

import pytest

from app.dashscope import client as dashscope_client
from app.jobs.core.candidates import CLOCK_MARGIN, SET_MARGIN
from app.jobs.engine import watch
from app.jobs.lifecycle import Disown, Fail, Review, Run
from app.kit.clock import utc_now
from tests.jobs.scene import Scene
from tests.jobs.watcher import SETTLE, SETTLED, STALE, Watcher, denying, watching
from tests.waiting import wait_until

A_LITTLE = timedelta(seconds=2)


class ShiftedClock:
    """The upstream's clock, for tasks of another time."""

    hours_behind = 0

    def __call__(self) -> datetime:
        return utc_now() - timedelta(hours=self.hours_behind)


async def is_called(watcher: Watcher, endpoint: str, more_than: int = 0) -> bool:
    return await watcher.calls(endpoint) > more_than


class TestAlone:
    """One create in doubt."""

    async def test_the_task_that_nobody_has_is_the_one_that_was_made(
        self, watcher: Watcher
    ) -> None:
        await watcher.running()
        fence = await watcher.in_doubt()
        task_id = await watcher.create()

        await watcher.resolve()

        run = await watcher.run_of(fence)
        assert (run["status"], run["upstream_task_id"], run["slot"]) == ("running", task_id, 1)
        (attempt,) = await watcher.scene.attempts_of(fence.job_id)
        assert attempt["outcome"] == "adopted"
        assert attempt["upstream_request_id"]

    async def test_it_is_adopted_while_it_still_goes_on(self, slow_watcher: Watcher) -> None:
        fence = await slow_watcher.in_doubt()
        task_id = await slow_watcher.create()

        await slow_watcher.resolve()

        assert await slow_watcher.task_of(fence) == task_id
        assert await slow_watcher.calls("query") == 0

    async def test_a_failed_task_is_nobodys_and_closes_no_lane(self, watcher: Watcher) -> None:
        fence = await watcher.in_doubt()
        await watcher.ended(size="1*1")
        await watcher.let_pass(SETTLE)

        await watcher.prove()

        assert (await watcher.job(fence)).status == "queued"

    async def test_a_task_that_has_ended_with_another_prompt_is_not_adopted(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.in_doubt()
        await watcher.ended(prompt="another team's")

        await watcher.resolve()
        assert (await watcher.job(fence)).status == "submitting"

        ours = await watcher.create()
        await watcher.resolve()
        assert await watcher.task_of(fence) == ours

    async def test_a_create_that_made_nothing_goes_back_when_that_is_sure(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.in_doubt()

        await watcher.resolve()
        assert (await watcher.job(fence)).status == "submitting"

        await watcher.let_pass(SETTLED)
        await watcher.prove()
        assert (await watcher.job(fence)).status == "queued"
        (attempt,) = await watcher.scene.attempts_of(fence.job_id)
        assert (attempt["outcome"], attempt["error_code"]) == ("absent", "not_created")

    async def test_while_the_list_is_down_nothing_is_sure(self, watcher: Watcher) -> None:
        fence = await watcher.in_doubt()
        await watcher.upstream.arm({"on": "list", "do": "status", "status": 500})
        await watcher.let_pass(SETTLED)

        await watcher.resolve()

        assert (await watcher.job(fence)).status == "submitting"

    async def test_a_list_too_long_to_be_read_whole_proves_nothing(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dashscope_client, "LIST_PAGE_SIZE", 1)
        monkeypatch.setattr(watch, "PAGES_LIMIT", 2)
        for _ in range(3):
            await watcher.running()
        fence = await watcher.in_doubt()
        await watcher.let_pass(SETTLED)

        await watcher.resolve()

        assert (await watcher.job(fence)).status == "submitting"

    async def test_a_look_that_took_too_long_does_not_prove_what_it_was_too_early_to_see(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.in_doubt()
        await watcher.let_pass(SETTLE - timedelta(seconds=1))
        slow = {"on": "list", "do": "hang", "when": "after", "seconds": 1.5, "times": 1}
        await watcher.upstream.arm(slow)

        look = asyncio.create_task(watcher.resolve())
        await wait_until(lambda: is_called(watcher, "list"))
        late = await watcher.create()
        await look
        assert (await watcher.job(fence)).status == "submitting"

        await watcher.resolve()
        assert await watcher.task_of(fence) == late

    async def test_an_old_doubt_for_which_there_is_too_much_to_list_holds_up_no_other(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dashscope_client, "LIST_PAGE_SIZE", 1)
        monkeypatch.setattr(watch, "PAGES_LIMIT", 2)
        clock = ShiftedClock()
        async with watching(scene, clock=clock) as watcher:
            old = await watcher.in_doubt()
            clock.hours_behind = 3
            for _ in range(3):
                await watcher.create()
            clock.hours_behind = 0
            await watcher.let_pass(timedelta(hours=3))
            await scene.decide(old, Review("submission_unknown", "one of many"))
            fence = await watcher.in_doubt()
            task_id = await watcher.create()

            await watcher.resolve()

            assert await watcher.task_of(fence) == task_id
            assert (await watcher.job(old)).status == "submitting"

    async def test_a_doubt_older_than_the_list_reaches_is_for_a_person(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.in_doubt()
        await watcher.let_pass(timedelta(hours=25))

        await watcher.resolve()
        await watcher.tick()

        job = await watcher.job(fence)
        assert job.status == "submitting"
        assert job.attention is not None
        assert job.attention["code"] == "submission_unknown"

    async def test_a_create_that_is_still_on_its_way_is_not_in_doubt(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.sent()
        await watcher.create()

        await watcher.resolve()

        (attempt,) = await watcher.scene.attempts_of(fence.job_id)
        assert attempt["outcome"] == "intended"

    async def test_a_create_whose_worker_died_is_in_doubt_when_its_lease_ends(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.sent()
        await watcher.create()
        await watcher.scene.pool.execute("update job_runs set lease_expires_at = now()")

        await watcher.resolve()

        assert (await watcher.job(fence)).status == "running"

    async def test_the_late_answer_of_a_worker_that_was_thought_dead_still_counts(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.sent()
        await watcher.scene.pool.execute("update job_runs set lease_expires_at = now()")
        await watcher.resolve()

        await watcher.hear_accepted(fence, await watcher.create())

        (attempt,) = await watcher.scene.attempts_of(fence.job_id)
        assert attempt["outcome"] == "accepted"
        assert (await watcher.job(fence)).status == "running"


class TestWindow:
    """When a task must have been made to be a create's own."""

    @pytest.mark.parametrize(
        ("earlier", "status"),
        [
            pytest.param(-CLOCK_MARGIN - A_LITTLE, "submitting", id="made before the create"),
            pytest.param(-CLOCK_MARGIN + A_LITTLE * 2, "running", id="clocks differ by a minute"),
            pytest.param(SETTLE + CLOCK_MARGIN - A_LITTLE, "running", id="made as late as can be"),
            pytest.param(SETTLE + CLOCK_MARGIN + A_LITTLE, "submitting", id="if a clock was set"),
            pytest.param(
                SETTLE + CLOCK_MARGIN + SET_MARGIN + A_LITTLE, "queued", id="made long after"
            ),
        ],
    )
    async def test_only_a_task_of_its_time_is_its_own(
        self, watcher: Watcher, earlier: timedelta, status: str
    ) -> None:
        fence = await watcher.in_doubt()
        await watcher.create()
        await watcher.let_pass(earlier)
        await watcher.known()

        for _ in range(2):
            await watcher.resolve()

        assert (await watcher.job(fence)).status == status


class TestSeveralCandidates:
    async def test_the_one_that_answers_the_request_is_adopted(self, watcher: Watcher) -> None:
        fence = await watcher.in_doubt()
        await watcher.ended(prompt="make it red")
        ours = await watcher.ended()
        await watcher.ended(n=2)

        await watcher.resolve()

        assert await watcher.task_of(fence) == ours
        assert await watcher.orphans() == {}

    async def test_nothing_is_decided_before_they_can_be_read(self, slow_watcher: Watcher) -> None:
        fence = await slow_watcher.in_doubt()
        for _ in range(2):
            await slow_watcher.create()
        await slow_watcher.let_pass(SETTLED)

        await slow_watcher.resolve()

        job = await slow_watcher.job(fence)
        assert (job.status, job.attention) == ("submitting", None)

    async def test_one_that_is_denied_for_a_moment_is_asked_for_again(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.in_doubt()
        tasks = [await watcher.ended() for _ in range(2)]
        with denying():
            await watcher.resolve()
        assert await watcher.task_of(fence) is None

        await watcher.resolve()

        assert await watcher.task_of(fence) in tasks

    async def test_of_two_that_are_ours_one_is_delivered_and_the_other_is_waste_once(
        self, watcher: Watcher
    ) -> None:
        scene = watcher.scene
        fence = await watcher.in_doubt()
        first = await watcher.ended()
        await asyncio.sleep(0.002)  # The list tells times in whole milliseconds.
        second = await watcher.ended()

        await watcher.resolve()
        assert await watcher.task_of(fence) == first
        assert await watcher.orphans() == {second: "watched"}

        await asyncio.gather(*(watcher.settle() for _ in range(3)))
        await watcher.deliver(fence)
        await watcher.settle()

        assert await watcher.orphans() == {second: "wasted"}
        assert await watcher.waste() == [(fence.job_id, "0.20", 1)]
        assert (await watcher.job(fence)).status == "succeeded"
        assert await scene.usage() == [(1, 1, 0, 0, 0, 1, "0.200000")]
        assert (await scene.story_of(fence.job_id)).count("job.orphan_settled") == 1
        await scene.expect_books_in_order()


class TestDisowned:
    """An adopted task that proves to be another's puts its create in doubt again."""

    async def test_a_task_of_another_prompt_is_delivered_to_nobody(self, watcher: Watcher) -> None:
        fence = await watcher.in_doubt()
        task_id = await watcher.create(prompt="another team's")
        await watcher.scene.decide(fence, Run(task_id, "r", adopted=True))
        await watcher.upstream.wait_for(task_id)

        await watcher.follow()
        job = await watcher.job(fence)
        assert (job.status, job.pictures) == ("submitting", ())
        assert "job.disowned" in await watcher.scene.story_of(fence.job_id)
        (attempt,) = await watcher.scene.attempts_of(fence.job_id)
        assert (attempt["outcome"], attempt["upstream_task_id"]) == ("unknown", None)

        await watcher.let_pass(SETTLE)
        await watcher.prove()
        assert (await watcher.job(fence)).status == "queued"
        assert await watcher.waste() == []

    @pytest.mark.parametrize("stranger", [{"prompt": "another team's"}, {"size": "1*1"}])
    async def test_its_own_task_is_then_found(
        self, watcher: Watcher, stranger: dict[str, str]
    ) -> None:
        fence = await watcher.in_doubt()
        wrong = await watcher.create(**stranger)
        await watcher.scene.decide(fence, Run(wrong, "r", adopted=True))
        await watcher.upstream.wait_for(wrong)
        ours = await watcher.ended()

        await watcher.follow()
        await watcher.resolve()

        assert await watcher.task_of(fence) == ours
        assert (await watcher.job(fence)).attention is None

    async def test_its_lane_which_is_at_work_by_then_is_not_taken_back(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.in_doubt()
        wrong = await watcher.create(prompt="another team's")
        await watcher.scene.decide(fence, Run(wrong, "r", adopted=True))
        at_work = await watcher.sent()
        await watcher.upstream.wait_for(wrong)

        await watcher.follow()

        assert (await watcher.job(fence)).status == "submitting"
        assert (await watcher.run_of(fence))["lane_id"] is None
        assert (await watcher.run_of(at_work))["lane_id"] == watcher.scene.lane_id

    async def test_an_answer_about_the_disowned_task_is_not_taken_for_one_about_the_next(
        self, watcher: Watcher
    ) -> None:
        """A look that began before the change ends after it."""
        fence = await watcher.in_doubt()
        wrong, ours = await watcher.ended(), await watcher.create()
        await watcher.scene.decide(fence, Run(wrong, "r", adopted=True))
        await watcher.upstream.arm(
            {"on": "query", "do": "hang", "seconds": 0.5, "match": {"task_id": wrong}}
        )
        asked = await watcher.calls("query")
        late_look = asyncio.create_task(watcher.follow())
        await wait_until(lambda: is_called(watcher, "query", asked))

        await watcher.scene.decide(fence, Disown(wrong, "another's"))
        await watcher.scene.decide(fence, Run(ours, "r", adopted=True))
        await late_look

        job = await watcher.job(fence)
        assert (job.status, await watcher.task_of(fence)) == ("running", ours)


class TestTwoReconcilers:
    async def test_at_once_they_adopt_a_task_once(self, watcher: Watcher) -> None:
        fence = await watcher.in_doubt()
        await watcher.create()

        await asyncio.gather(*(watcher.resolve() for _ in range(3)))

        assert (await watcher.scene.story_of(fence.job_id)).count("job.running") == 1

    async def test_at_once_they_give_a_job_back_once(self, watcher: Watcher) -> None:
        fence = await watcher.in_doubt()
        await watcher.let_pass(SETTLED + STALE)
        await watcher.known()
        await watcher.resolve()

        await asyncio.gather(*(watcher.resolve() for _ in range(3)))

        assert (await watcher.scene.story_of(fence.job_id)).count("job.requeued") == 1
        assert (await watcher.job(fence)).status == "queued"

    async def test_a_slow_one_does_not_undo_what_the_quick_one_and_a_lane_have_done(
        self, watcher: Watcher
    ) -> None:
        fence = await watcher.in_doubt()
        await watcher.let_pass(SETTLED + STALE)
        await watcher.known()
        await watcher.resolve()
        lists = await watcher.calls("list")
        await watcher.upstream.arm({"on": "list", "do": "hang", "seconds": 0.5, "times": 1})
        slow = asyncio.create_task(watcher.resolve())
        await wait_until(lambda: is_called(watcher, "list", lists))

        await watcher.resolve()
        await watcher.scene.pool.execute("update job_runs set due_at = now()")
        again = (await watcher.scene.claim()).fence
        task_id = await watcher.create()
        await slow

        assert again.attempt == fence.attempt + 1
        await watcher.hear_accepted(again, task_id)
        assert await watcher.task_of(again) == task_id
        story = await watcher.scene.story_of(fence.job_id)
        assert story.count("job.requeued") == 1

    async def test_many_doubts_cost_one_list(self, slow_watcher: Watcher) -> None:
        lanes = [None, *[await slow_watcher.add_lane() for _ in range(1)]]
        fences = [await slow_watcher.in_doubt(lane) for lane in lanes]
        await slow_watcher.let_pass(SETTLED + STALE)
        await slow_watcher.known()
        await slow_watcher.resolve()
        lists = await slow_watcher.calls("list")

        await slow_watcher.resolve()

        assert await slow_watcher.calls("list") == lists + 1
        assert {(await slow_watcher.job(fence)).status for fence in fences} == {"queued"}

    async def test_a_job_that_has_ended_meanwhile_stays_ended(self, watcher: Watcher) -> None:
        fence = await watcher.in_doubt()
        await watcher.create()
        await watcher.upstream.arm({"on": "list", "do": "hang", "seconds": 0.5, "times": 1})
        slow = asyncio.create_task(watcher.resolve())
        await wait_until(lambda: is_called(watcher, "list"))

        await watcher.scene.decide(fence, Fail("InvalidParameter", "no"))
        await slow

        assert (await watcher.job(fence)).error_code == "InvalidParameter"
        await watcher.scene.expect_books_in_order()
