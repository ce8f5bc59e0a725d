"""Nothing waits for ever: what cannot be had is given up a day after its URL's end, and told."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from app import PROGRAM
from app.jobs.keeping.bound import GRACE, LAST_GRACE, PATIENCE, judge_late
from app.jobs.keeping.collect import (
    NOT_FETCHED,
    NOT_KEPT,
    STORE_TROUBLE,
    Lost,
    NotYet,
    Shelf,
    WaitingPicture,
    collect_picture,
)
from app.jobs.keeping.risk import describe_risk, raise_alarms
from app.jobs.lifecycle import Fence
from app.kit.postgres.database import Pool
from tests.jobs.keeping.gallery import BLUE, DAY, RED, Gallery, Hand, ended
from tests.jobs.scene import Scene
from tests.waiting import wait_until

SECOND = timedelta(seconds=1)
NONE = timedelta(0)
AN_HOUR_LATER = """
update job_runs set expires_at = expires_at - interval '1 h',
    attention_since = attention_since - interval '1 h'
"""
REFUSED = "https://elsewhere.example/a.png"


@pytest.mark.parametrize(
    ("code", "left", "troubled_for", "is_lost"),
    [
        (NOT_FETCHED, DAY, DAY, False),
        (NOT_FETCHED, NONE, DAY, False),
        (NOT_FETCHED, SECOND - GRACE, DAY, False),
        (NOT_FETCHED, -GRACE, PATIENCE - SECOND, False),
        (NOT_FETCHED, -GRACE, PATIENCE, True),
        (STORE_TROUBLE, SECOND - GRACE, DAY, False),
        (STORE_TROUBLE, -GRACE, NONE, False),
        (STORE_TROUBLE, -GRACE, PATIENCE, True),
        (STORE_TROUBLE, SECOND - LAST_GRACE, NONE, False),
        (STORE_TROUBLE, -LAST_GRACE, NONE, True),
    ],
)
def test_what_is_late_is_lost_at_the_end_of_its_grace(
    code: str, left: timedelta, troubled_for: timedelta, *, is_lost: bool
) -> None:
    late = NotYet(1, code, "the reason")

    judged = judge_late(late, left=left, troubled_for=troubled_for)

    assert isinstance(judged, Lost) == is_lost
    assert "the reason" in judged.reason  # type: ignore[union-attr]


def test_what_has_ended_stays_as_it_is() -> None:
    lost = Lost(0, "gone")

    assert judge_late(lost, left=-DAY * 9, troubled_for=DAY) is lost


@pytest.mark.parametrize(
    ("left", "is_lost"), [(timedelta(seconds=1), False), (timedelta(0), True)]
)
def test_the_upstreams_word_that_it_is_gone_counts_after_its_urls_end(
    left: timedelta, is_lost: bool
) -> None:
    """By the database's clock: a worker's may be minutes ahead."""
    gone = NotYet(0, NOT_KEPT, "HTTP 404", is_gone=True)

    assert isinstance(judge_late(gone, left=left, troubled_for=timedelta(0)), Lost) is is_lost


async def test_a_refused_host_ends_its_job_a_day_after_the_urls_end_and_says_so(
    scene: Scene, pool: Pool, hand: Hand
) -> None:
    fence = await ended(scene, REFUSED, age=DAY * 2 - timedelta(minutes=5))
    await hand.keep_all()
    job = await scene.get(fence.job_id)
    assert job.status == "finalizing"
    assert job.attention is not None
    assert "if elsewhere.example is the upstream's, add it to" in job.attention["detail"]

    await scene.pool.execute(AN_HOUR_LATER)
    with capture_logs() as logs:
        await hand.retry()

    job = await scene.get(fence.job_id)
    assert (job.status, job.error_code) == ("failed", "picture_lost")
    assert job.error_message is not None
    assert "DASHGATE_RESULT_HOSTS" in job.error_message
    assert ("picture.lost", "error") in [(log["event"], log["log_level"]) for log in logs]
    assert "picture.lost" in await scene.story_of(fence.job_id)
    assert await pool.fetchval("select failures from chore_failures") == 1
    await scene.expect_books_in_order()


async def test_the_other_pictures_of_the_job_are_delivered(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), REFUSED, age=DAY * 2)
    await hand.keep_all()
    await scene.pool.execute(AN_HOUR_LATER)

    await hand.retry()

    job = await scene.get(fence.job_id)
    assert (job.status, job.image_count) == ("succeeded", 1)
    assert [picture.error_code for picture in job.pictures] == [None, "picture_lost"]


async def test_an_error_of_ours_is_one_pictures_trouble_and_bounded_too(
    scene: Scene, gallery: Gallery, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), gallery.hang("blue", BLUE))

    async def stumble(shelf: Shelf, picture: WaitingPicture) -> object:
        if picture.index == 1:
            raise KeyError("ours")
        return await collect_picture(shelf, picture)

    monkeypatch.setattr("app.jobs.keeping.keep.collect_picture", stumble)
    await hand.keep_all()

    job = await scene.get(fence.job_id)
    assert job.attention is not None
    assert (job.status, job.attention["code"]) == ("finalizing", NOT_KEPT)
    assert [picture.status for picture in job.pictures] == ["kept", "upstream"]
    await scene.pool.execute("update job_runs set expires_at = now() - interval '24 h'")
    await scene.pool.execute(AN_HOUR_LATER)
    await hand.retry()
    assert (await scene.get(fence.job_id)).status == "succeeded"


async def test_a_store_that_was_down_for_long_is_waited_for_until_then(
    scene: Scene, gallery: Gallery, folder: Path, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), age=DAY * 2 + timedelta(minutes=1))
    folder.rename(folder.with_name("unmounted"))

    await hand.keep_all()
    assert (await scene.get(fence.job_id)).status == "finalizing"
    await scene.pool.execute(AN_HOUR_LATER)
    await wait_until(lambda: has_ended(scene, hand, fence))

    job = await scene.get(fence.job_id)
    assert (job.status, job.error_code) == ("failed", "picture_lost")


async def has_ended(scene: Scene, hand: Hand, fence: Fence) -> bool:
    """A store that is ill is tried now and then only."""
    await hand.retry()
    return await scene.run_of(fence.job_id) is None


def test_the_alarm_says_until_when_and_what_to_type() -> None:
    job_id = UUID(int=1)

    assert "URLs die in 60 minutes" in describe_risk(job_id, timedelta(hours=1))
    late = describe_risk(job_id, -timedelta(hours=1))
    assert "died 60 minutes ago, they are given up in 1380" in late
    assert late.endswith(f"{PROGRAM} job explain {job_id}")


async def test_the_alarms_log_repeats_what_stands_in_the_way(scene: Scene, hand: Hand) -> None:
    await ended(scene, REFUSED, age=timedelta(hours=21))
    await hand.keep_all()

    with capture_logs() as logs:
        await raise_alarms(scene.pool)

    (told,) = [entry for entry in logs if entry["event"] == "pictures.at_risk"]
    assert "DASHGATE_RESULT_HOSTS" in told["reason"]
