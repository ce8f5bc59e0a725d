"""That a create made no task is proven, never guessed: lists that lie, clocks that differ."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.dashscope import client as dashscope_client
from app.dashscope.upstream_clock import UpstreamClock
from app.jobs.core.candidates import Period
from app.jobs.core.deadlines import REVIEW_GRACE
from app.jobs.core.doubts import REVIEW_CODE
from app.jobs.core.state import RequeueAsked
from app.jobs.engine import watch
from app.jobs.engine.judge import Judge
from app.jobs.engine.watch import AccountView, find_answer, list_tasks
from app.jobs.lifecycle import Fence, Run
from app.kit.background.pace import Pace
from app.kit.clock import elapsed_seconds, utc_now
from tests.dashscope.upstreams import calling
from tests.emulator.client import HandClock, open_desk
from tests.factories import MODEL
from tests.house.sources import list_program
from tests.jobs.scene import Scene
from tests.jobs.watcher import KEYS, OPTIONS, RULES, SETTLED, STALE, Watcher, watching
from tests.media.wire import always, reply, serve

LIES: dict[str, dict[str, Any]] = {
    "empty": {"do": "empty"},
    "stale": {"do": "stale", "seconds": 3_600},
    "omits": {"do": "omit", "share": 0.9},
    "refused": {"do": "status", "status": 403, "code": "AccessDenied"},
    "unreadable": {"do": "unreadable", "share": 1.0},
    "wrong zone": {"do": "wrong_zone"},
}
LOOKS = 4
A_WHILE = timedelta(seconds=30)
FOR_LONG = timedelta(hours=12)


class AheadClock:
    """A clock that is minutes before ours."""

    def __init__(self, ahead: timedelta) -> None:
        self.ahead = ahead

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


class TestLyingLists:
    @pytest.mark.parametrize("lie", LIES)
    async def test_none_makes_a_job_go_out_twice_and_the_truth_settles_it(
        self, watcher: Watcher, lie: str
    ) -> None:
        """Our own task is there; one of before and one of after the create are known."""
        await watcher.known()
        fence = await watcher.in_doubt()
        task_id = await watcher.create()
        await watcher.let_pass(SETTLED)
        await watcher.known()
        await watcher.upstream.arm({"on": "list"} | LIES[lie])

        for _ in range(LOOKS):
            await watcher.resolve()
            assert (await watcher.job(fence)).status in ("submitting", "running")

        await watcher.upstream.arm()
        await watcher.resolve()
        assert await watcher.task_of(fence) == task_id
        assert len(await watcher.scene.attempts_of(fence.job_id)) == 1

    async def test_a_list_from_before_the_create_shows_what_is_known_and_proves_nothing(
        self, scene: Scene
    ) -> None:
        """Nothing younger is known that would show how old the list is."""
        clock = AheadClock(-SETTLED - A_WHILE)
        async with watching(scene, clock=clock) as watcher:
            await watcher.known()
            await watcher.let_pass(A_WHILE)
            clock.ahead = -SETTLED
            fence = await watcher.in_doubt()
            await watcher.create()
            await watcher.let_pass(SETTLED)
            clock.ahead = timedelta(0)
            lag_seconds = (SETTLED + A_WHILE / 2).total_seconds()
            await watcher.upstream.arm({"on": "list", "do": "stale", "seconds": lag_seconds})

            for _ in range(LOOKS):
                await watcher.resolve()

            assert (await watcher.job(fence)).status == "submitting"
            (attempt,) = await scene.attempts_of(fence.job_id)
            assert attempt["unlisted_at"] is None

    async def test_without_any_known_task_nothing_is_proven(self, watcher: Watcher) -> None:
        fence = await watcher.in_doubt()
        await watcher.let_pass(STALE + SETTLED)

        for _ in range(LOOKS):
            await watcher.resolve()

        assert (await watcher.job(fence)).status == "submitting"

    async def test_one_look_is_not_enough(self, watcher: Watcher) -> None:
        fence = await watcher.in_doubt()
        await watcher.let_pass(SETTLED + STALE)
        await watcher.known()

        await watcher.resolve()
        assert (await watcher.job(fence)).status == "submitting"
        (attempt,) = await watcher.scene.attempts_of(fence.job_id)
        assert attempt["unlisted_at"] is not None

        await watcher.resolve()
        assert (await watcher.job(fence)).status == "queued"


class TestClocks:
    @pytest.mark.parametrize("minutes", [-5, -2, 2, 5])
    async def test_an_upstream_that_is_minutes_off_makes_no_job_go_out_twice(
        self, scene: Scene, minutes: int
    ) -> None:
        async with watching(scene, clock=AheadClock(timedelta(minutes=minutes))) as watcher:
            await watcher.known()
            fence = await watcher.in_doubt()
            task_id = await watcher.create()

            for _ in range(LOOKS):
                await watcher.resolve()

            assert await watcher.task_of(fence) == task_id
            assert len(await scene.attempts_of(fence.job_id)) == 1

    @pytest.mark.parametrize("minutes", [-5, 5])
    async def test_nor_does_one_whose_answers_tell_no_date(
        self, scene: Scene, minutes: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(UpstreamClock, "note", lambda *_: None)
        async with watching(scene, clock=AheadClock(timedelta(minutes=minutes))) as watcher:
            await watcher.known()
            fence = await watcher.in_doubt()
            await watcher.create()
            await watcher.let_pass(SETTLED)
            await watcher.known()

            for _ in range(LOOKS):
                await watcher.resolve()

            assert (await watcher.job(fence)).status in ("submitting", "running")
            assert len(await scene.attempts_of(fence.job_id)) == 1

    @pytest.mark.parametrize("year", ["0001", "1970", "9999"])
    async def test_one_answer_out_of_all_time_blinds_nobody(
        self, watcher: Watcher, year: str
    ) -> None:
        fence = await watcher.in_doubt()
        task_id = await watcher.create()
        await watcher.desk.now()
        now = elapsed_seconds()
        date = f"Fri, 31 Dec {year} 23:59:59 GMT"
        watcher.desk.view.upstream.clock.note({"date": date}, now, now)

        await watcher.resolve()
        await watcher.follow()

        assert await watcher.task_of(fence) == task_id

    def test_the_engine_asks_no_clock_but_the_databases(self) -> None:
        """A worker's own may be minutes off."""
        asked = [
            (module.name, word)
            for module in list_program()
            if module.name.startswith(("app/jobs/engine/", "app/jobs/core/", "app/jobs/moves/"))
            for word in ("utc_now", "datetime.now", "time.time", "clock()")
            if word in module.text
        ]

        assert asked == []


