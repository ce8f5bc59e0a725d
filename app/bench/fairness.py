"""Measure 10: who gets the slots when one team of a hundred has filled the queue."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

from app.bench.effort import Effort
from app.bench.fifo import FIFO_INDEX, FifoLane
from app.bench.figures import Figure, Goal, Yardstick, percentile
from app.bench.rig.arena import Arena
from app.bench.rig.lane import Lane, open_lane
from app.bench.rig.loads import queue_jobs, run_script, share_out
from app.bench.rig.seats import Seat
from app.bench.schedules import shares_of_ideal
from app.jobs.lifecycle import Fence
from app.kit.postgres.database import Connection, transaction

FLOOD_SHARE = 0.3
HEAVY_WEIGHT = 5


@dataclass(frozen=True, slots=True)
class Crowding:
    """How many teams, how many of them weigh more, what they have queued, what is claimed."""

    teams: int = 100
    heavy_teams: int = 10
    jobs: int = 1_000_000
    claims: int = 4_000

    @property
    def expired(self) -> int:
        """How many of the first team's jobs are over before the last claims."""
        return round(self.jobs * FLOOD_SHARE / 3)

    @property
    def weights(self) -> dict[str, int]:
        """The first team is the one that floods; the last ones are the heavy ones."""
        light = self.teams - self.heavy_teams
        return {
            f"team-{number}": 1 if number < light else HEAVY_WEIGHT for number in range(self.teams)
        }

    @property
    def backlogs(self) -> dict[str, int]:
        flood = round(self.jobs * FLOOD_SHARE)
        each = (self.jobs - flood) // (self.teams - 1)
        return {name: each if number else flood for number, name in enumerate(self.weights)}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a way of claiming gave to whom, and how long each claim took."""

    shares: dict[str, float]
    seconds: list[float]


async def measure_fairness(arena: Arena, effort: Effort) -> list[Figure]:
    return await compare_claims(
        arena, Crowding(jobs=60_000) if effort is Effort.QUICK else Crowding()
    )


async def compare_claims(arena: Arena, crowding: Crowding) -> list[Figure]:
    """The engine's claim, then the bare claim in the order of acceptance, on one queue."""
    async with arena.database() as database_url, open_lane(database_url) as lane:
        seats = await lane.add_teams(crowding.weights)
        await queue_jobs(lane.pool, share_out(crowding.backlogs, seats))
        await run_script(database_url, ("vacuum analyze",))
        fair = await _claim(lane, seats, crowding.claims, lane.claim)
        await run_script(database_url, (FIFO_INDEX,), ("vacuum analyze job_runs",))
        fifo = await _claim(lane, seats, crowding.claims, FifoLane(lane).claim)
        await lane.pool.execute(_EXPIRE, seats[0].team_id, crowding.expired)
        expired = await _claim(lane, seats, crowding.claims, lane.claim)
    return [*judge_claims(crowding, fair, fifo), judge_expired(crowding, expired, fair)]


def judge_expired(crowding: Crowding, expired: Claims, fair: Claims) -> Figure:
    return Figure(
        number="10",
        measure="claim with expired jobs at one head, p99",
        result=_p99(expired),
        unit="ms",
        goal=Goal(high=5.0),
        yardstick=Yardstick("without", _p99(fair)),
        note=(
            f"{crowding.expired:,} of the first team's jobs are over and none is swept; shares "
            f"over ideal {_smallest(expired):.2f} to {_largest(expired):.2f}"
        ),
    )


def judge_claims(crowding: Crowding, fair: Claims, fifo: Claims) -> list[Figure]:
    note = (
        f"{crowding.claims:,} claims, {crowding.jobs:,} queued, {crowding.teams} teams, "
        f"{crowding.heavy_teams} of weight {HEAVY_WEIGHT}, one with {FLOOD_SHARE:.0%} in front; "
        f"at best {1_000 * min(fair.seconds):.2f} ms, FIFO {1_000 * min(fifo.seconds):.2f} ms"
    )
    lines = (
        ("fair share over ideal, smallest", "", Goal(low=0.95), _smallest),
        ("fair share over ideal, largest", "", Goal(high=1.05), _largest),
        ("claim, p50", "ms", None, _p50),
        ("claim, p99", "ms", Goal(high=5.0), _p99),
    )
    return [
        Figure(
            number="10",
            measure=measure,
            result=read(fair),
            unit=unit,
            goal=goal,
            yardstick=Yardstick("FIFO", read(fifo)),
            note=note,
        )
        for measure, unit, goal, read in lines
    ]


async def _claim(
    lane: Lane,
    seats: list[Seat],
    count: int,
    claim: Callable[[Connection], Awaitable[Fence]],
) -> Claims:
    """Claim one by one, each in a transaction of its own; only that is timed."""
    seconds, job_ids = [], []
    for _ in range(count):
        began = time.perf_counter()
        async with transaction(lane.pool) as connection:
            fence = await claim(connection)
        seconds.append(time.perf_counter() - began)
        job_ids.append(fence.job_id)
        await lane.forget(fence)
    rows = await lane.pool.fetch("select team_id from jobs where id = any($1)", job_ids)
    names = {seat.team_id: seat.name for seat in seats}
    counts = Counter(names[row["team_id"]] for row in rows)
    return Claims(shares_of_ideal(counts, {seat.name: seat.weight for seat in seats}), seconds)


_EXPIRE = """
update job_runs set expires_at = now() where job_id in (
    select job_id from job_runs where status = 'queued' and team_id = $1
    order by rank_at, job_id limit $2
)
"""


def _smallest(claims: Claims) -> float:
    return min(claims.shares.values())


def _largest(claims: Claims) -> float:
    return max(claims.shares.values())


def _p50(claims: Claims) -> float:
    return 1_000 * median(claims.seconds)


def _p99(claims: Claims) -> float:
    return 1_000 * percentile(claims.seconds, 0.99)
