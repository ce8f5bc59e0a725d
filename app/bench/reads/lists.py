"""Measure 13: what lists cost at any size of the past, and what they cost others."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import repeat
from statistics import median
from uuid import UUID

from app.bench.effort import Effort
from app.bench.figures import Figure, Goal, Yardstick, percentile
from app.bench.reads.archive import RARE_MODEL, Archive, make_archive
from app.bench.rig.arena import Arena
from app.bench.rig.gateway import SECRET
from app.bench.rig.lane import Lane, open_lane
from app.bench.rig.loads import MODEL, queue_jobs, run_script
from app.bench.rig.seats import Seat, add_key
from app.jobs.lists.pages import count_jobs, list_jobs
from app.jobs.lists.query import JobFilter
from app.kit.crypto import Vault
from app.kit.ids import find_lowest_id
from app.kit.postgres.database import Pool, open_list_pool

SIZES = {Effort.QUICK: 100_000, Effort.USUAL: 1_000_000, Effort.FULL: 10_000_000}
OTHER_TEAMS = 9
QUEUED_SHARE = 0.01
PAGE = 20
READERS = 16
CREATES = 100
LIST_CONNECTIONS = 2
"""What an API process gives lists by default."""
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Shelves:
    """An archive with a queue, and the pool that lists are read by."""

    lane: Lane
    lists: Pool
    archive: Archive
    quiet: Seat
    jobs: int


async def measure_lists(arena: Arena, effort: Effort) -> list[Figure]:
    rounds = 20 if effort is Effort.QUICK else 60
    return await compare_lists(arena, SIZES[effort], rounds=rounds)


async def compare_lists(arena: Arena, jobs: int, *, rounds: int) -> list[Figure]:
    """Each list by turns with the plain page, then creates with and without readers beside."""
    async with _shelves(arena, jobs) as shelves:
        figures = []
        for name, read in LISTS.items():
            plain, filtered = await _time_by_turns(shelves, read, rounds)
            note = f"{rounds} rounds, {jobs:,} jobs, half of them one team's; pages of {PAGE}"
            yardstick = Yardstick("plain page", 1_000 * percentile(plain, 0.95))
            figures.append(
                _to_figure(
                    f"list {name}, p95", 1_000 * percentile(filtered, 0.95), yardstick, note
                )
            )
        return [*figures, await _measure_creates(shelves)]


@asynccontextmanager
async def _shelves(arena: Arena, jobs: int) -> AsyncIterator[Shelves]:
    async with arena.database() as database_url, open_lane(database_url) as lane:
        names = ["giant", *(f"team-{number}" for number in range(OTHER_TEAMS))]
        giant, *others = await lane.add_teams(dict.fromkeys(names, 1))
        other_key = await add_key(lane.sessions, Vault((SECRET,)), giant, "tenth")
        archive = await make_archive(database_url, giant, other_key, others, jobs)
        await queue_jobs(lane.pool, repeat(giant, round(jobs * QUEUED_SHARE)))
        await run_script(database_url, ("vacuum analyze",))
        lists = await open_list_pool(database_url, max_size=LIST_CONNECTIONS)
        try:
            yield Shelves(lane, lists, archive, others[0], jobs)
        finally:
            await lists.close()


Read = Callable[[Shelves], Awaitable[object]]


async def _time_by_turns(
    shelves: Shelves, read: Read, rounds: int
) -> tuple[list[float], list[float]]:
    plain: list[float] = []
    filtered: list[float] = []
    for _ in range(rounds):
        for each, seconds in ((LISTS["of a team"], plain), (read, filtered)):
            began = time.perf_counter()
            await each(shelves)
            seconds.append(time.perf_counter() - began)
    return plain, filtered


async def _measure_creates(shelves: Shelves) -> Figure:
    """One create after the other, of a team that reads nothing."""
    alone = await _time_creates(shelves)
    readers = [asyncio.create_task(_read_on(shelves, number)) for number in range(READERS)]
    beside = await _time_creates(shelves)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    return _to_figure(
        f"another team's create beside {READERS} readers, p50",
        1_000 * median(beside),
        Yardstick("without readers", 1_000 * median(alone)),
        f"{CREATES} creates each, lists on {LIST_CONNECTIONS} connections; at p95 "
        f"{1_000 * percentile(beside, 0.95):.1f} and {1_000 * percentile(alone, 0.95):.1f} ms",
    )


async def _time_creates(shelves: Shelves) -> list[float]:
    seconds = []
    for _ in range(CREATES):
        began = time.perf_counter()
        await queue_jobs(shelves.lane.pool, [shelves.quiet])
        seconds.append(time.perf_counter() - began)
    return seconds


async def _read_on(shelves: Shelves, number: int) -> None:
    reads = list(LISTS.values())
    while True:
        await reads[number % len(reads)](shelves)
        number += 1


def _to_figure(measure: str, result: float, yardstick: Yardstick, note: str) -> Figure:
    return Figure(
        number="13",
        measure=measure,
        result=result,
        unit="ms",
        goal=Goal(high=50.0),
        yardstick=yardstick,
        note=note,
    )


def _page(make: Callable[[Shelves], JobFilter]) -> Read:
    async def read(shelves: Shelves) -> object:
        return await list_jobs(shelves.lists, make(shelves), limit=PAGE)

    return read


def _wire(make: Callable[[Shelves], JobFilter], offset: int = 0) -> Read:
    """A page of the wire's list with its total."""

    async def read(shelves: Shelves) -> object:
        wanted = make(shelves)
        await count_jobs(shelves.lists, wanted)
        return await list_jobs(shelves.lists, wanted, limit=PAGE, offset=offset)

    return read


