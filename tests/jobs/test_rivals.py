"""Creates in doubt beside each other: told apart by key and words, or left to a person."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from app.jobs.core.state import RequeueAsked
from app.jobs.engine import watch
from app.jobs.engine.judge import Judge
from app.jobs.engine.states import lock_standing
from app.jobs.engine.watch import AccountView
from app.jobs.lifecycle import Fence, Run
from app.jobs.record import record
from app.kit.postgres.database import transaction
from tests.jobs.scene import ended_with, is_one_waiting
from tests.jobs.watcher import KEYS, RULES, SETTLED, STALE, Watcher
from tests.waiting import wait_until

WORDS: tuple[dict[str, str], ...] = ({}, {"prompt": "make it red"})


class TestRivals:
    """Two lanes, each with a create whose outcome is open."""

    async def test_a_task_is_not_taken_from_the_open_create_of_another_lane(
        self, watcher: Watcher
    ) -> None:
        """The other lane's create has made the task, and its answer is not yet written down."""
        doubt = await watcher.in_doubt()
        await watcher.let_pass(SETTLED + STALE)
        open_create = await watcher.sent(await watcher.add_lane())
        task_id = await watcher.create()

        await watcher.resolve()
        assert (await watcher.job(doubt)).status == "submitting"

        await watcher.hear_accepted(open_create, task_id)
        await watcher.resolve()
        await watcher.resolve()
        assert (await watcher.job(doubt)).status == "queued"

    async def test_while_keys_are_unknown_and_tasks_unread_both_wait(
        self, slow_watcher: Watcher
    ) -> None:
        other_lane = await slow_watcher.add_lane()
        fences = [await slow_watcher.in_doubt(lane) for lane in (None, other_lane)]
        for key in KEYS:
            await slow_watcher.create(key)
        await slow_watcher.let_pass(SETTLED)

        await slow_watcher.resolve()

        assert [(await slow_watcher.job(fence)).status for fence in fences] == ["submitting"] * 2

    async def test_keys_that_are_known_tell_them_apart(self, slow_watcher: Watcher) -> None:
        tasks = [await slow_watcher.create(key) for key in KEYS]
        other_lane = await slow_watcher.add_lane(key_ids=await key_ids_of(slow_watcher, tasks))
        fences = [await slow_watcher.in_doubt(lane) for lane in (None, other_lane)]

        await slow_watcher.resolve()

        assert [await slow_watcher.task_of(fence) for fence in fences] == tasks

    async def test_different_words_tell_them_apart_once_the_tasks_have_ended(
        self, watcher: Watcher
    ) -> None:
        other_lane = await watcher.add_lane()
        fences = [
            await watcher.in_doubt(lane, **words)
            for lane, words in zip((None, other_lane), WORDS, strict=True)
        ]
        tasks = [await watcher.ended(**words) for words in WORDS]

        await watcher.resolve()

        assert [await watcher.task_of(fence) for fence in fences] == tasks

    @pytest.mark.parametrize("is_known_to_share", [True, False])
    async def test_accounts_whose_tasks_show_in_one_list_are_rivals(
        self, watcher: Watcher, *, is_known_to_share: bool
    ) -> None:
        """That two accounts are one upstream is seen by a listed task that the other one has."""
        other_lane = await watcher.add_lane()
        doubt = await watcher.in_doubt()
        shown = await watcher.sent(other_lane)
        task_id = await watcher.ended(KEYS[1], prompt="another edit")
        await watcher.hear_accepted(shown, task_id if is_known_to_share else "of-another-list")
        await watcher.in_doubt(other_lane)
        await move_to_another_account(watcher, other_lane)
        made = await watcher.ended()

        await watcher.resolve()

        assert await watcher.task_of(doubt) == (None if is_known_to_share else made)

    async def test_the_same_words_are_for_a_person_and_hold_up_nobody(
        self, watcher: Watcher
    ) -> None:
        other_lane = await watcher.add_lane()
        fences = [await watcher.in_doubt(lane) for lane in (None, other_lane)]
        for _ in fences:
            await watcher.ended()

        await watcher.let_pass(SETTLED)
        await watcher.resolve()
        assert [(await watcher.job(fence)).attention for fence in fences] == [None, None]

        lose_patience(watcher)
        await watcher.resolve()
        for fence in fences:
            run = await watcher.run_of(fence)
            assert run["attention_code"] == "submission_unknown"
            assert (run["status"], run["lane_id"], run["slot"]) == ("submitting", None, None)
        for lane in (None, other_lane):
            await watcher.sent(lane)

    async def test_a_create_in_review_adopts_its_task_as_soon_as_it_is_clear(
        self, watcher: Watcher
    ) -> None:
        fence, rival, tasks = await self._in_review(watcher)

        await watcher.hear_accepted(rival, tasks[1])
        await watcher.review()

        run = await watcher.run_of(fence)
        assert (run["status"], run["upstream_task_id"]) == ("running", tasks[0])
        assert run["attention_code"] == "submission_unknown"
        await watcher.deliver(fence)
        job = await watcher.job(fence)
        assert (job.status, job.image_count) == ("succeeded", 1)
        await watcher.scene.expect_books_in_order()

    async def test_a_create_that_a_person_gives_up_leaves_its_task_to_the_other(
        self, watcher: Watcher
    ) -> None:
        fence, rival, tasks = await self._in_review(watcher)

        await watcher.desk.judge.hear(rival.job_id, RequeueAsked("made nothing"))
        assert (await watcher.job(rival)).status == "queued"
        await watcher.review()

        assert await watcher.task_of(fence) == tasks[0]
        assert await watcher.orphans() == {tasks[1]: "watched"}

    async def test_creates_in_review_are_looked_for_on_a_round_of_their_own(
        self, watcher: Watcher
    ) -> None:
        await self._in_review(watcher)
        lists = await watcher.calls("list")

        await watcher.resolve()
        assert await watcher.calls("list") == lists

        await watcher.review()
        assert await watcher.calls("list") == lists + 1

    async def test_a_task_that_either_may_have_made_is_asked_for_once(
        self, watcher: Watcher
    ) -> None:
        other_lane = await watcher.add_lane()
        for lane in (None, other_lane):
            await watcher.in_doubt(lane)
        await watcher.ended()
        queries = await watcher.calls("query")

        await watcher.resolve()
        await watcher.resolve()

        assert await watcher.calls("query") == queries + 1

    async def test_who_asks_at_a_time_has_one_answer_also_when_it_is_none(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        async def find_nothing(view: AccountView, task_id: str) -> None:
            asked.append(task_id)
            await asyncio.sleep(0.01)

        monkeypatch.setattr(watch, "find_answer", find_nothing)
        desk = watcher.desk

        await asyncio.gather(*(desk.answers.find(desk.view, "t") for _ in range(20)))
        assert asked == ["t"]

        await desk.answers.find(desk.view, "t")
        assert asked == ["t", "t"]

    async def _in_review(self, watcher: Watcher) -> tuple[Fence, Fence, list[str]]:
        other_lane = await watcher.add_lane()
        fence, rival = [await watcher.in_doubt(lane) for lane in (None, other_lane)]
        tasks = [await watcher.ended()]
        await asyncio.sleep(0.002)  # The list tells times in whole milliseconds.
        tasks.append(await watcher.ended())
        await watcher.let_pass(SETTLED)
        lose_patience(watcher)
        await watcher.resolve()
        return fence, rival, tasks


class TestTakenBack:
    """A create's own answer outweighs what another create was guessed to have made."""

    async def test_the_wrong_adopter_is_in_doubt_again_and_finds_its_own(
        self, slow_watcher: Watcher
    ) -> None:
        other_lane = await slow_watcher.add_lane()
        owner = await slow_watcher.sent(other_lane)
        thief = await slow_watcher.in_doubt()
        task_id = await slow_watcher.create()
        await slow_watcher.scene.decide(thief, Run(task_id, "r", adopted=True))

        await slow_watcher.hear_accepted(owner, task_id)

        assert await slow_watcher.task_of(owner) == task_id
        (attempt,) = await slow_watcher.scene.attempts_of(owner.job_id)
        assert attempt["outcome"] == "accepted"
        assert (await slow_watcher.job(thief)).status == "submitting"
        own = await slow_watcher.create()
        await slow_watcher.resolve()
        assert await slow_watcher.task_of(thief) == own

    async def test_a_task_that_is_being_taken_back_and_collected_at_once_does_neither_harm(
        self, watcher: Watcher
    ) -> None:
        """Both hold the adopter's run before its attempt, so that neither waits in vain."""
        scene = watcher.scene
        owner = await watcher.sent(await watcher.add_lane())
        thief = await watcher.in_doubt()
        await scene.decide(thief, Run("t-1", "r", adopted=True))
        async with transaction(scene.pool) as collector:
            await lock_standing(collector, thief.job_id)
            taking_back = asyncio.create_task(watcher.hear_accepted(owner, "t-1"))
            await wait_until(lambda: is_one_waiting(scene))
            await collector.execute("set local lock_timeout = '500ms'")
            await record(collector, thief, ended_with("https://r.example/a"))
        await taking_back

        assert (await watcher.job(thief)).status == "finalizing"
        assert (await watcher.job(owner)).status == "submitting"

    async def test_what_the_adopter_has_already_used_is_not_taken_back(
        self, watcher: Watcher
    ) -> None:
        """Its words are the same: the pictures are as good, and its own task is the owner's."""
        other_lane = await watcher.add_lane()
        owner = await watcher.sent(other_lane)
        thief = await watcher.in_doubt()
        task_id = await watcher.ended()
        await watcher.scene.decide(thief, Run(task_id, "r", adopted=True))
        await watcher.deliver(thief)

        await watcher.hear_accepted(owner, task_id)
        assert (await watcher.job(owner)).status == "submitting"
        assert (await watcher.job(thief)).status == "succeeded"

        await watcher.let_pass(timedelta(minutes=1))
        thiefs_own = await watcher.create()
        await watcher.resolve()
        assert await watcher.task_of(owner) == thiefs_own
        await watcher.scene.expect_books_in_order()


async def key_ids_of(watcher: Watcher, tasks: list[str]) -> tuple[str, str]:
    """The names under which the upstream lists the keys that made two tasks."""
    lines = {line["task_id"]: line for line in (await watcher.upstream.control("bill"))["tasks"]}
    first, second = (lines[task_id]["api_key_id"] for task_id in tasks)
    return first, second


def lose_patience(watcher: Watcher) -> None:
    """As if an hour had passed for the engine, and for the upstream only a minute."""
    rules = replace(RULES, review_after=SETTLED)
    watcher.desk.judge = Judge(watcher.scene.pool, rules)


async def move_to_another_account(watcher: Watcher, lane_id: UUID) -> None:
    """As if the lane and all that went out on it had always been another account's."""
    pool = watcher.scene.pool
    account_id: UUID = await pool.fetchval(
        """
        insert into accounts (id, name, region, base_url)
        select gen_random_uuid(), 'another', region, base_url from accounts returning id
        """
    )
    for table, key in (("lanes", "id"), ("attempts", "lane_id"), ("job_runs", "lane_id")):
        await pool.execute(
            f"update {table} set account_id = $1 where {key} = $2",
            account_id,
            lane_id,
        )
    await pool.execute(
        """
        update job_runs set account_id = $1 where job_id in (
            select job_id from attempts where account_id = $1
        )
        """,
        account_id,
    )
