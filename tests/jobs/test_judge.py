"""News becomes facts: in one transaction, by the state as it stands, and never lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from asyncpg import InterfaceError
from structlog.testing import capture_logs

from app.billing.ledger import CannotSettle
from app.dashscope.outcomes import Accepted, NotSent, OutcomeUnknown, Refused
from app.dashscope.payloads import TaskAnswer, TaskStatus
from app.jobs.core.state import (
    Answered,
    CancelAsked,
    Candidate,
    Created,
    Event,
    Listed,
    Match,
    Rules,
    Spotted,
    Ticked,
)
from app.jobs.engine import judge as judge_module
from app.jobs.engine.judge import Judge
from app.jobs.engine.states import Standing, lock_standing
from app.jobs.lifecycle import CancelTask, Doubt, Fail, Requeue, Run
from app.jobs.record import record
from app.kit.crypto import Vault
from app.kit.postgres.database import Connection, Pool, Sessions, transaction
from tests.factories import MODEL, make_account
from tests.jobs.scene import Scene, is_one_waiting
from tests.waiting import wait_until

RULES = Rules(settle=timedelta(seconds=70), dice=lambda: 0.0)
ARREARAGE = Refused(400, "Arrearage", "pay first", "r-1")


@pytest.fixture
def judge(scene: Scene) -> Judge:
    return Judge(scene.pool, RULES)


def accepted(task_id: str = "t-1", *, attempt: int = 1) -> Created:
    return Created(attempt, Accepted(task_id, f"request-of-{task_id}"))


def succeeded(task_id: str = "task-1", *, url: str = "https://r.example/a") -> Answered:
    results = [{"url": url, "orig_prompt": "make it blue"}]
    output = {"task_id": task_id, "task_status": "SUCCEEDED", "results": results}
    usage = {"image_count": 1}
    return Answered(1, TaskAnswer.model_validate({"output": output, "usage": usage}))


class TestHear:
    async def test_what_is_decided_is_written_and_told(self, scene: Scene, judge: Judge) -> None:
        fence = await scene.submitting()

        actions = await judge.hear(fence.job_id, accepted())

        assert actions == (Run("t-1", "request-of-t-1"),)
        assert (await scene.get(fence.job_id)).status == "running"

    async def test_a_task_to_be_canceled_is_left_to_the_caller(
        self, scene: Scene, judge: Judge
    ) -> None:
        fence = await scene.running()
        await judge.hear(fence.job_id, CancelAsked())

        actions = await judge.hear(fence.job_id, Spotted(1, TaskStatus.PENDING))

        assert actions == (CancelTask("task-1"),)
        assert (await scene.get(fence.job_id)).status == "running"

    async def test_news_of_a_job_that_is_not_there_changes_nothing(
        self, scene: Scene, judge: Judge
    ) -> None:
        assert await judge.hear(UUID(int=1), Ticked()) == ()
        assert await judge.hear(UUID(int=1), Listed(1)) == ()

    @pytest.mark.parametrize(
        "event",
        [accepted(), Created(1, OutcomeUnknown("reset")), Created(1, NotSent("away"))],
        ids=["accepted", "unknown", "not sent"],
    )
    async def test_the_same_news_twice_at_once_count_once(
        self, scene: Scene, judge: Judge, event: Event
    ) -> None:
        fence = await scene.submitting()
        before = len(await scene.story_of(fence.job_id))

        await asyncio.gather(*(judge.hear_surely(fence.job_id, event) for _ in range(4)))

        told = (await scene.story_of(fence.job_id))[before:]
        assert len(told) in (1, 4)
        assert len(set(told)) == 1
        assert (len(told) == 4) == (told[0] == "job.submission_unknown")

    async def test_contradicting_news_at_once_are_one_after_the_other(
        self, scene: Scene, judge: Judge
    ) -> None:
        """The list says that nothing was made while the create's own answer comes in."""
        fence = await scene.submitting()
        await scene.decide(fence, Doubt("reset"))
        await scene.pool.execute("update attempts set intended_at = now() - interval '80 s'")

        await asyncio.gather(
            judge.hear_surely(fence.job_id, Listed(1)),
            judge.hear_surely(fence.job_id, accepted()),
        )

        job = await scene.get(fence.job_id)
        orphans = await scene.pool.fetchval("select count(*) from orphans where is_ours")
        assert (job.status, orphans) in {("running", 0), ("queued", 1)}