class TestWithoutAList:
    """403 for hours: nothing that others need is held, and a person is called."""

    async def test_a_doubt_gives_key_and_slot_back_and_calls_a_person(
        self, watcher: Watcher
    ) -> None:
        await watcher.upstream.arm({"on": "list"} | LIES["refused"])
        fence = await watcher.in_doubt()

        await watcher.let_pass(RULES.settle)
        await self.go_round(watcher)
        run = await watcher.run_of(fence)
        assert (run["lane_id"], run["slot"], run["attention_code"]) == (None, 0, None)
        assert "job.lane_released" in await watcher.scene.story_of(fence.job_id)

        await watcher.let_pass(RULES.review_after + REVIEW_GRACE)
        await self.go_round(watcher)
        run = await watcher.run_of(fence)
        assert (run["slot"], run["attention_code"]) == (None, REVIEW_CODE)
        assert "job requeue" in run["attention_detail"]

    async def test_its_key_sends_the_next_create_meanwhile(self, watcher: Watcher) -> None:
        await watcher.upstream.arm({"on": "list"} | LIES["refused"])
        await watcher.in_doubt()
        await watcher.let_pass(RULES.settle)
        await self.go_round(watcher)

        other = await watcher.sent()
        await watcher.hear_accepted(other, await watcher.create())

        assert (await watcher.job(other)).status == "running"

    async def test_a_task_that_cannot_be_asked_for_calls_a_person_and_frees_its_slot(
        self, watcher: Watcher
    ) -> None:
        fence, task_id = await watcher.running()
        refuse = {"do": "status", "status": 403, "code": "AccessDenied"}
        await watcher.upstream.arm({"on": "list"} | refuse, {"on": "query"} | refuse)

        await watcher.let_pass(RULES.overdue_after)
        await self.go_round(watcher)
        run = await watcher.run_of(fence)
        assert run["attention_code"] == "task_overdue"
        assert run["slot"] is not None

        await watcher.let_pass(FOR_LONG)
        await self.go_round(watcher)
        assert (await watcher.run_of(fence))["slot"] is None
        await watcher.upstream.arm()
        await watcher.upstream.wait_for(task_id)
        await watcher.follow()
        assert (await watcher.job(fence)).status == "finalizing"

    async def test_the_first_job_of_a_team_that_nobody_starts_calls_a_person_once(
        self, watcher: Watcher
    ) -> None:
        jobs = [await watcher.scene.accept() for _ in range(3)]
        await watcher.let_pass(RULES.start_within)

        for _ in range(2):
            await watcher.tick()

        flagged = await watcher.scene.pool.fetch(
            "select job_id, attention_code from job_runs where attention_code is not null"
        )
        assert [tuple(row) for row in flagged] == [(jobs[0], "not_started")]
        events = await watcher.scene.story_of(jobs[0])
        assert events.count("job.attention") == 1

    async def test_a_long_queue_that_moves_calls_nobody(self, watcher: Watcher) -> None:
        fence, _ = await watcher.running()
        for _ in range(3):
            await watcher.scene.accept()
        await watcher.let_pass(RULES.start_within * 2)
        await watcher.scene.pool.execute("update job_runs set submitted_at = now()")

        await watcher.tick()
        await watcher.deliver(fence)
        await watcher.tick()

        flagged = await watcher.scene.pool.fetchval(
            "select count(*) from job_runs where attention_code is not null"
        )
        assert flagged == 0

    async def go_round(self, watcher: Watcher) -> None:
        await watcher.resolve()
        await watcher.follow()
        await watcher.tick()


