"""Measure 9: whether the hot queries stay as fast when the tables have grown."""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from uuid import UUID

from app.bench.effort import Effort
from app.bench.figures import Figure, Goal, Yardstick
from app.bench.rig.arena import Arena
from app.bench.rig.history import History, make_history
from app.bench.rig.lane import Lane, open_lane
from app.bench.rig.loads import queue_jobs, run_script, send_out
from app.jobs.keeping.turns import claim_kept
from app.jobs.lists.pages import list_jobs
from app.jobs.lists.query import JobFilter
from app.jobs.queue.board import Board
from app.jobs.queue.standing import find_place
from app.jobs.store import get_job
from app.kit.postgres.database import Connection, transaction

SMALL = 100_000
SIZES = {Effort.QUICK: 300_000, Effort.USUAL: 1_000_000, Effort.FULL: 10_000_000}
TEAMS = 100
QUEUED_SHARE = 0.01
FINISHED_COUNT = 200
KEPT_AT_ONCE = 8
PAGE = 21
PLACE = 500
"""How far from the queue's head the job stands whose place is asked for."""
WARM_UP_ROUNDS = 20


class RolledBack(Exception):
    """Ends a transaction whose work was only to be timed."""


@dataclass(frozen=True, slots=True)
class Grown:
    """A database of some size, ready to be asked."""

    lane: Lane
    samples: Sequence[tuple[UUID, UUID]]
    """Ended jobs anywhere in its past, each with its team."""
    waiting_id: UUID
    board: Board


async def measure_growth(arena: Arena, effort: Effort) -> list[Figure]:
    rounds = 150 if effort is Effort.QUICK else 300
    return await compare_growth(arena, SMALL, SIZES[effort], rounds=rounds)


async def compare_growth(arena: Arena, small: int, large: int, *, rounds: int) -> list[Figure]:
    """Each query by turns on both databases, so that both meet the same machine."""
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(_grown_database(arena, small, rounds))
        after = await stack.enter_async_context(_grown_database(arena, large, rounds))
        figures = []
        for name, ask in QUERIES.items():
            times = await _time_by_turns(ask, before, after, rounds)
            small_ms, large_ms = (1_000 * median(seconds) for seconds in times)
            small_best_ms, large_best_ms = (1_000 * min(seconds) for seconds in times)
            figures.append(
                Figure(
                    number="9",
                    measure=f"{name}, p50 at {large:,} jobs",
                    result=large_ms,
                    unit="ms",
                    goal=Goal(high=1.5),
                    is_goal_of_ratio=True,
                    yardstick=Yardstick(f"at {small:,}", small_ms),
                    note=(
                        f"{rounds} rounds, {QUEUED_SHARE:.0%} of the jobs are queued; {name}: at "
                        f"best {large_best_ms:.2f} ms, at {small:,} {small_best_ms:.2f} ms"
                    ),
                )
            )
        return figures


@asynccontextmanager
async def _grown_database(arena: Arena, jobs: int, samples: int) -> AsyncIterator[Grown]:
    async with arena.database() as database_url, open_lane(database_url) as lane:
        seats = await lane.add_teams({f"team-{number}": 1 for number in range(TEAMS)})
        history = await make_history(database_url, seats, lane.account_id, jobs)
        queued = max(round(jobs * QUEUED_SHARE), 2 * PLACE)
        await queue_jobs(lane.pool, islice(cycle(seats), FINISHED_COUNT + queued))
        await send_out(lane.pool, [lane.account_id], each=FINISHED_COUNT)
        await lane.pool.execute(_FINISH)
        await run_script(database_url, ("vacuum analyze",))
        yield Grown(
            lane, await _draw(history, lane, samples), await _find_waiting(lane), Board(lane.pool)
        )


async def _draw(history: History, lane: Lane, count: int) -> list[tuple[UUID, UUID]]:
    rng = random.Random(history.jobs)  # noqa: S311
    numbers = [rng.randrange(history.jobs) for _ in range(count)]
    return await history.find_jobs(lane.pool, numbers)


async def _find_waiting(lane: Lane) -> UUID:
    job_id: UUID = await lane.pool.fetchval(
        "select job_id from job_runs where status = 'queued' order by job_id offset $1 limit 1",
        PLACE,
    )
    return job_id


Ask = Callable[[Grown, int], Awaitable[object]]


async def _time_by_turns(
    ask: Ask, before: Grown, after: Grown, rounds: int
) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    turns = list(zip((before, after), times, strict=True))
    for number in range(rounds):
        turns.reverse()
        for grown, seconds in turns:
            began = time.perf_counter()
            await ask(grown, number)
            seconds.append(time.perf_counter() - began)
    return times[0][WARM_UP_ROUNDS:], times[1][WARM_UP_ROUNDS:]


async def _claim(grown: Grown, _: int) -> None:
    await _roll_back(grown, grown.lane.claim)


async def _claim_kept(grown: Grown, _: int) -> None:
    await _roll_back(grown, _claim_some_kept)


async def _claim_some_kept(connection: Connection) -> None:
    await claim_kept(connection, limit=KEPT_AT_ONCE, troubled_limit=KEPT_AT_ONCE)


async def _roll_back(grown: Grown, work: Callable[[Connection], Awaitable[object]]) -> None:
    with suppress(RolledBack):
        async with transaction(grown.lane.pool) as connection:
            await work(connection)
            raise RolledBack


async def _get_job(grown: Grown, number: int) -> None:
    job_id, team_id = grown.samples[number]
    await get_job(grown.lane.pool, job_id, team_id=team_id)


async def _list_newest(grown: Grown, number: int) -> None:
    _, team_id = grown.samples[number]
    await list_jobs(grown.lane.pool, JobFilter(team_id), limit=PAGE)


async def _list_deep(grown: Grown, number: int) -> None:
    job_id, team_id = grown.samples[number]
    await list_jobs(grown.lane.pool, JobFilter(team_id, before_id=job_id), limit=PAGE)


async def _find_place(grown: Grown, _: int) -> None:
    await find_place(grown.board, grown.waiting_id)


QUERIES: dict[str, Ask] = {
    "claim of a queued job": _claim,
    "claim of finished jobs": _claim_kept,
    "job by id": _get_job,
    "first page of a team's jobs": _list_newest,
    "page deep in a team's jobs": _list_deep,
    "place in the queue": _find_place,
}

_FINISH = """
update job_runs set status = 'finalizing', slot = null, expires_at = now() + interval '23 hours'
where status = 'running'
"""
