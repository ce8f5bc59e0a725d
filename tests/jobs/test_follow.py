"""Following tasks upstream: each found when it ends, lost creates looked up, none taken twice."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from app.dashscope import client as dashscope_client
from app.dashscope.client import Accepted
from app.jobs.engine import watch
from app.jobs.engine.decide import UNKNOWN_PATIENCE
from app.jobs.engine.follow import DOUBT_SKEW, AccountDesk, follow_running, resolve_doubts
from app.jobs.engine.watch import UNLISTED_PATIENCE, AccountView
from app.jobs.lifecycle import Doubt, Fence, Run
from app.jobs.store import JobRecord
from app.kit.clock import utc_now
from app.kit.pace import Pace
from tests.dashscope.upstreams import calling
from tests.emulator.client import QUICK, Desk, make_body, open_desk
from tests.factories import MODEL
from tests.jobs.scene import Scene

CALLER = "sk-desk"
SETTLE = timedelta(seconds=70)
SETTLED = SETTLE + timedelta(seconds=1)


@dataclass
class Follower:
    """One account's watcher over a real emulator."""

    scene: Scene
    upstream: Desk
    view: AccountView

    @property
    def desk(self) -> AccountDesk:
        return AccountDesk(
            pool=self.scene.pool,
            account_id=self.scene.account_id,
            view=self.view,
            clock=utc_now,
            settle=SETTLE,
        )

    async def let_pass(self, time: timedelta) -> None:
        """As if every create had been sent, and every flag set, that much earlier."""
        await self.scene.pool.execute(
            """
            with moved as (update attempts set intended_at = intended_at - $1::interval)
            update job_runs set submitted_at = submitted_at - $1::interval,
                attention_since = attention_since - $1::interval
            """,
            time,
        )

    async def follow(self) -> None:
        await follow_running(self.desk, [MODEL])

    async def resolve(self) -> None:
        await resolve_doubts(self.desk, [MODEL])

    async def create(self, **changes: object) -> str:
        """A task that the upstream makes for whatever was asked."""
        return await self.upstream.create(make_body(**changes))  # type: ignore[arg-type]

    async def running(self, **changes: object) -> tuple[Fence, str]:
        """A job that runs upstream, and its task."""
        fence = await self.scene.submitting()
        task_id = await self.create(**changes)
        await self.scene.decide(fence, Run(task_id, "r"))
        return fence, task_id

    async def in_doubt(self) -> Fence:
        """A job whose create was sent, and whose answer never came."""
        fence = await self.scene.submitting()
        await self.scene.decide(fence, Doubt("reset"))
        return fence

    async def calls(self, endpoint: str) -> int:
        calls = (await self.upstream.control("bill"))["calls"]
        return int(calls.get(endpoint, 0))

    async def job(self, fence: Fence) -> JobRecord:
        return await self.scene.get(fence.job_id)


@pytest.fixture
async def follower(scene: Scene) -> AsyncIterator[Follower]:
    async with open_desk(QUICK) as upstream, calling(upstream.base_url, CALLER) as api:
        view = AccountView(api, Pace(1_000), Pace(1_000))
        yield Follower(scene, upstream, view)


@pytest.fixture
async def slow_follower(scene: Scene) -> AsyncIterator[Follower]:
    slow = replace(QUICK, running_seconds=(3_600, 3_600))
    async with open_desk(slow) as upstream, calling(upstream.base_url, CALLER) as api:
        yield Follower(scene, upstream, AccountView(api, Pace(1_000), Pace(1_000)))