def _team(shelves: Shelves) -> UUID:
    return shelves.archive.giant.team_id


def _of(**changes: object) -> Callable[[Shelves], JobFilter]:
    return lambda shelves: JobFilter(**{"team_id": _team(shelves), **changes})  # type: ignore[arg-type]


def _day(**changes: object) -> Callable[[Shelves], JobFilter]:
    def make(shelves: Shelves) -> JobFilter:
        since = shelves.archive.middle
        return _of(created_after=since, created_before=since + DAY, **changes)(shelves)

    return make


LISTS: dict[str, Read] = {
    "of a team": _page(_of()),
    "deep in the past": _page(
        lambda shelves: JobFilter(
            _team(shelves), before_id=find_lowest_id(shelves.archive.middle)
        )
    ),
    "queued": _page(_of(statuses=("queued",))),
    "running": _page(_of(statuses=("running",))),
    "succeeded": _page(_of(statuses=("succeeded",))),
    "failed": _page(_of(statuses=("failed",))),
    "canceled": _page(_of(statuses=("canceled",))),
    "of a day": _page(_day()),
    "before all": _page(lambda shelves: JobFilter(
        _team(shelves), created_before=shelves.archive.began_at - DAY
    )),
    "of a key": _page(_of(key_name="giant")),
    "of a lesser key": _page(_of(key_name="tenth")),
    "of a model": _page(_of(model=MODEL)),
    "of a rare model": _page(_of(model=RARE_MODEL)),
    "of no model": _page(_of(model="none")),
    "metadata of half": _page(_of(metadata={"half": "even"})),
    "metadata of the past": _page(_of(metadata={"past": "yes"})),
    "metadata of one": _page(_of(metadata={"order": "40000"})),
    "metadata of none": _page(_of(metadata={"order": "none"})),
    "metadata of half, and of one": _page(_of(metadata={"half": "even", "order": "40000"})),
    "failed, metadata of half": _page(_of(statuses=("failed",), metadata={"half": "even"})),
    "lesser key, metadata of no such half": _page(
        _of(key_name="tenth", metadata={"half": "odd"})
    ),
    "attention": _page(_of(needs_attention=True)),
    "of all teams": _page(lambda _: JobFilter(None)),
    "failed of all teams": _page(lambda _: JobFilter(None, statuses=("failed",))),
    "queued of all teams": _page(lambda _: JobFilter(None, statuses=("queued",))),
    "attention of all teams": _page(lambda _: JobFilter(None, needs_attention=True)),
    "of the wire": _wire(_day()),
    "of the wire, last page": _wire(_day(), offset=9_900),
    "of the wire, failed": _wire(_day(statuses=("failed", "expired"))),
    "of the wire, succeeded of a model": _wire(_day(statuses=("succeeded",), model=MODEL)),
}  # fmt: skip
