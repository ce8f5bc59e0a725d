"""Following tasks upstream: each found when it ends, none asked for without need."""

import asyncio
import tracemalloc
from collections.abc import Iterable
from datetime import timedelta

import pytest

from app.dashscope import client as dashscope_client
from app.dashscope.outcomes import Accepted
from app.jobs.engine import follow
from app.jobs.engine.follow import (
    PAGE,
    UNLISTED_BATCH,
    UNLISTED_PATIENCE,
    UNLISTED_PAUSE_SECONDS,
    follow_running,
)
from app.jobs.lifecycle import Run
from tests.factories import MODEL
from tests.jobs.scene import Scene
from tests.jobs.watcher import RULES, Watcher

UNLISTED_PAUSE = timedelta(seconds=UNLISTED_PAUSE_SECONDS)
MANY = 1_500


class TestRunning:
    async def test_a_task_that_goes_on_is_left_alone(self, slow_watcher: Watcher) -> None:
        fence, _ = await slow_watcher.running()

        await slow_watcher.follow()

        assert (await slow_watcher.job(fence)).status == "running"

    async def test_a_task_that_has_ended_is_collected(self, watcher: Watcher) -> None:
        fence, task_id = await watcher.running()
        await watcher.upstream.wait_for(task_id)

        await watcher.follow()

        assert (await watcher.job(fence)).status == "finalizing"
        (attempt,) = await watcher.scene.attempts_of(fence.job_id)
        assert attempt["task_status"] == "SUCCEEDED"
        assert attempt["task_submitted_at"] < attempt["task_ended_at"]

    async def test_the_times_of_tasks_are_learned_as_they_end(self, watcher: Watcher) -> None:
        _, task_id = await watcher.running()
        await watcher.upstream.wait_for(task_id)

        await watcher.follow()

        count = await watcher.scene.pool.fetchval("select service_count from account_paces")
        assert count == 1

    async def test_a_task_that_failed_for_its_requests_sake_fails_its_job(
        self, watcher: Watcher
    ) -> None:
        await watcher.upstream.arm({"on": "task", "do": "moderation", "stage": "input"})
        fence, task_id = await watcher.running()
        await watcher.upstream.wait_for(task_id)

        await watcher.follow()

        job = await watcher.job(fence)
        assert (job.status, job.error_code) == ("failed", "DataInspectionFailed")
        await watcher.scene.expect_books_in_order()

    async def test_a_task_that_failed_by_chance_is_tried_again_within_the_jobs_limit(
        self, watcher: Watcher
    ) -> None:
        scene = watcher.scene
        await watcher.upstream.arm({"on": "task", "do": "fail"})
        fence, task_id = await watcher.running()

        for tried in range(1, RULES.retries + 1):
            await watcher.upstream.wait_for(task_id)
            await watcher.follow()
            run = await watcher.run_of(fence)
            assert (run["status"], run["slot"], run["task_failures"]) == ("queued", None, tried)
            assert await scene.try_claim() == (None, (1.0, True))
            await scene.pool.execute("update job_runs set due_at = now()")
            fence, task_id = (await scene.claim()).fence, await watcher.create()
            await scene.decide(fence, Run(task_id, "r"))
        await watcher.upstream.wait_for(task_id)
        await watcher.follow()

        job = await watcher.job(fence)
        assert (job.status, job.error_code) == ("failed", "InternalError")
        attempts = await scene.attempts_of(fence.job_id)
        assert {row["error_code"] for row in attempts} == {"InternalError"}
        assert {row["task_status"] for row in attempts} == {"FAILED"}
        assert len(attempts) == RULES.retries + 1
        assert await watcher.orphans() == {}
        await scene.expect_books_in_order()

    async def test_two_followers_at_once_collect_each_task_once(self, watcher: Watcher) -> None:
        pairs = [await watcher.running() for _ in range(4)]
        for _, task_id in pairs:
            await watcher.upstream.wait_for(task_id)

        await asyncio.gather(*(watcher.follow() for _ in range(3)))

        for fence, _ in pairs:
            assert (await watcher.job(fence)).status == "finalizing"
            story = await watcher.scene.story_of(fence.job_id)
            assert story.count("job.finalizing") == 1
        assert await watcher.scene.pool.fetchval("select count(*) from pictures") == 4


