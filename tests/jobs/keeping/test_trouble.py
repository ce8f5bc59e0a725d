"""Pictures that do not come, or cannot be put away: tried again, and lost by no fault of ours."""

import asyncio
import errno
import os
import shutil
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from app.jobs.keeping.turns import (
    LONGEST_RETRY_SECONDS,
    SHORTEST_RETRY_SECONDS,
    find_retry_seconds,
)
from app.jobs.lifecycle import Fence
from app.media.fetch import PICTURE_BYTES_LIMIT
from app.media.store import PictureStore, open_store
from tests.jobs.keeping.gallery import BLUE, DAY, RED, Gallery, Hand, ended, keeping_hand
from tests.jobs.scene import Scene
from tests.media.wire import Request, reply, serve
from tests.waiting import wait_until


async def test_while_the_store_is_down_pictures_wait_and_are_kept_afterwards(
    scene: Scene, gallery: Gallery, folder: Path, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED))
    shutil.move(folder, folder.with_name("unmounted"))

    await hand.keep_all()

    job = await scene.get(fence.job_id)
    assert job.status == "finalizing"
    assert job.attention is not None
    assert job.attention["code"] == "store_unavailable"
    shutil.move(folder.with_name("unmounted"), folder)
    assert (await hand.retry_until_ended(fence)).status == "succeeded"


async def test_a_store_that_is_down_past_the_urls_end_loses_nothing_that_can_still_be_fetched(
    scene: Scene, gallery: Gallery, folder: Path, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), age=DAY * 2)
    shutil.move(folder, folder.with_name("unmounted"))

    await hand.keep_all()

    assert (await scene.get(fence.job_id)).status == "finalizing"


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "503 Service Unavailable"])
async def test_a_picture_that_cannot_be_had_yet_waits_while_its_url_lives(
    scene: Scene, gallery: Gallery, hand: Hand, status: str
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), age=DAY - timedelta(minutes=5))
    gallery.statuses["/red"] = status

    await hand.keep_all()

    job = await scene.get(fence.job_id)
    assert job.status == "finalizing"
    assert job.attention is not None
    assert job.attention["code"] == "picture_not_fetched"
    assert f"answered {status[:3]}" in job.attention["detail"]
    gallery.statuses.clear()
    await hand.retry()
    assert (await scene.get(fence.job_id)).status == "succeeded"


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "410 Gone"])
async def test_a_picture_that_is_gone_after_its_time_is_lost_and_costs_nothing(
    scene: Scene, gallery: Gallery, hand: Hand, status: str
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), age=DAY)
    gallery.statuses["/red"] = status

    await hand.keep_all()

    job = await scene.get(fence.job_id)
    assert (job.status, job.error_code, job.amount) == ("failed", "picture_lost", Decimal(0))
    assert job.pictures[0].error_code == "picture_lost"
    assert "picture.lost" in await scene.story_of(fence.job_id)
    await scene.expect_books_in_order()


@pytest.mark.parametrize("status", ["503 Service Unavailable", "400 Bad Request", "200 OK"])
async def test_long_after_its_time_only_the_upstreams_word_makes_a_picture_lost(
    scene: Scene, gallery: Gallery, hand: Hand, status: str
) -> None:
    fence = await ended(scene, gallery.hang("red", RED[:-9]), age=DAY * 3)
    gallery.statuses["/red"] = status
    await hand.keep_all()
    assert (await scene.get(fence.job_id)).status == "finalizing"
    gallery.statuses.clear()
    gallery.hang("red", RED)

    await hand.retry()

    assert (await scene.get(fence.job_id)).status == "succeeded"


async def test_trouble_at_the_very_end_of_a_urls_time_is_no_loss_yet(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), age=DAY)
    gallery.statuses["/red"] = "503 Service Unavailable"
    await hand.keep_all()
    gallery.statuses.clear()

    await hand.retry()

    assert (await scene.get(fence.job_id)).status == "succeeded"


