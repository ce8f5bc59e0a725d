"""Places beside what then happens, and what telling them costs."""

import asyncio
from contextlib import suppress
from decimal import Decimal
from uuid import UUID

import pytest

from app.jobs.queue import board as boards
from app.jobs.queue.board import Board
from app.jobs.queue.standing import find_place
from app.kit.postgres.database import Sessions, transaction
from tests.factories import MODEL, make_team
from tests.jobs.scene import Scene

BACKLOGS = {Decimal(1): 260, Decimal(2): 210, Decimal(5): 30, Decimal("0.5"): 3}
"""By weight: two with more than a team's share ever needs, two with less."""
NEVER_PACED = 1e6
ASKED = (0, 5, 40, 110, 189)


@pytest.fixture
async def queue(scene: Scene, sessions: Sessions) -> list[UUID]:
    """The scene's own team waits with the others; its jobs in the order of its line."""
    for weight, count in BACKLOGS.items():
        team = await make_team(sessions, weight=weight)
        await scene.store(*(scene.ask(team_id=team.id) for _ in range(count)))
    mine = [scene.ask() for _ in range(190)]
    await scene.store(*mine)
    return sorted(job.id for job in mine)


async def play(scene: Scene) -> list[UUID]:
    """Claim until nothing is left: the order in which the jobs go out."""
    order: list[UUID] = []
    while True:
        async with transaction(scene.pool) as connection:
            left = await connection.fetchval("select count(*) from job_runs")
        if not left:
            return order
        submission = await scene.claim(submit_rate=NEVER_PACED)
        order.append(submission.fence.job_id)
        await scene.pool.execute("delete from job_runs where job_id = $1", submission.fence.job_id)


async def test_a_place_is_the_one_that_the_queue_then_gives(
    scene: Scene, queue: list[UUID]
) -> None:
    board = Board(scene.pool)
    queued = sum(BACKLOGS.values()) + len(queue)
    told = {}
    for index in ASKED:
        place = await find_place(board, queue[index])
        assert place is not None
        told[index] = place.position

    order = await play(scene)

    assert len(order) == queued
    for index, position in told.items():
        assert 0 <= position < queued
        assert abs(order.index(queue[index]) - position) <= len(BACKLOGS), index


async def test_no_place_is_behind_more_jobs_than_are_queued(
    scene: Scene, sessions: Sessions
) -> None:
    """A light team behind heavy ones with little left: their shares would be thousands."""
    other = await make_team(sessions, weight=Decimal(100))
    await scene.store(*(scene.ask(team_id=other.id) for _ in range(201)))
    mine = [scene.ask() for _ in range(300)]
    await scene.store(*mine)

    place = await find_place(Board(scene.pool), max(job.id for job in mine))

    assert place is not None
    assert place.position == 500


async def test_readers_share_one_reading_a_second(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.accept()
    board = Board(scene.pool)

    at_once = await asyncio.gather(*(board.look(MODEL) for _ in range(20)))
    later = await board.look(MODEL)

    assert {id(figures) for figures in at_once} == {id(later)}
    monkeypatch.setattr(boards, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(boards, "COST_SHARE", 1e9)
    fresh = Board(scene.pool)
    assert await fresh.look(MODEL) is not await fresh.look(MODEL)


async def test_a_reader_that_leaves_takes_the_reading_from_nobody(scene: Scene) -> None:
    board = Board(scene.pool)
    first = asyncio.create_task(board.look(MODEL))
    second = asyncio.create_task(board.look(MODEL))
    await asyncio.sleep(0)

    first.cancel()
    with suppress(asyncio.CancelledError):
        await first

    assert (await second).lines == {}


async def test_a_reading_that_failed_is_tried_anew(scene: Scene) -> None:
    board = Board(scene.pool)
    await scene.pool.execute("alter table queue_clocks rename to away")
    with pytest.raises(Exception, match="queue_clocks"):
        await board.look(MODEL)
    await scene.pool.execute("alter table away rename to queue_clocks")

    assert (await board.look(MODEL)).clock == 0