class TestStanding:
    async def test_whoever_waited_for_a_run_sees_all_that_was_written_of_it(
        self, scene: Scene
    ) -> None:
        """An adopted task must not pass for an accepted one: it has yet to be verified."""
        fence = await scene.submitting()
        await scene.decide(fence, Doubt("reset"))
        async with transaction(scene.pool) as writer:
            await record(writer, fence, Run("t-1", "r-1", adopted=True))
            waiting = asyncio.create_task(self._look(scene, fence.job_id))
            await wait_until(lambda: is_one_waiting(scene))

        standing = await waiting
        assert standing is not None
        assert (standing.run.status, standing.run.task_id) == ("running", "t-1")
        assert standing.run.is_adopted

    async def _look(self, scene: Scene, job_id: UUID) -> Standing | None:
        async with transaction(scene.pool) as connection:
            return await lock_standing(connection, job_id)


class TestAccounts:
    """What a create's outcome says of its account."""

    async def paces(self, scene: Scene) -> dict[UUID, str | None]:
        rows = await scene.pool.fetch("select account_id, pause_code from account_paces")
        return {row["account_id"]: row["pause_code"] for row in rows}

    async def test_an_account_at_fault_is_taken_out_and_the_job_waits_its_turn(
        self, scene: Scene, judge: Judge
    ) -> None:
        fence = await scene.submitting()

        await judge.hear(fence.job_id, Created(1, ARREARAGE))

        assert await self.paces(scene) == {scene.account_id: "Arrearage"}
        assert (await scene.get(fence.job_id)).status == "queued"

    async def test_the_late_news_of_a_create_are_about_the_account_that_it_went_to(
        self, scene: Scene, judge: Judge, sessions: Sessions, vault: Vault
    ) -> None:
        fence = await scene.submitting()
        await scene.decide(fence, Requeue("absent", "not_created", "none"))
        other = await make_account(sessions, vault)
        await scene.pool.execute(
            "insert into account_paces (account_id, model) values ($1, $2)", other.id, MODEL
        )
        lane_id = await scene.pool.fetchval("select id from lanes where account_id = $1", other.id)
        await scene.pool.execute("update accounts set weight = 100 where id = $1", other.id)
        await scene.claim(account_id=other.id, lane_id=lane_id)

        await judge.hear_surely(fence.job_id, Created(1, ARREARAGE))

        assert await self.paces(scene) == {scene.account_id: "Arrearage", other.id: None}

    async def test_the_late_news_of_a_job_that_has_ended_are_noted_too(
        self, scene: Scene, judge: Judge
    ) -> None:
        fence = await scene.submitting()
        await scene.decide(fence, Fail("InvalidParameter", "no"))

        await judge.hear_surely(fence.job_id, Created(1, ARREARAGE))

        assert await self.paces(scene) == {scene.account_id: "Arrearage"}


def spoil(news: Answered) -> Answered:
    """As no reading lets it in: with a NUL in its picture's URL."""
    output = news.answer.output
    (item,) = output.results
    results = (item.model_copy(update={"url": "https://r/a\0b"}),)
    spoiled = output.model_copy(update={"results": results})
    return replace(news, answer=news.answer.model_copy(update={"output": spoiled}))