async def test_after_hours_of_outage_the_first_retry_comes_at_once(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), age=timedelta(hours=10))
    gallery.statuses["/red"] = "503 Service Unavailable"

    await hand.keep_all()

    assert await find_pause_seconds(scene, fence) <= 2 * SHORTEST_RETRY_SECONDS


async def test_retries_become_seldom_while_the_trouble_lasts_and_frequent_at_the_end(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    url = gallery.hang("red", RED)
    gallery.statuses["/red"] = "503 Service Unavailable"
    early = await ended(scene, url)
    late = await ended(scene, f"{url}?", age=DAY - timedelta(minutes=5))
    gallery.statuses["/red?"] = "503 Service Unavailable"
    await hand.keep_all()
    await scene.pool.execute("update job_runs set attention_since = now() - interval '1 hour'")

    await hand.retry()

    assert await find_pause_seconds(scene, early) > LONGEST_RETRY_SECONDS - 2
    assert await find_pause_seconds(scene, late) <= 3


async def test_pictures_late_for_different_reasons_call_a_person_once(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), gallery.hang("blue", BLUE[:-9]))
    gallery.statuses["/red"] = "503 Service Unavailable"
    await hand.keep_all()
    await hand.retry()
    gallery.statuses.clear()

    await hand.retry()

    assert (await scene.story_of(fence.job_id)).count("job.attention") == 2
    assert await scene.pool.fetchval("select attention_code from job_runs") == "picture_not_whole"


@pytest.mark.parametrize(
    ("troubled", "left", "retry_seconds"),
    [
        (timedelta(0), DAY, SHORTEST_RETRY_SECONDS),
        (timedelta(seconds=20), DAY, 10),
        (timedelta(hours=9), DAY, LONGEST_RETRY_SECONDS),
        (timedelta(hours=9), timedelta(minutes=50), 30),
        (timedelta(hours=9), timedelta(minutes=5), 3),
        (timedelta(hours=9), timedelta(0), SHORTEST_RETRY_SECONDS),
        (timedelta(hours=9), timedelta(minutes=-5), 3),
        (timedelta(hours=9), -DAY, LONGEST_RETRY_SECONDS),
    ],
)
def test_the_pause_grows_with_the_trouble_and_shrinks_with_the_time_left(
    troubled: timedelta, left: timedelta, retry_seconds: float
) -> None:
    assert find_retry_seconds(troubled, left) == retry_seconds


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
async def test_a_disk_in_trouble_costs_no_job_anything(
    scene: Scene, gallery: Gallery, hand: Hand, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fences = [await ended(scene, gallery.hang(f"p{k}", RED), age=DAY) for k in range(3)]

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", refuse)
        await hand.keep_all()
        assert {(await scene.get(fence.job_id)).status for fence in fences} == {"finalizing"}

    for fence in fences:
        assert (await hand.retry_until_ended(fence)).status == "succeeded"


async def test_a_bucket_that_answers_500_costs_no_job_anything(
    scene: Scene, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    fence = await ended(scene, gallery.hang("red", RED))
    answers = {"PUT": reply("500 Internal Server Error")}

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answers[request.method])

    async with serve(answer) as bucket:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{bucket.host}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "LTAI-test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-access-key")
        async with keeping_hand(scene, open_store("s3://kept"), gallery.wire.host) as hand:
            await hand.keep_all()
            job = await scene.get(fence.job_id)
            assert job.attention is not None
            assert (job.status, job.attention["code"]) == ("finalizing", "store_unavailable")
            answers["PUT"] = reply("200 OK", b"", 'ETag: "1"')

            job = await hand.retry_until_ended(fence)

    assert job.status == "succeeded"


async def test_a_store_that_is_down_is_tried_with_one_picture_at_a_time(
    scene: Scene, gallery: Gallery, folder: Path, hand: Hand
) -> None:
    first = await ended(scene, gallery.hang("first", RED))
    shutil.move(folder, folder.with_name("unmounted"))
    await hand.keep_all()
    rest = [await ended(scene, gallery.hang(f"p{number}", RED)) for number in range(5)]
    before = len(gallery.asked_for)

    await wait_until(lambda: tries_once_more(hand, gallery, before))

    assert len(gallery.asked_for) - before == 1
    shutil.move(folder.with_name("unmounted"), folder)
    for fence in (first, *rest):
        assert (await hand.retry_until_ended(fence)).status == "succeeded"


