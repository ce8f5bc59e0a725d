"""Waiting for ends: one sweep for all who wait, and only so many of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest

from app.jobs.accepting.endings import Endings
from app.jobs.events import CHANNELS
from app.kit.postgres.database import Pool, open_pool
from app.kit.postgres.listener import Listener
from tests.jobs.scene import Scene
from tests.waiting import wait_until

CROWD = 500
SWEEPS_COUNT = 3


class Tally:
    """Counts the statements that go to Postgres over a pool's connections."""

    def __init__(self) -> None:
        self.count = 0

    def note(self, _: object) -> None:
        self.count += 1


@pytest.fixture
async def listener(database: str) -> AsyncIterator[Listener]:
    listener, stop = Listener(database, CHANNELS), asyncio.Event()
    running = asyncio.create_task(listener.run(stop))
    yield listener
    stop.set()
    await running


@asynccontextmanager
async def sweeping(endings: Endings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(endings.run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


def crowd(
    endings: Endings, job_ids: list[UUID], *, team_id: UUID | None = None, seconds: float = 30
) -> list[asyncio.Task[bool]]:
    stopping = asyncio.Event()
    return [
        asyncio.create_task(
            endings.wait(job_id, team_id or uuid4(), seconds=seconds, stopping=stopping)
        )
        for job_id in job_ids
    ]


async def test_five_hundred_who_wait_cost_one_query_a_sweep(
    scene: Scene, database: str, listener: Listener
) -> None:
    jobs = [scene.ask() for _ in range(CROWD)]
    await scene.store(*jobs)
    pool: Pool = await open_pool(database, max_size=1)
    tally = Tally()
    async with pool.acquire() as connection:
        connection.add_query_logger(tally.note)
    endings = Endings(pool, listener)
    async with sweeping(endings):
        waiting = crowd(endings, [job.id for job in jobs])
        await wait_until(lambda: tally.count >= SWEEPS_COUNT)
        began_at, before = asyncio.get_running_loop().time(), tally.count
        await wait_until(lambda: tally.count >= before + SWEEPS_COUNT)
        seconds = asyncio.get_running_loop().time() - began_at
        assert tally.count - before <= seconds / 0.8 + 1
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    await pool.close()


async def test_the_end_of_a_job_wakes_those_who_wait_for_it_and_nobody_else(
    scene: Scene, listener: Listener
) -> None:
    fence = await scene.finalizing("https://img.example/1.png")
    other = await scene.accept()
    endings = Endings(scene.pool, listener)
    async with sweeping(endings):
        *mine, theirs = crowd(endings, [fence.job_id, fence.job_id, other])
        await scene.keep(fence, 0)
        await scene.finish(fence)

        assert await asyncio.wait_for(asyncio.gather(*mine), 20) == [True, True]
        assert not theirs.done()
        theirs.cancel()
        await asyncio.gather(theirs, return_exceptions=True)


async def test_more_than_may_wait_are_sent_on_at_once(scene: Scene, listener: Listener) -> None:
    job_id, team_id = await scene.accept(), uuid4()
    endings = Endings(scene.pool, listener, limit=3, team_limit=2)
    async with sweeping(endings):
        waiting = crowd(endings, [job_id] * 2, team_id=team_id)
        await asyncio.sleep(0)
        (one_too_many,) = crowd(endings, [job_id], team_id=team_id)
        assert await asyncio.wait_for(one_too_many, 5) is False
        waiting += crowd(endings, [job_id])
        await asyncio.sleep(0)
        (too_many_in_all,) = crowd(endings, [job_id])
        assert await asyncio.wait_for(too_many_in_all, 5) is False

        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        (after,) = crowd(endings, [job_id], team_id=team_id, seconds=0.01)
        assert await asyncio.wait_for(after, 5) is True