class TestCost:
    async def test_one_look_at_the_list_tells_of_all_tasks(self, watcher: Watcher) -> None:
        tasks = [(await watcher.running())[1] for _ in range(4)]
        for task_id in tasks:
            await watcher.upstream.wait_for(task_id)
        lists, queries = await watcher.calls("list"), await watcher.calls("query")

        await watcher.follow()

        assert await watcher.calls("list") == lists + 1
        assert await watcher.calls("query") == queries + 4

    async def test_a_task_that_goes_on_costs_no_query(self, slow_watcher: Watcher) -> None:
        for _ in range(3):
            await slow_watcher.running()

        await slow_watcher.follow()

        assert await slow_watcher.calls("query") == 0

    async def test_without_tasks_the_upstream_is_not_called(self, watcher: Watcher) -> None:
        await watcher.follow()

        assert await watcher.calls("list") == 0

    async def test_while_the_list_is_down_each_task_is_asked_for_by_itself(
        self, watcher: Watcher
    ) -> None:
        fence, task_id = await watcher.running()
        await watcher.upstream.wait_for(task_id)
        await watcher.upstream.arm({"on": "list", "do": "status", "status": 500})

        await watcher.follow()
        assert (await watcher.job(fence)).status == "running"

        await watcher.let_pass(UNLISTED_PATIENCE)
        await watcher.follow()
        assert (await watcher.job(fence)).status == "finalizing"

    async def test_one_query_that_fails_does_not_hold_up_the_others(
        self, watcher: Watcher
    ) -> None:
        fences, tasks = zip(*[await watcher.running() for _ in range(2)], strict=True)
        for task_id in tasks:
            await watcher.upstream.wait_for(task_id)
        await watcher.upstream.arm({"on": "query", "do": "reset", "match": {"task_id": tasks[0]}})

        await watcher.follow()

        statuses = [(await watcher.job(fence)).status for fence in fences]
        assert statuses == ["running", "finalizing"]

    async def test_more_tasks_than_a_page_of_the_list_are_seen_page_by_page(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dashscope_client, "LIST_PAGE_SIZE", 2)
        pairs = [await watcher.running() for _ in range(5)]
        for _, task_id in pairs:
            await watcher.upstream.wait_for(task_id)

        await watcher.follow()

        assert {(await watcher.job(fence)).status for fence, _ in pairs} == {"finalizing"}

    async def test_pages_behind_the_last_one_of_ours_are_not_read(
        self, slow_watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dashscope_client, "LIST_PAGE_SIZE", 2)
        for _ in range(4):
            await slow_watcher.create()
        await slow_watcher.running()

        await slow_watcher.follow()

        assert await slow_watcher.calls("list") == 1

    async def test_what_was_listed_before_the_list_broke_off_counts(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dashscope_client, "LIST_PAGE_SIZE", 2)
        pairs = [await watcher.running() for _ in range(3)]
        for _, task_id in pairs:
            await watcher.upstream.wait_for(task_id)
        await watcher.upstream.arm({"on": "list", "do": "status", "status": 500, "every": 2})

        await watcher.follow()

        statuses = [(await watcher.job(fence)).status for fence, _ in pairs]
        assert statuses == ["running", "finalizing", "finalizing"]


