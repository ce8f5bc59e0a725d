"""Results at risk: the alarm long before a paid picture dies, once a level."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from structlog.testing import capture_logs

from app.jobs.gauges import RISK, read_gauges
from app.jobs.keeping.risk import RISK_CODE, RiskLevel, find_risk, raise_alarms
from app.jobs.lifecycle import Flag
from tests.jobs.keeping.gallery import DAY, RED, Gallery, Hand, ended
from tests.jobs.scene import Scene

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
URL = "https://results.example/a.png"


@pytest.mark.parametrize(
    ("age", "life", "level"),
    [
        (-HOUR, DAY, None),
        (6 * HOUR - SECOND, DAY, None),
        (6 * HOUR, DAY, RiskLevel.WARNING),
        (20 * HOUR - SECOND, DAY, RiskLevel.WARNING),
        (20 * HOUR, DAY, RiskLevel.CRITICAL),
        (30 * HOUR, DAY, RiskLevel.CRITICAL),
        (5 * HOUR, 2 * DAY, None),
        (20 * HOUR, 2 * DAY, RiskLevel.CRITICAL),
        (14 * SECOND, 60 * SECOND, None),
        (15 * SECOND, 60 * SECOND, RiskLevel.WARNING),
        (50 * SECOND, 60 * SECOND, RiskLevel.CRITICAL),
        (timedelta(0), timedelta(0), RiskLevel.CRITICAL),
    ],
)
def test_the_alarm_comes_after_hours_or_after_a_share_of_a_shorter_life(
    age: timedelta, life: timedelta, level: RiskLevel | None
) -> None:
    assert find_risk(NOON - age, NOON - age + life, NOON) == level


async def test_each_level_is_told_once_by_log_event_and_mark(scene: Scene) -> None:
    fence = await ended(scene, URL, age=7 * HOUR)

    with capture_logs() as logs:
        for _ in range(3):
            await raise_alarms(scene.pool)
        await age_by(scene, 14 * HOUR)
        for _ in range(3):
            await raise_alarms(scene.pool)

    told = [entry for entry in logs if entry["event"] == "pictures.at_risk"]
    assert [(entry["log_level"], entry["level"]) for entry in told] == [
        ("warning", "warning"),
        ("critical", "critical"),
    ]
    assert {entry["job_id"] for entry in told} == {str(fence.job_id)}
    assert await levels_of(scene) == ["warning", "critical"]
    job = await scene.get(fence.job_id)
    assert job.attention is not None
    assert job.attention["code"] == RISK_CODE
    assert (await scene.story_of(fence.job_id)).count("job.attention") == 1


async def test_after_an_outage_the_alarm_starts_at_the_level_that_holds(scene: Scene) -> None:
    await ended(scene, URL, age=21 * HOUR)

    await raise_alarms(scene.pool)
    await raise_alarms(scene.pool)

    assert await levels_of(scene) == ["critical"]


async def test_the_mark_that_says_why_stays(scene: Scene) -> None:
    fence = await ended(scene, URL, age=7 * HOUR)
    await scene.decide(fence, Flag("picture_not_fetched", "picture 0: it answered 503"))

    await raise_alarms(scene.pool)

    job = await scene.get(fence.job_id)
    assert job.attention is not None
    assert job.attention["code"] == "picture_not_fetched"
    assert await levels_of(scene) == ["warning"]


async def test_nothing_is_told_of_fresh_and_of_kept_pictures(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    await ended(scene, gallery.hang("old", RED), age=23 * HOUR)
    await hand.keep_all()
    await ended(scene, URL, age=5 * HOUR)

    await raise_alarms(scene.pool)

    assert await levels_of(scene) == []


async def test_the_gauge_counts_by_the_same_rule(scene: Scene) -> None:
    rng = Random(11)
    for number in range(40):
        fence = await ended(scene, f"{URL}?{number}")
        age, life = rng.uniform(0, 30) * HOUR, rng.choice((timedelta(minutes=9), DAY, 2 * DAY))
        age = age if life >= DAY else age / 100
        await scene.pool.execute(
            "update attempts set task_ended_at = now() - $2::interval where job_id = $1",
            fence.job_id,
            age,
        )
        await scene.pool.execute(
            "update job_runs set expires_at = now() - $2::interval + $3 where job_id = $1",
            fence.job_id,
            age,
            life,
        )

    rows = await scene.pool.fetch(
        "select task_ended_at, expires_at from job_runs join attempts using (job_id)"
    )
    now = datetime.now(UTC)
    levels = [find_risk(row["task_ended_at"], row["expires_at"], now) for row in rows]
    (risk,) = [read.rows async for read in read_gauges(scene.pool) if read.group is RISK]

    assert risk is not None
    assert {row["level"]: row["results_at_risk"] for row in risk} == {
        level.value: levels.count(level) for level in RiskLevel
    }
    assert 0 < levels.count(RiskLevel.WARNING) < 40


async def age_by(scene: Scene, time: timedelta) -> None:
    await scene.pool.execute(
        "update attempts set task_ended_at = task_ended_at - $1::interval", time
    )
    await scene.pool.execute("update job_runs set expires_at = expires_at - $1::interval", time)


async def levels_of(scene: Scene) -> list[str]:
    rows = await scene.pool.fetch(
        "select detail ->> 'level' as level from job_events"
        " where type = 'pictures.at_risk' order by id"
    )
    return [row["level"] for row in rows]


async def test_a_task_whose_end_was_not_seen_for_hours_is_at_risk_as_well(scene: Scene) -> None:
    """It may have ended right after its create, and no answer about it could be read."""
    fence = await scene.running()
    await scene.pool.execute("update job_runs set submitted_at = now() - interval '7 hours'")

    with capture_logs() as logs:
        for _ in range(2):
            await raise_alarms(scene.pool)

    (told,) = [entry for entry in logs if entry["event"] == "pictures.at_risk"]
    assert (told["job_id"], told["level"]) == (str(fence.job_id), "warning")
    job = await scene.get(fence.job_id)
    assert job.attention is not None
    assert "its end was missed" in job.attention["detail"]
    (risk,) = [read.rows async for read in read_gauges(scene.pool) if read.group is RISK]
    assert risk is not None
    assert {row["level"]: row["results_at_risk"] for row in risk}["warning"] == 1
