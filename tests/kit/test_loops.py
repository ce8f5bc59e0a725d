"""Loops, waits, paces and notifications: they outlive any error and stop at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.kit.background import loop as loops
from app.kit.background.loop import run_loop, wait_for_any
from app.kit.background.pace import Pace
from app.kit.ids import make_uuid7
from app.kit.postgres import listener as listening
from app.kit.postgres.database import Pool
from app.kit.postgres.listener import Listener
from tests.waiting import wait_until

CHANNEL = "dashgate_test"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "TROUBLE_SECONDS", (0.01, 0.02))
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.05)


async def test_a_loop_goes_on_at_once_while_there_is_work_and_then_waits() -> None:
    stop = asyncio.Event()
    answers = iter([True] * 5)
    done: list[bool] = []

    async def step() -> bool:
        done.append(next(answers, False))
        return done[-1]

    running = asyncio.create_task(run_loop(step, name="t", stop=stop, idle_seconds=3_600))
    await wait_until(lambda: len(done) == 6)
    await asyncio.sleep(0.05)
    assert len(done) == 6

    stop.set()
    await running


async def test_a_nudge_wakes_a_waiting_loop() -> None:
    stop, nudge = asyncio.Event(), asyncio.Event()
    count = 0

    async def step() -> bool:
        nonlocal count
        count += 1
        return False

    running = asyncio.create_task(
        run_loop(step, name="t", stop=stop, nudge=nudge, idle_seconds=3_600)
    )
    for wanted in (1, 2, 3):
        await wait_until(lambda: count >= wanted)  # noqa: B023
        nudge.set()
    stop.set()
    await running


async def test_a_nudge_during_a_step_is_not_lost() -> None:
    stop, nudge = asyncio.Event(), asyncio.Event()
    count = 0

    async def step() -> bool:
        nonlocal count
        count += 1
        if count == 1:
            nudge.set()
        return False

    running = asyncio.create_task(
        run_loop(step, name="t", stop=stop, nudge=nudge, idle_seconds=3_600)
    )
    await wait_until(lambda: count == 2)
    stop.set()
    await running


@pytest.mark.parametrize("error", [ValueError, ConnectionResetError, KeyError])
async def test_a_loop_outlives_any_error_of_its_step(error: type[Exception]) -> None:
    stop = asyncio.Event()
    count = 0

    async def step() -> bool:
        nonlocal count
        count += 1
        raise error

    running = asyncio.create_task(run_loop(step, name="t", stop=stop, idle_seconds=3_600))
    await wait_until(lambda: count >= 4)
    assert not running.done()
    stop.set()
    await running


async def test_a_wait_ends_with_any_of_its_events_or_its_time() -> None:
    events = [asyncio.Event(), asyncio.Event()]
    async with asyncio.timeout(1):
        await wait_for_any(*events, seconds=0.01)
        await wait_for_any(None, seconds=0.01)
        events[1].set()
        await wait_for_any(*events, None, seconds=3_600)


async def test_a_pace_spaces_its_calls_and_saves_nothing_up() -> None:
    pace = Pace(100)
    loop = asyncio.get_running_loop()
    await pace.take()
    await asyncio.sleep(0.1)
    began = loop.time()

    await asyncio.gather(*(pace.take() for _ in range(6)))

    assert 0.05 <= loop.time() - began < 0.2


@asynccontextmanager
async def running_listener(database: str) -> AsyncIterator[Listener]:
    listener, stop = Listener(database, (CHANNEL, "dashgate_other")), asyncio.Event()
    with listener.subscribed(CHANNEL) as ready:
        running = asyncio.create_task(listener.run(stop))
        await ready.wait()
    yield listener
    stop.set()
    await running


async def test_a_notification_wakes_those_who_wait_for_it_and_nobody_else(
    database: str, pool: Pool
) -> None:
    async with running_listener(database) as listener:
        with (
            listener.subscribed(CHANNEL, "a") as one,
            listener.subscribed(CHANNEL, "a") as another,
            listener.subscribed(CHANNEL, "b") as other_payload,
            listener.subscribed("dashgate_other", "a") as other_channel,
        ):
            await pool.execute("select pg_notify($1, 'a')", CHANNEL)
            async with asyncio.timeout(5):
                await asyncio.gather(one.wait(), another.wait())
            assert not other_payload.is_set()
            assert not other_channel.is_set()


async def test_a_lost_connection_is_made_anew_and_wakes_everybody_once(
    database: str, pool: Pool
) -> None:
    async with running_listener(database) as listener:
        with listener.subscribed(CHANNEL, "a") as waiting:
            await pool.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
            async with asyncio.timeout(10):
                await waiting.wait()
            waiting.clear()
            await pool.execute("select pg_notify($1, 'a')", CHANNEL)
            async with asyncio.timeout(5):
                await waiting.wait()


def test_ids_are_of_version_seven_and_sort_by_their_time() -> None:
    made = [make_uuid7() for _ in range(1_000)]

    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {"specified in RFC 4122"}
    assert len(set(made)) == 1_000
    millis = [one.int >> 80 for one in made]
    assert millis == sorted(millis)
