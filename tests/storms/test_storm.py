"""The kill storm on every run: three seeds; many more by hand, `python -m app.bench.storm`."""

import pytest

from app.bench.storm import Kind, StormOptions, StormReport, run_storm
from app.bench.storm.contenders.contract import ACCOUNT_KEYS
from app.bench.storm.weather import LIES, choose_lies, count_strikes

pytestmark = pytest.mark.timeout(300)

JOBS = 60
STORM_SECONDS = 10.0
RARE = {"create status 403", "line slow"}
"""Of one order each."""


def expect_storm(report: StormReport) -> None:
    """It was one: orders came through, blows fell on the way, and all weather was there."""
    assert sum(report.statuses.values()) > JOBS / 2, report.explain()
    assert report.strikes["kill"] >= 4, report.explain()
    told = [LIES[kind] for kind in choose_lies(report.seed, tuple(ACCOUNT_KEYS)).values()]
    lies = count_strikes({"on": "list", "fired_count": 1} | dict(lie) for lie in told)
    assert all(report.weather[lie] >= 5 for lie in lies), report.weather
    assert all(report.weather[kind] >= 1 for kind in RARE), report.weather
    assert max(map(abs, (report.clocks.upstream, *report.clocks.processes))) > 60


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_or_made_twice_while_processes_die(database: str, seed: int) -> None:
    options = StormOptions(jobs=JOBS, storm_seconds=STORM_SECONDS, database_url=database)

    report = await run_storm(seed, options)

    assert report.passed, report.explain()
    expect_storm(report)


async def test_nothing_is_lost_or_made_twice_while_postgres_crashes_too() -> None:
    report = await run_storm(3, StormOptions(jobs=JOBS, storm_seconds=STORM_SECONDS))

    assert report.passed, report.explain()
    expect_storm(report)
    assert report.strikes["crash"] >= 1


async def test_a_gateway_that_simply_tries_again_is_caught(database: str) -> None:
    options = StormOptions(
        jobs=JOBS, storm_seconds=STORM_SECONDS, database_url=database, contender="naive"
    )

    report = await run_storm(1, options)

    assert report.duplicate_count > 0, report.explain()
    assert report.count(Kind.DUPLICATE) == report.duplicate_count
    assert report.count(Kind.LEDGER) > 0
    assert "again: python -m app.bench.storm --seeds 1" in report.explain()
