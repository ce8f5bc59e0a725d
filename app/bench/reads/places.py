"""Measure 14: what it costs to tell a queued job its place, and whether the place can be true."""

import random
import time
from statistics import median
from uuid import UUID

from app.bench.effort import Effort
from app.bench.figures import Figure, Goal, Yardstick, percentile
from app.bench.rig.arena import Arena
from app.bench.rig.lane import Lane, open_lane
from app.bench.rig.loads import MODEL, queue_jobs, run_script, share_out
from app.jobs.queue.board import Board
from app.jobs.queue.standing import find_place
from app.jobs.store import get_job

TEAMS = 100
EACH = 1_000
ROUNDS = 1_000


async def measure_places(arena: Arena, effort: Effort) -> list[Figure]:
    return await compare_places(
        arena, TEAMS, EACH, rounds=200 if effort is Effort.QUICK else ROUNDS
    )


async def compare_places(arena: Arena, teams: int, each: int, *, rounds: int) -> list[Figure]:
    """Any queued jobs, one after the other, beside a read of the job itself."""
    async with arena.database() as database_url, open_lane(database_url) as lane:
        weights = {f"team-{number}": 1 + number % 3 for number in range(teams)}
        seats = await lane.add_teams(weights)
        await queue_jobs(lane.pool, share_out(dict.fromkeys(weights, each), seats))
        await run_script(database_url, ("vacuum analyze",))
        rows = await lane.pool.fetch("select job_id from job_runs order by job_id")
        rng = random.Random(teams)  # noqa: S311
        asked = [rows[rng.randrange(len(rows))]["job_id"] for _ in range(rounds)]
        return await _compare(lane, asked, len(rows))


async def _compare(lane: Lane, asked: list[UUID], queued: int) -> list[Figure]:
    board = Board(lane.pool)
    began = time.perf_counter()
    await board.look(MODEL)
    reading_ms = 1_000 * (time.perf_counter() - began)
    places, reads, positions = [], [], []
    for job_id in asked:
        began = time.perf_counter()
        place = await find_place(board, job_id)
        places.append(1_000 * (time.perf_counter() - began))
        assert place is not None
        positions.append(place.position)
        began = time.perf_counter()
        await get_job(lane.pool, job_id, team_id=None)
        reads.append(1_000 * (time.perf_counter() - began))
    note = (
        f"{len(asked):,} of {queued:,} queued jobs; the figures that all readers of a process "
        f"share took {reading_ms:.0f} ms, once a second"
    )
    lines = (
        ("place of a queued job, p50", median(places), "ms", 2.0, median(reads), "job by id"),
        ("place of a queued job, p95", percentile(places, 0.95), "ms", 2.0,
         percentile(reads, 0.95), "job by id"),
        ("furthest place told", float(max(positions)), "", float(queued - 1),
         float(queued - 1), "last in the queue"),
    )  # fmt: skip
    return [
        Figure(
            number="14",
            measure=measure,
            result=result,
            unit=unit,
            goal=Goal(high=goal),
            yardstick=Yardstick(name, beside),
            note=note,
        )
        for measure, result, unit, goal, beside, name in lines
    ]
