"""Reports: what counts as ridden out, and what is said when it was not."""

from dataclasses import replace
from pathlib import Path

from app.bench.storm.check import Finding, Kind, Verdict
from app.bench.storm.contenders.dashgate import Dashgate
from app.bench.storm.plan import Clocks
from app.bench.storm.report import StormReport, count_refusals
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions
from tests.jobs.scene import make_scene

SECOND_TASK = Finding(Kind.DUPLICATE, "task-2", "billed 1 images for 'fox'")


def make_report(verdict: Verdict, **stories: tuple[str, ...]) -> StormReport:
    return StormReport(
        seed=7,
        contender="dashgate",
        again="python -m app.bench.storm --seeds 7",
        seconds=30.0,
        ended_in_storm=12,
        statuses={"succeeded": 59, "canceled": 1},
        strikes={"kill": 30, "freeze": 4},
        billed_images=100,
        in_flight_peaks={"east": 6},
        refused_calls={},
        verdict=verdict,
        stories=stories,
    )


def test_a_fair_storm_is_one_line() -> None:
    report = make_report(Verdict(0, ()))

    assert report.passed
    assert report.explain() == report.to_line()
    assert "\n" not in report.to_line()
    assert "seed 7: 60 jobs (1 canceled, 59 succeeded) in 30 s" in report.to_line()


def test_lies_clocks_and_calls_for_a_person_are_told() -> None:
    report = replace(
        make_report(Verdict(0, ())),
        weather={"list empty": 9, "list status 403": 4, "list reset": 2},
        clocks=Clocks(-320.0, (12.0, 590.0)),
        standing={"submission_unknown": 1},
        calls=3,
    )

    assert "lies: list empty 9, list status 403 4; clocks -320 to +590 s" in report.to_line()
    assert "a person called 3 times, for good: 1 submission_unknown" in report.to_line()


def test_what_was_wrong_is_told_with_the_way_to_have_it_again() -> None:
    report = make_report(Verdict(1, (SECOND_TASK,)))

    assert not report.passed
    assert "task-2" in report.explain()
    assert report.explain().endswith("again: python -m app.bench.storm --seeds 7")


def test_the_story_of_a_job_that_came_to_harm_is_told() -> None:
    report = make_report(Verdict(1, (SECOND_TASK,)), job7=("12:00 queued", "12:01 given up"))

    assert "  job job7:\n    12:00 queued\n    12:01 given up\n" in report.explain()


def test_a_picture_paid_for_twice_counts_though_it_is_booked() -> None:
    report = make_report(Verdict(1, (), booked=(SECOND_TASK,)))

    assert not report.passed
    assert report.count(Kind.DUPLICATE) == 0
    assert "task-2" in report.explain()


def test_what_happened_once_is_told_before_what_happened_often() -> None:
    lost = Finding(Kind.LOST, "job-9", "has not ended")

    report = make_report(Verdict(0, (*(SECOND_TASK,) * 40, lost)))

    assert report.explain().splitlines()[1] == "  lost: job-9: has not ended"


def test_a_long_list_of_harm_is_cut() -> None:
    report = make_report(Verdict(90, (SECOND_TASK,) * 90))

    assert "and 70 more" in report.explain()


def test_refusals_are_counted_by_endpoint_and_code() -> None:
    refused = {"create": {"Throttling.RateQuota": 2}, "list": {"Throttling.RateQuota": 1}}

    assert count_refusals(refused) == {
        "create Throttling.RateQuota": 2,
        "list Throttling.RateQuota": 1,
    }


async def test_a_story_is_read_from_the_gateways_own_tables(
    pool: Pool, sessions: Sessions, vault: Vault, database: str, tmp_path: Path
) -> None:
    scene = await make_scene(pool, sessions, vault)
    fence = await scene.submitting()

    contender = Dashgate(database, "http://upstream.invalid/api/v1", tmp_path, (), 0, Clocks())
    lines = await contender.tell_story(str(fence.job_id))

    assert "accepted" in lines[0]
    assert "attempt 1" in "".join(lines)