class TestRunning:
    async def test_a_task_that_goes_on_is_left_alone(self, slow_follower: Follower) -> None:
        fence, _ = await slow_follower.running()

        await slow_follower.follow()

        assert (await slow_follower.job(fence)).status == "running"

    async def test_a_task_that_has_ended_is_collected(self, follower: Follower) -> None:
        fence, task_id = await follower.running()
        await follower.upstream.wait_for(task_id)

        await follower.follow()

        assert (await follower.job(fence)).status == "finalizing"
        (attempt,) = await follower.scene.attempts_of(fence.job_id)
        assert attempt["task_status"] == "SUCCEEDED"
        assert attempt["task_submitted_at"] < attempt["task_ended_at"]

    async def test_a_task_that_has_failed_fails_its_job(self, follower: Follower) -> None:
        await follower.upstream.arm({"on": "task", "do": "fail"})
        fence, task_id = await follower.running()
        await follower.upstream.wait_for(task_id)

        await follower.follow()

        job = await follower.job(fence)
        assert (job.status, job.error_code) == ("failed", "InternalError")
        await follower.scene.expect_books_in_order()

    async def test_one_look_at_the_list_tells_of_all_tasks(self, follower: Follower) -> None:
        tasks = [(await follower.running())[1] for _ in range(4)]
        for task_id in tasks[:3]:
            await follower.upstream.wait_for(task_id)
        await follower.upstream.wait_for(tasks[3])
        lists, queries = await follower.calls("list"), await follower.calls("query")

        await follower.follow()

        assert await follower.calls("list") == lists + 1
        assert await follower.calls("query") == queries + 4

    async def test_a_task_that_goes_on_costs_no_query(self, slow_follower: Follower) -> None:
        for _ in range(3):
            await slow_follower.running()
        queries = await slow_follower.calls("query")

        await slow_follower.follow()

        assert await slow_follower.calls("query") == queries

    async def test_without_tasks_the_upstream_is_not_called(self, follower: Follower) -> None:
        await follower.follow()

        assert await follower.calls("list") == 0

    async def test_while_the_list_is_down_each_task_is_asked_for_by_itself(
        self, follower: Follower
    ) -> None:
        fence, task_id = await follower.running()
        await follower.upstream.wait_for(task_id)
        await follower.upstream.arm({"on": "list", "do": "status", "status": 500})

        await follower.follow()
        assert (await follower.job(fence)).status == "running"

        await follower.let_pass(UNLISTED_PATIENCE)
        await follower.follow()
        assert (await follower.job(fence)).status == "finalizing"

    async def test_one_query_that_fails_does_not_hold_up_the_others(
        self, follower: Follower
    ) -> None:
        fences, tasks = zip(*[await follower.running() for _ in range(2)], strict=True)
        for task_id in tasks:
            await follower.upstream.wait_for(task_id)
        await follower.upstream.arm({"on": "query", "do": "reset", "match": {"task_id": tasks[0]}})

        await follower.follow()

        assert [(await follower.job(fence)).status for fence in fences] == [
            "running",
            "finalizing",
        ]

    async def test_a_task_that_the_upstream_lost_is_flagged_then_failed_and_never_made_again(
        self, follower: Follower
    ) -> None:
        await follower.upstream.arm({"on": "task", "do": "lost"})
        fence, _ = await follower.running()
        await follower.let_pass(UNLISTED_PATIENCE)

        await follower.follow()

        job = await follower.job(fence)
        assert job.status == "running"
        assert job.attention is not None
        assert job.attention["code"] == "task_unknown"

        await follower.let_pass(UNKNOWN_PATIENCE)
        await follower.follow()

        job = await follower.job(fence)
        assert (job.status, job.error_code) == ("failed", "task_lost")
        assert len(await follower.scene.attempts_of(fence.job_id)) == 1
        await follower.scene.expect_books_in_order()

    async def test_more_tasks_than_a_page_are_seen_page_by_page(
        self, follower: Follower, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dashscope_client, "LIST_PAGE_SIZE", 2)
        pairs = [await follower.running() for _ in range(5)]
        for _, task_id in pairs:
            await follower.upstream.wait_for(task_id)

        await follower.follow()

        statuses = {(await follower.job(fence)).status for fence, _ in pairs}
        assert statuses == {"finalizing"}