class TestUnknown:
    """The upstream denies a task that it took."""

    @pytest.fixture
    async def forgetful(self, watcher: Watcher) -> Watcher:
        await watcher.upstream.arm({"on": "task", "do": "lost"})
        return watcher

    async def deny(self, watcher: Watcher, time: timedelta = UNLISTED_PATIENCE) -> None:
        await watcher.let_pass(time)
        await watcher.follow()

    async def test_its_job_is_flagged_and_keeps_its_slot_for_a_while(
        self, forgetful: Watcher
    ) -> None:
        fence, _ = await forgetful.running()

        await self.deny(forgetful)
        await self.deny(forgetful)

        run = await forgetful.run_of(fence)
        assert (run["status"], run["slot"]) == ("running", 0)
        assert run["attention_code"] == "task_unknown"
        assert (await forgetful.scene.story_of(fence.job_id)).count("job.attention") == 1

    async def test_then_its_slot_is_given_to_another_job(self, forgetful: Watcher) -> None:
        scene = forgetful.scene
        fence, _ = await forgetful.running()
        other = await scene.accept()
        await self.deny(forgetful)
        assert (await scene.try_claim(slots=1))[0] is None

        await self.deny(forgetful, RULES.unknown_patience)

        run = await forgetful.run_of(fence)
        assert (run["status"], run["slot"]) == ("running", None)
        assert (await scene.claim(slots=1)).fence.job_id == other

    async def test_it_is_lost_in_the_end_watched_and_never_made_again(
        self, forgetful: Watcher
    ) -> None:
        fence, task_id = await forgetful.running()
        await self.deny(forgetful)
        await self.deny(forgetful, RULES.unknown_patience)

        await self.deny(forgetful, RULES.lost_after - RULES.unknown_patience)

        job = await forgetful.job(fence)
        assert (job.status, job.error_code) == ("failed", "task_lost")
        assert len(await forgetful.scene.attempts_of(fence.job_id)) == 1
        assert await forgetful.orphans() == {task_id: "watched"}
        await forgetful.scene.expect_books_in_order()

    async def test_when_the_upstream_knows_it_again_nothing_has_happened(
        self, watcher: Watcher
    ) -> None:
        await watcher.upstream.arm({"on": "task", "do": "lost", "for_seconds": 2})
        fence, task_id = await watcher.running()
        await self.deny(watcher)
        assert (await watcher.job(fence)).attention is not None

        await watcher.upstream.wait_for(task_id, "SUCCEEDED")
        await self.deny(watcher, UNLISTED_PAUSE)

        job = await watcher.job(fence)
        assert (job.status, job.attention) == ("finalizing", None)

    async def test_a_task_that_goes_on_again_takes_the_flag_off_its_job(
        self, slow_watcher: Watcher
    ) -> None:
        await slow_watcher.upstream.arm({"on": "task", "do": "lost", "for_seconds": 2})
        fence, task_id = await slow_watcher.running()
        await self.deny(slow_watcher)

        await slow_watcher.upstream.wait_for(task_id, "RUNNING")
        await slow_watcher.follow()

        job = await slow_watcher.job(fence)
        assert (job.status, job.attention) == ("running", None)
        assert (await slow_watcher.scene.story_of(fence.job_id))[-1] == "job.attention_over"

    async def test_it_delivers_even_after_its_slot_was_given_away(self, watcher: Watcher) -> None:
        await watcher.upstream.arm({"on": "task", "do": "lost", "for_seconds": 2})
        fence, task_id = await watcher.running()
        await self.deny(watcher)
        await self.deny(watcher, RULES.unknown_patience)
        assert (await watcher.run_of(fence))["slot"] is None

        await watcher.upstream.wait_for(task_id, "SUCCEEDED")
        await watcher.deliver(fence)

        assert (await watcher.job(fence)).status == "succeeded"
        await watcher.scene.expect_books_in_order()