class TestSurely:
    async def test_news_that_exist_nowhere_else_wait_for_the_database(
        self, scene: Scene, judge: Judge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fence = await scene.submitting()
        losses = iter((ConnectionResetError(), TimeoutError(), InterfaceError("closed")))

        @asynccontextmanager
        async def lose_thrice(pool: Pool) -> AsyncIterator[Connection]:
            async with transaction(pool) as connection:
                yield connection
                for loss in losses:
                    raise loss

        monkeypatch.setattr(judge_module, "transaction", lose_thrice)
        monkeypatch.setattr(judge_module, "RETRY_SECONDS", 0)

        await judge.hear_surely(fence.job_id, accepted())

        assert (await scene.get(fence.job_id)).status == "running"
        assert (await scene.story_of(fence.job_id)).count("job.running") == 1

    @pytest.mark.parametrize("failures", [1, 3, 4, 9])
    async def test_a_task_that_only_these_news_name_is_written_flagged_or_at_least_logged(
        self, scene: Scene, judge: Judge, monkeypatch: pytest.MonkeyPatch, failures: int
    ) -> None:
        """Whatever fails, as often as it does: the lane goes on, and the id is not dropped."""
        fence = await scene.submitting()
        errors = iter([CannotSettle("no")] * failures)

        @asynccontextmanager
        async def fail(pool: Pool) -> AsyncIterator[Connection]:
            async with transaction(pool) as connection:
                yield connection
                for error in errors:
                    raise error

        monkeypatch.setattr(judge_module, "transaction", fail)
        monkeypatch.setattr(judge_module, "RETRY_SECONDS", 0)

        with capture_logs() as logs:
            await judge.hear_surely(fence.job_id, accepted("t-7"))

        job = await scene.get(fence.job_id)
        assert job.status == ("running" if failures < 3 else "submitting")
        if 3 <= failures < 6:
            assert job.attention is not None
            assert "t-7" in job.attention["detail"]
        if failures >= 3:
            assert "t-7" in {entry.get("task_id") for entry in logs}

    async def test_news_that_are_stale_are_dropped_but_for_the_task_they_tell_of(
        self, scene: Scene, judge: Judge
    ) -> None:
        fence = await scene.running()

        assert await judge.hear_surely(fence.job_id, Created(1, NotSent("late"))) == ()
        await judge.hear_surely(fence.job_id, accepted("t-2"))

        run = await scene.run_of(fence.job_id)
        assert run is not None
        assert run["upstream_task_id"] == "task-1"
        orphan = await scene.pool.fetchval("select upstream_task_id from orphans where is_ours")
        assert orphan == "t-2"

    async def test_news_that_no_table_takes_are_flagged_and_hold_up_nobody(
        self, scene: Scene, judge: Judge
    ) -> None:
        fence = await scene.running()

        await judge.hear_surely(fence.job_id, spoil(succeeded()))

        job = await scene.get(fence.job_id)
        assert job.status == "running"
        assert job.attention is not None
        assert job.attention["code"] == "answer_unwritable"
        await judge.hear_surely(fence.job_id, succeeded())
        assert (await scene.get(fence.job_id)).status == "finalizing"

    async def test_news_that_no_table_takes_of_an_attempt_that_is_over_are_dropped(
        self, scene: Scene, judge: Judge
    ) -> None:
        fence = await scene.running()

        assert await judge.hear_surely(fence.job_id, accepted("t\0", attempt=2)) == ()

        assert (await scene.get(fence.job_id)).attention is None

    async def test_of_two_creates_that_find_the_same_task_one_looks_again(
        self, scene: Scene, judge: Judge
    ) -> None:
        await scene.running("t-1")
        second = await scene.submitting()
        await scene.decide(second, Doubt("reset"))
        found = Listed(1, (Candidate("t-1", "r-1", Match.SAME),))

        assert await judge.hear_surely(second.job_id, found) == ()

        job = await scene.get(second.job_id)
        assert (job.status, job.attention) == ("submitting", None)

    async def test_a_create_told_of_another_jobs_own_task_is_for_a_person(
        self, scene: Scene, judge: Judge
    ) -> None:
        first = await scene.running("t-1")
        second = await scene.submitting()

        await judge.hear_surely(second.job_id, accepted("t-1"))

        job = await scene.get(second.job_id)
        assert job.attention is not None
        assert job.attention["code"] == "answer_unwritable"
        run = await scene.run_of(first.job_id)
        assert run is not None
        assert run["upstream_task_id"] == "t-1"