class TestDoubts:
    async def test_the_task_that_nobody_has_is_the_one_that_was_made(
        self, follower: Follower
    ) -> None:
        await follower.running()
        fence = await follower.in_doubt()
        task_id = await follower.create()

        await follower.resolve()

        run = await follower.scene.run_of(fence.job_id)
        assert run is not None
        assert (run["status"], run["upstream_task_id"]) == ("running", task_id)
        (attempt,) = await follower.scene.attempts_of(fence.job_id)
        assert attempt["outcome"] == "adopted"
        assert attempt["upstream_request_id"]

    async def test_an_adopted_task_of_another_prompt_is_delivered_to_nobody(
        self, follower: Follower
    ) -> None:
        fence = await follower.in_doubt()
        task_id = await follower.create(prompt="another team's")
        await follower.scene.decide(fence, Run(task_id, "r", adopted=True))
        await follower.upstream.wait_for(task_id)

        await follower.follow()
        assert (await follower.job(fence)).status == "running"
        await follower.let_pass(SETTLE)
        await follower.follow()

        job = await follower.job(fence)
        assert (job.status, job.pictures) == ("queued", ())
        assert "job.disowned" in await follower.scene.story_of(fence.job_id)
        (attempt,) = await follower.scene.attempts_of(fence.job_id)
        assert (attempt["outcome"], attempt["upstream_task_id"]) == ("absent", None)

    async def test_a_job_is_sent_again_when_the_task_it_adopted_failed(
        self, follower: Follower
    ) -> None:
        fence = await follower.in_doubt()
        task_id = await follower.create(size="1*1")
        await follower.scene.decide(fence, Run(task_id, "r", adopted=True))
        await follower.upstream.wait_for(task_id)
        await follower.let_pass(SETTLE)

        await follower.follow()

        job = await follower.job(fence)
        assert (job.status, job.error_code) == ("queued", None)

    async def test_a_job_stays_while_another_task_than_the_disowned_may_be_its_own(
        self, follower: Follower
    ) -> None:
        fence = await follower.in_doubt()
        stranger = await follower.create(prompt="another team's")
        await follower.scene.decide(fence, Run(stranger, "r", adopted=True))
        await follower.upstream.wait_for(stranger)
        await follower.create()
        await follower.let_pass(SETTLE)

        await follower.follow()

        job = await follower.job(fence)
        assert job.status == "running"
        assert job.attention is not None
        assert job.attention["code"] == "wrong_task"

    async def test_a_failed_task_is_nobodys_and_closes_no_lane(self, follower: Follower) -> None:
        fence = await follower.in_doubt()
        await follower.upstream.wait_for(await follower.create(size="1*1"))
        await follower.let_pass(SETTLE)

        await follower.resolve()

        assert (await follower.job(fence)).status == "queued"

    async def test_a_task_that_has_ended_with_another_prompt_is_not_adopted(
        self, follower: Follower
    ) -> None:
        fence = await follower.in_doubt()
        await follower.upstream.wait_for(await follower.create(prompt="another team's"))

        await follower.resolve()
        assert (await follower.job(fence)).status == "submitting"

        ours = await follower.create()
        await follower.resolve()
        run = await follower.scene.run_of(fence.job_id)
        assert run is not None
        assert run["upstream_task_id"] == ours

    async def test_of_several_tasks_the_one_that_answers_the_request_is_adopted(
        self, follower: Follower
    ) -> None:
        fence = await follower.in_doubt()
        ours, *others = [
            await follower.create(prompt=prompt, n=n)
            for prompt, n in (("make it blue", 1), ("make it red", 1), ("make it blue", 2))
        ]
        for task_id in (ours, *others):
            await follower.upstream.wait_for(task_id)

        await follower.resolve()

        run = await follower.scene.run_of(fence.job_id)
        assert run is not None
        assert run["upstream_task_id"] == ours

    async def test_a_create_that_made_nothing_goes_back_when_that_is_sure(
        self, follower: Follower
    ) -> None:
        fence = await follower.in_doubt()

        await follower.resolve()
        assert (await follower.job(fence)).status == "submitting"

        await follower.let_pass(SETTLED)
        await follower.resolve()
        assert (await follower.job(fence)).status == "queued"
        (attempt,) = await follower.scene.attempts_of(fence.job_id)
        assert attempt["outcome"] == "absent"

    async def test_while_the_list_is_down_nothing_is_sure(self, follower: Follower) -> None:
        fence = await follower.in_doubt()
        await follower.upstream.arm({"on": "list", "do": "status", "status": 500})
        await follower.let_pass(SETTLED)

        await follower.resolve()

        assert (await follower.job(fence)).status == "submitting"

    async def test_a_list_too_long_to_be_read_whole_proves_nothing(
        self, follower: Follower, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dashscope_client, "LIST_PAGE_SIZE", 1)
        monkeypatch.setattr(watch, "PAGES_LIMIT", 2)
        for _ in range(3):
            await follower.running()
        fence = await follower.in_doubt()
        await follower.let_pass(SETTLED)

        await follower.resolve()

        assert (await follower.job(fence)).status == "submitting"

    async def test_a_doubt_older_than_the_list_reaches_is_never_sent_again(
        self, follower: Follower
    ) -> None:
        fence = await follower.in_doubt()
        await follower.let_pass(timedelta(hours=25))

        await follower.resolve()

        job = await follower.job(fence)
        assert job.status == "submitting"
        assert job.attention is not None
        assert job.attention["code"] == "submission_unknown"

    async def test_a_create_that_is_still_on_its_way_is_not_in_doubt(
        self, follower: Follower
    ) -> None:
        fence = await follower.scene.submitting()
        await follower.create()

        await follower.resolve()

        (attempt,) = await follower.scene.attempts_of(fence.job_id)
        assert attempt["outcome"] == "intended"

    async def test_a_create_whose_worker_died_is_in_doubt_when_its_lease_ends(
        self, follower: Follower
    ) -> None:
        fence = await follower.scene.submitting()
        await follower.create()
        await follower.scene.pool.execute("update job_runs set lease_expires_at = now()")

        await follower.resolve()

        assert (await follower.job(fence)).status == "running"

    async def test_a_task_from_before_the_create_is_not_its_own(self, follower: Follower) -> None:
        await follower.create()
        fence = await follower.in_doubt()
        await follower.let_pass(-DOUBT_SKEW - timedelta(seconds=2))

        await follower.resolve()

        assert (await follower.job(fence)).status == "submitting"

    async def test_a_task_from_long_after_the_create_is_not_its_own(
        self, follower: Follower
    ) -> None:
        fence = await follower.in_doubt()
        await follower.let_pass(SETTLE + DOUBT_SKEW + timedelta(seconds=2))
        await follower.create()

        await follower.resolve()

        assert (await follower.job(fence)).status == "queued"

    async def test_clocks_may_differ_by_a_minute(self, follower: Follower) -> None:
        fence = await follower.in_doubt()
        await follower.create()
        await follower.let_pass(-DOUBT_SKEW + timedelta(seconds=5))

        await follower.resolve()

        assert (await follower.job(fence)).status == "running"

    async def test_a_task_is_not_taken_from_the_open_create_of_another_lane(
        self, follower: Follower
    ) -> None:
        """The other lane's create has made the task, and its answer is not yet written down."""
        scene = follower.scene
        doubt = await follower.in_doubt()
        await scene.accept()
        other_lane = await scene.pool.fetchval(
            """
            insert into lanes (id, account_id, api_key_sealed, api_key_hint)
            select gen_random_uuid(), account_id, api_key_sealed, api_key_hint from lanes
            returning id
            """
        )
        open_create = (await scene.claim(lane_id=other_lane)).fence
        task_id = await follower.create()

        await follower.resolve()
        assert (await follower.job(doubt)).status == "submitting"

        await scene.decide(open_create, Run(task_id, "r"))
        await follower.let_pass(SETTLED)
        await follower.resolve()
        assert (await follower.job(doubt)).status == "queued"

    async def test_two_tasks_that_may_be_it_are_for_a_person(self, follower: Follower) -> None:
        fence = await follower.in_doubt()
        for _ in range(2):
            await follower.create()
        await follower.let_pass(SETTLED)

        await follower.resolve()

        job = await follower.job(fence)
        assert job.status == "submitting"
        assert job.attention is not None
        assert job.attention["code"] == "submission_unknown"

    async def test_two_leaders_at_once_adopt_a_task_once(self, follower: Follower) -> None:
        fence = await follower.in_doubt()
        await follower.create()

        await asyncio.gather(follower.resolve(), follower.resolve())

        assert (await follower.scene.story_of(fence.job_id)).count("job.running") == 1


async def test_what_the_upstream_accepts_is_what_was_asked(follower: Follower) -> None:
    api = follower.view.upstream
    accepted = await api.create_task(
        MODEL,
        input_fields={"prompt": "make it blue", "images": ["https://img.example/a.png"]},
        parameters={"n": 2},
        timeout_seconds=5,
    )

    assert isinstance(accepted, Accepted)
    answer = await follower.upstream.wait_for(accepted.task_id)
    assert answer["usage"]["image_count"] == 2