class TestMany:
    """More running tasks than a page of ours."""

    async def test_the_pages_take_turns_and_each_task_is_found(self, watcher: Watcher) -> None:
        first, last = await watcher.ended(), await watcher.ended()
        others = [f"other-{number}" for number in range(MANY - 2)]
        await run_tasks(watcher.scene, [first, *others, last])

        looks = [len(await follow_running(watcher.desk, MODEL)) for _ in range(2)]
        again = len(await follow_running(watcher.desk, MODEL))

        assert looks == [PAGE - 1, MANY - PAGE - 1]
        assert again == PAGE
        assert await tasks_with(watcher.scene, "finalizing") == {first, last}

    async def test_those_that_the_list_does_not_show_are_asked_for_a_few_at_a_time(
        self, watcher: Watcher
    ) -> None:
        await run_tasks(watcher.scene, [f"lost-{number}" for number in range(MANY)])
        await watcher.let_pass(UNLISTED_PATIENCE + UNLISTED_PAUSE)

        counts = []
        for _ in range(3):
            before = await watcher.calls("query")
            await watcher.follow()
            counts.append(await watcher.calls("query") - before)

        assert counts == [UNLISTED_BATCH] * 3
        asked = await watcher.scene.pool.fetchval(
            "select count(*) from job_runs where attention_code is not null"
        )
        assert asked == UNLISTED_BATCH * 3

    async def test_one_that_was_asked_for_is_left_in_peace_for_a_while(
        self, watcher: Watcher
    ) -> None:
        await run_tasks(watcher.scene, ["lost-1"])
        await watcher.let_pass(UNLISTED_PATIENCE)

        for _ in range(2):
            await watcher.follow()
        assert await watcher.calls("query") == 1

        await watcher.let_pass(UNLISTED_PAUSE)
        await watcher.follow()
        assert await watcher.calls("query") == 2

    async def test_a_task_on_another_page_is_not_taken_for_unlisted(
        self, slow_watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follow, "PAGE", 2)
        await run_tasks(slow_watcher.scene, [await slow_watcher.create() for _ in range(5)])
        await slow_watcher.let_pass(UNLISTED_PATIENCE + UNLISTED_PAUSE)

        for _ in range(3):
            await slow_watcher.follow()

        assert await slow_watcher.calls("query") == 0

    async def test_what_a_look_holds_does_not_grow_with_them(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follow, "PAGE", 100)
        await run_tasks(watcher.scene, [f"few-{number}" for number in range(100)])
        few = await measure_peak(watcher)

        await run_tasks(watcher.scene, [f"more-{number}" for number in range(MANY)])
        many = await measure_peak(watcher)

        assert many < 1.5 * few


async def test_what_the_upstream_accepts_is_what_was_asked(watcher: Watcher) -> None:
    api = watcher.desk.view.upstream
    accepted = await api.create_task(
        MODEL,
        input_fields={"prompt": "make it blue", "images": ["https://img.example/a.png"]},
        parameters={"n": 2},
        timeout_seconds=5,
    )

    assert isinstance(accepted, Accepted)
    answer = await watcher.upstream.wait_for(accepted.task_id)
    assert answer["usage"]["image_count"] == 2


async def run_tasks(scene: Scene, task_ids: Iterable[str]) -> None:
    """A running job for each task, submitted a millisecond after the other."""
    task_ids = list(task_ids)
    jobs = [scene.ask() for _ in task_ids]
    await scene.store(*jobs)
    await scene.pool.execute(
        """
        with tasks as (
            select job_id, task_id, place, now() - make_interval(secs => 5 - place / 1000.0)
                as submitted_at
            from unnest($1::uuid[], $2::text[]) with ordinality as given (job_id, task_id, place)
        ),
        tried as (
            insert into attempts (job_id, number, account_id, lane_id, intended_at, outcome,
                upstream_task_id)
            select job_id, 1, $3, $4, submitted_at, 'accepted', task_id from tasks
        )
        update job_runs set status = 'running', attempt = 1, account_id = $3, due_at = now(),
            upstream_task_id = task_id, submitted_at = tasks.submitted_at,
            slot = place - 1 + (select count(*) from job_runs where slot is not null)
        from tasks where tasks.job_id = job_runs.job_id
        """,
        [job.id for job in jobs],
        task_ids,
        scene.account_id,
        scene.lane_id,
    )


async def tasks_with(scene: Scene, status: str) -> set[str]:
    rows = await scene.pool.fetch(
        "select upstream_task_id from job_runs where status = $1", status
    )
    return {row["upstream_task_id"] for row in rows}


async def measure_peak(watcher: Watcher) -> int:
    """Bytes that one look has at most."""
    await watcher.follow()
    tracemalloc.start()
    await watcher.follow()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
