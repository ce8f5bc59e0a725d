"""The beat of following: when the next look is due; and names of keys, learned by the way."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from app.jobs.core.candidates import Period
from app.jobs.engine import follow
from app.jobs.engine.follow import (
    LONGEST_PAUSES,
    SHORTEST_REST,
    Patience,
    follow_account,
    follow_models,
)
from app.jobs.engine.watch import list_tasks
from app.jobs.lifecycle import Run
from app.kit.clock import utc_now
from tests.accounts.learning import learn_lognormal
from tests.factories import MODEL
from tests.jobs.watcher import KEYS, Watcher

BASE_SECONDS = 1.0
MEDIAN_SECONDS = 45.0


async def find_pause(watcher: Watcher) -> float:
    return await follow_models(watcher.desk, (MODEL,), BASE_SECONDS)


async def teach_run_times(watcher: Watcher) -> None:
    times = learn_lognormal(MEDIAN_SECONDS, 0.2, 200)
    await watcher.scene.pool.execute(
        "update account_paces set service_count = $1, service_log_mean = $2,"
        " service_log_variance = $3",
        times.count,
        times.log_mean,
        times.log_variance,
    )


async def find_name(watcher: Watcher, lane_id: UUID) -> str | None:
    name: str | None = await watcher.scene.pool.fetchval(
        "select upstream_key_id from lanes where id = $1", lane_id
    )
    return name


class TestPause:
    async def test_with_nothing_learned_each_beat_brings_a_look(
        self, slow_watcher: Watcher
    ) -> None:
        await slow_watcher.running()

        assert await find_pause(slow_watcher) == BASE_SECONDS

    async def test_without_tasks_it_stays_ready_for_the_first(self, watcher: Watcher) -> None:
        await teach_run_times(watcher)

        assert await find_pause(watcher) == BASE_SECONDS

    async def test_young_tasks_are_left_alone_until_one_may_end(
        self, slow_watcher: Watcher
    ) -> None:
        await teach_run_times(slow_watcher)
        await slow_watcher.running()
        assert await find_pause(slow_watcher) == BASE_SECONDS * LONGEST_PAUSES

        await slow_watcher.let_pass(timedelta(seconds=MEDIAN_SECONDS))
        assert await find_pause(slow_watcher) == BASE_SECONDS


class TestBeat:
    @pytest.mark.parametrize(
        ("look_seconds", "rest_seconds"),
        [pytest.param(0.0, 1.0, id="a quick look"), pytest.param(0.4, 0.6, id="a slow look")],
    )
    async def test_it_counts_from_look_to_look(
        self,
        slow_watcher: Watcher,
        monkeypatch: pytest.MonkeyPatch,
        look_seconds: float,
        rest_seconds: float,
    ) -> None:
        rests = await self._rest_after(slow_watcher, monkeypatch, look_seconds)

        assert rests == [pytest.approx(rest_seconds)]

    async def test_after_a_look_that_took_too_long_it_rests_for_a_moment(
        self, slow_watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rests = await self._rest_after(slow_watcher, monkeypatch, 10.0)

        assert rests == [pytest.approx(SHORTEST_REST * BASE_SECONDS)]

    async def _rest_after(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch, look_seconds: float
    ) -> list[float]:
        """The pauses after one look that took that long."""
        rests: list[float] = []

        async def rest(*_: asyncio.Event, seconds: float) -> None:
            rests.append(seconds)

        monkeypatch.setattr(follow, "wait_for_any", rest)
        monkeypatch.setattr(follow, "monotonic", iter([100.0, 100.0 + look_seconds]).__next__)
        await watcher.running()
        patience = Patience(BASE_SECONDS, asyncio.Event(), asyncio.Event())
        await follow_account(watcher.desk, (MODEL,), patience)
        return rests


class TestKeyNames:
    async def test_a_task_that_its_create_was_answered_with_tells_the_keys_name(
        self, slow_watcher: Watcher
    ) -> None:
        lane_id = slow_watcher.scene.lane_id
        assert await find_name(slow_watcher, lane_id) is None
        await slow_watcher.running()

        await slow_watcher.follow()

        now = utc_now()
        period = Period(now - timedelta(minutes=1), now + timedelta(minutes=1))
        (listed,) = (await list_tasks(slow_watcher.desk.view, MODEL, period)).tasks.values()
        assert await find_name(slow_watcher, lane_id) == listed.api_key_id
        await slow_watcher.follow()
        assert not slow_watcher.desk.has_unnamed_keys

    async def test_an_adopted_task_tells_nothing_about_a_key(self, slow_watcher: Watcher) -> None:
        fence = await slow_watcher.in_doubt()
        task_id = await slow_watcher.create()
        await slow_watcher.scene.decide(fence, Run(task_id, "r", adopted=True))

        await slow_watcher.follow()

        assert await find_name(slow_watcher, slow_watcher.scene.lane_id) is None

    async def test_each_key_has_the_name_of_its_own_tasks(self, slow_watcher: Watcher) -> None:
        other = await slow_watcher.add_lane()
        fence = await slow_watcher.sent(other)
        await slow_watcher.hear_accepted(fence, await slow_watcher.create(KEYS[1]))
        await slow_watcher.follow()
        assert await find_name(slow_watcher, slow_watcher.scene.lane_id) is None
        assert slow_watcher.desk.has_unnamed_keys

        fence = await slow_watcher.sent()
        await slow_watcher.hear_accepted(fence, await slow_watcher.create())
        await slow_watcher.follow()

        names = [
            await find_name(slow_watcher, lane) for lane in (slow_watcher.scene.lane_id, other)
        ]
        assert None not in names
        assert names[0] != names[1]