class TestProbes:
    """An account that is suspended for answers that were lost gets to work again."""

    async def suspend(self, watcher: Watcher, code: str = "no_answer") -> None:
        await watcher.scene.pool.execute(
            "update account_paces set is_suspended = true, strikes = 9, pause_code = $1,"
            " paused_until = now() - interval '1 s'",
            code,
        )

    async def is_suspended(self, watcher: Watcher) -> bool:
        found: bool = await watcher.scene.pool.fetchval("select is_suspended from account_paces")
        return found

    async def test_a_create_in_doubt_does_not_keep_it_from_its_probe(
        self, watcher: Watcher
    ) -> None:
        await watcher.in_doubt()
        await self.suspend(watcher)

        probe = await watcher.sent(await watcher.add_lane())

        assert (await watcher.job(probe)).status == "submitting"

    @pytest.mark.parametrize(
        ("code", "is_still_suspended"),
        [("no_answer", False), ("HTTP500", False), ("Arrearage", True)],
    )
    async def test_a_task_that_is_found_says_that_it_takes_creates(
        self, watcher: Watcher, code: str, is_still_suspended: bool
    ) -> None:
        fence = await watcher.in_doubt()
        await watcher.create()
        await self.suspend(watcher, code)

        await watcher.resolve()

        assert (await watcher.job(fence)).status == "running"
        assert await self.is_suspended(watcher) is is_still_suspended