async def tries_once_more(hand: Hand, gallery: Gallery, before: int) -> bool:
    await hand.keep_all()
    return len(gallery.asked_for) > before


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (reply("200 OK", b"<html>busy</html>"), "picture_not_whole", "HTML"),
        (reply("200 OK", RED[:-20]), "picture_not_whole", "ends at"),
        (reply("200 OK", RED + b"!"), "picture_not_whole", "follow IEND"),
        (reply("200 OK", RED[:-20], announced=len(RED)), "picture_not_fetched", "connection"),
        (
            reply("200 OK", RED, announced=PICTURE_BYTES_LIMIT + 1),
            "picture_not_fetched",
            "above the limit",
        ),
        (
            reply("302 Found", b"", "Location: http://169.254.169.254/latest"),
            "picture_not_fetched",
            "DASHGATE_RESULT_HOSTS",
        ),
        (
            reply("302 Found", b"", "Location: http://10.0.0.1:9000/a.png"),
            "picture_not_fetched",
            "DASHGATE_RESULT_HOSTS",
        ),
    ],
    ids=["html", "cut", "too long", "broken off", "oversize", "metadata", "private address"],
)
async def test_what_is_not_the_picture_is_not_kept_and_is_asked_for_again(
    scene: Scene, store: PictureStore, folder: Path, answer: bytes, code: str, words: str
) -> None:
    answers = [answer, reply("200 OK", RED)]

    async def give(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0))

    async with serve(give) as wire, keeping_hand(scene, store, wire.host) as hand:
        fence = await ended(scene, f"http://{wire.host}/a.png?Signature=secret")
        await hand.keep_all()

        job = await scene.get(fence.job_id)
        assert job.attention is not None
        assert (job.status, job.attention["code"]) == ("finalizing", code)
        assert words in job.attention["detail"]
        assert "secret" not in job.attention["detail"]
        assert [path for path in folder.rglob("*") if path.is_file()] == []
        await hand.retry()
        assert (await scene.get(fence.job_id)).status == "succeeded"


async def test_nothing_is_fetched_from_a_host_that_is_not_allowed(
    scene: Scene, gallery: Gallery, store: PictureStore
) -> None:
    fence = await ended(scene, gallery.hang("red", RED))

    async with keeping_hand(scene, store) as strict:
        await strict.keep_all()

    assert gallery.wire.requests == []
    job = await scene.get(fence.job_id)
    assert job.attention is not None
    assert "DASHGATE_RESULT_HOSTS" in job.attention["detail"]


async def test_an_account_may_keep_its_results_on_its_own_host(
    scene: Scene, gallery: Gallery, store: PictureStore
) -> None:
    fence = await ended(scene, gallery.hang("red", RED))
    await scene.pool.execute(
        "update accounts set base_url = $1", f"http://{gallery.wire.host}/api/v1"
    )

    async with keeping_hand(scene, store) as strict:
        await strict.keep_all()

    assert (await scene.get(fence.job_id)).status == "succeeded"


async def test_one_lost_picture_does_not_take_the_kept_one_along(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    urls = gallery.hang("red", RED), gallery.hang("blue", BLUE)
    fence = await ended(scene, *urls, None, age=DAY)
    gallery.statuses["/blue"] = "403 Forbidden"

    await hand.keep_all()

    job = await scene.get(fence.job_id)
    assert (job.status, job.image_count, f"{job.amount:.2f}") == ("succeeded", 1, "0.20")
    assert [picture.error_code for picture in job.pictures] == [
        None,
        "picture_lost",
        "InternalError.Timeout",
    ]
    await scene.expect_books_in_order()


async def find_pause_seconds(scene: Scene, fence: Fence) -> float:
    seconds: float = await scene.pool.fetchval(
        "select extract(epoch from due_at - now())::float8 from job_runs where job_id = $1",
        fence.job_id,
    )
    return seconds
