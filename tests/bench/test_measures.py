"""Each measure once, at a size that proves only that it runs and counts what it says."""

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.bench.drain import Course, drain, judge
from app.bench.fairness import Crowding, compare_claims
from app.bench.figures import Figure
from app.bench.growth import QUERIES, compare_growth
from app.bench.kills import judge_storms
from app.bench.memory import Flight, compare_sizes
from app.bench.pictures import compare_stores
from app.bench.reads.lists import LISTS, compare_lists
from app.bench.reads.places import compare_places
from app.bench.rig.arena import Arena, open_arena
from app.bench.rig.sightings import SeenTask
from app.bench.rig.upstream import TaskTimes, UpstreamOptions
from app.bench.sharing import FLOOD, QUIET, find_contested_share, judge_sharing, share
from app.bench.storm import Kind, StormReport
from app.bench.storm.check import Finding, Verdict

SHORT = Course(
    "10 s tasks",
    UpstreamOptions(median_seconds=10, sigma=0.4, scale=0.02),
    tasks=12,
    efficiency_goal=98,
)


@pytest.fixture
async def arena(server_url: str) -> AsyncIterator[Arena]:
    async with open_arena(server_url) as arena:
        yield arena


async def test_a_queue_is_drained_and_every_task_is_seen(arena: Arena) -> None:
    drained = await drain(arena, SHORT)
    results = by_measure(judge(drained))

    assert len(drained.tasks) == SHORT.tasks
    assert drained.creates == SHORT.tasks
    assert all(task.delay_seconds > 0 for task in drained.tasks)
    assert 0 < results["drain efficiency, 10 s tasks"].result <= 100
    assert results["list and query calls a task, 10 s tasks"].result >= 1


async def test_two_teams_share_an_account(arena: Arena) -> None:
    shared = await share(arena, SHORT)
    results = by_measure(judge_sharing(shared))

    assert {task.team for task in shared.drained.tasks} == {FLOOD, QUIET}
    assert 0 < results["slot use"].result <= 100
    assert (
        results["wait for a slot, mean, quiet team"].yardstick
        != results["wait for a slot, mean, flood team"].yardstick
    )


@pytest.mark.parametrize(
    ("order", "share"),
    [("qfqfqfff", 6 / 5), ("fqfqff", 1.0), ("ffffqq", 2 / 3), ("qqffff", 2.0)],
)
def test_a_share_counts_while_both_teams_wait(order: str, share: float) -> None:
    assert find_contested_share(make_tasks(order)) == pytest.approx(share)


async def test_pictures_are_kept_and_timed_beside_the_raw_disk(tmp_path: Path) -> None:
    (figure,) = await compare_stores(tmp_path, rounds=2, pictures=10)

    assert figure.result > 0
    assert figure.yardstick is not None
    assert figure.yardstick.result > figure.result


async def test_a_worker_is_weighed_with_and_without_jobs(arena: Arena) -> None:
    (figure,) = await compare_sizes(arena, Flight(accounts=2, each=50, seconds=2))

    assert figure.yardstick is not None
    assert 20 < figure.yardstick.result < 500


async def test_hot_queries_are_timed_at_two_sizes(arena: Arena) -> None:
    figures = await compare_growth(arena, 1_000, 3_000, rounds=25)

    assert len(figures) == len(QUERIES)
    assert all(figure.result > 0 and figure.ratio for figure in figures)


async def test_the_order_of_acceptance_starves_everyone_but_the_flood(arena: Arena) -> None:
    crowding = Crowding(teams=10, heavy_teams=2, jobs=500, claims=45)
    results = by_measure(await compare_claims(arena, crowding))
    smallest, largest = (
        results[f"fair share over ideal, {end}"] for end in ("smallest", "largest")
    )

    assert smallest.yardstick is not None
    assert largest.yardstick is not None
    assert smallest.yardstick.result == 0.0
    assert largest.yardstick.result > 10
    assert smallest.result > 0.5
    assert largest.result < 1.5


async def test_lists_are_timed_beside_a_plain_page(arena: Arena) -> None:
    figures = await compare_lists(arena, 2_000, rounds=3)

    assert len(figures) == len(LISTS) + 1
    assert all(figure.result > 0 and figure.ratio for figure in figures)


async def test_places_are_timed_and_none_is_behind_the_queue(arena: Arena) -> None:
    figures = await compare_places(arena, 5, 40, rounds=30)

    assert [figure.number for figure in figures] == ["14"] * 3
    assert figures[-1].result < 5 * 40


def test_storms_are_counted_beside_the_naive_ones() -> None:
    ours = [make_report(1), make_report(2, Kind.LOST)]
    naive = [make_report(1, Kind.DUPLICATE, Kind.DUPLICATE), make_report(2)]
    results = by_measure(judge_storms(ours, naive))

    assert {name: (each.result, each.verdict) for name, each in results.items()} == {
        "kill storm: duplicates": (0, "meets"),
        "kill storm: lost": (1, "MISSES"),
        "kill storm: wrong pictures": (0, "meets"),
        "kill storm: ledger differences": (0, "meets"),
        "kill storm: not accepted, crowded, moved back, silent, unbooked": (0, "meets"),
    }
    duplicates = results["kill storm: duplicates"]
    assert duplicates.yardstick is not None
    assert duplicates.yardstick.result == 2
    assert "failed seeds: 2" in duplicates.note


def by_measure(figures: Iterable[Figure]) -> dict[str, Figure]:
    return {figure.measure: figure for figure in figures}


def make_tasks(order: str) -> list[SeenTask]:
    """One task a letter, created a second after the one before."""
    began = datetime(2026, 11, 23, tzinfo=UTC)
    moments = [began + timedelta(seconds=number) for number in range(len(order))]
    return [
        SeenTask(FLOOD if team == "f" else QUIET, TaskTimes(at, at, at), at, at)
        for team, at in zip(order, moments, strict=True)
    ]


def make_report(seed: int, *kinds: Kind) -> StormReport:
    findings = tuple(Finding(kind, "job", "made up") for kind in kinds)
    return StormReport(
        seed=seed,
        contender="dashgate",
        again="",
        seconds=1.0,
        statuses={"succeeded": 10},
        ended_in_storm=10,
        strikes={},
        billed_images=10,
        in_flight_peaks={},
        refused_calls={},
        verdict=Verdict(kinds.count(Kind.DUPLICATE), findings),
    )