class TestTakenBackLate:
    async def test_a_task_of_a_create_that_was_given_up_goes_to_the_create_that_was_answered(
        self, watcher: Watcher
    ) -> None:
        """The guess was requeued by a person; then the owner's own answer comes."""
        owner = await watcher.sent(await watcher.add_lane())
        thief = await watcher.in_doubt()
        task_id = await watcher.create()
        await watcher.scene.decide(thief, Run(task_id, "r", adopted=True))
        await self.give_up(watcher, thief)

        await watcher.hear_accepted(owner, task_id)

        assert await watcher.task_of(owner) == task_id
        assert (await watcher.job(owner)).status == "running"
        assert (await watcher.job(thief)).status == "queued"
        await watcher.settle()
        assert (await watcher.job(owner)).status == "running"
        await watcher.deliver(owner)
        assert await watcher.waste() == []

    async def give_up(self, watcher: Watcher, fence: Fence) -> None:
        await watcher.scene.pool.execute(
            "update job_runs set attention_code = 'task_unknown', attention_since = now(),"
            " attention_detail = 'denied' where job_id = $1",
            fence.job_id,
        )
        await watcher.desk.judge.hear(fence.job_id, RequeueAsked("gone"))
        assert (await watcher.job(fence)).status == "queued"


class TestEachForItself:
    async def test_a_doubt_that_cannot_be_written_holds_up_no_other(
        self, watcher: Watcher
    ) -> None:
        poison = await watcher.in_doubt()
        await self.refuse_writes_of(watcher, poison)
        await watcher.let_pass(STALE)
        other = await watcher.in_doubt(await watcher.add_lane())
        task_id = await watcher.create()

        with capture_logs() as logs:
            for _ in range(2):
                await watcher.resolve()
                await watcher.tick()

        assert await watcher.task_of(other) == task_id
        assert "item.failed" in {entry["event"] for entry in logs}

    async def refuse_writes_of(self, watcher: Watcher, fence: Fence) -> None:
        await watcher.scene.pool.execute(
            f"""
            create function refuse() returns trigger language plpgsql as $$
            begin raise exception 'no'; end $$;
            create trigger refuse before update on job_runs for each row
            when (old.job_id = '{fence.job_id}' and new.lane_id is null)
            execute function refuse()
            """
        )


async def test_a_time_of_more_pages_than_the_list_goes_is_read_in_halves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dashscope_client, "LIST_PAGE_SIZE", 1)
    monkeypatch.setattr(watch, "PAGES_LIMIT", 2)
    clock = HandClock()
    began = clock.now
    async with (
        open_desk(OPTIONS, clock=clock) as upstream,
        calling(upstream.base_url, KEYS[0]) as api,
    ):
        names = set()
        for _ in range(9):
            clock.advance(10)
            names.add(await upstream.create())
        view = AccountView(api, Pace(1e3), Pace(1e3))
        listing = await list_tasks(view, MODEL, Period(began, clock.now + timedelta(seconds=1)))

    assert set(listing.tasks) == names
    assert listing.is_whole


async def test_two_reconcilers_at_once_are_not_two_looks(watcher: Watcher) -> None:
    fence = await watcher.in_doubt()
    await watcher.let_pass(SETTLED)
    await watcher.known()
    patient = replace(RULES, looks_apart=timedelta(minutes=1))
    watcher.desk.judge = Judge(watcher.scene.pool, patient)

    await asyncio.gather(*(watcher.resolve() for _ in range(3)))

    assert (await watcher.job(fence)).status == "submitting"


async def test_an_answer_that_names_another_task_is_none() -> None:
    """Whose pictures they are would be another's affair."""
    body = b'{"output":{"task_id":"t-2","task_status":"SUCCEEDED"}}'
    async with serve(always(reply("200 OK", body))) as wire, calling(f"http://{wire.host}") as api:
        view = AccountView(api, Pace(1e3), Pace(1e3))
        assert await find_answer(view, "t-1") is None
        assert await find_answer(view, "t-2") is not None
