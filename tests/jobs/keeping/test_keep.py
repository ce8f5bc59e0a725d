"""Keeping pictures, from real sockets into a real folder: once, whole, by whoever is there."""

import asyncio
import hashlib

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.jobs.keeping import keep as keeping
from app.kit.postgres.database import open_pool
from app.media.store import PictureStore
from tests.api.relay import relayed
from tests.jobs.keeping.gallery import BLUE, DAY, RED, Gallery, Hand, ended, keeping_hand
from tests.jobs.scene import Scene
from tests.waiting import wait_until


async def test_a_picture_is_kept_byte_for_byte_and_ends_its_job(
    scene: Scene, gallery: Gallery, store: PictureStore, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), gallery.hang("blue", BLUE))

    await hand.keep_all()

    job = await scene.get(fence.job_id)
    assert (job.status, job.image_count) == ("succeeded", 2)
    for picture, content in zip(job.pictures, (RED, BLUE), strict=True):
        assert picture.store_key is not None
        assert await store.get(picture.store_key) == content
        assert picture.sha256 == hashlib.sha256(content).hexdigest()
        assert (picture.byte_count, picture.width, picture.height) == (len(content), 64, 64)
        assert picture.content_type == "image/png"
    assert (await scene.story_of(fence.job_id))[-3:] == [
        "picture.kept",
        "picture.kept",
        "job.succeeded",
    ]
    await scene.expect_books_in_order()


async def test_two_processes_keep_each_picture_once(
    scene: Scene, gallery: Gallery, store: PictureStore, hand: Hand
) -> None:
    names = [f"p{number}" for number in range(6)]
    for name in names:
        await ended(scene, gallery.hang(name, RED))

    async with keeping_hand(scene, store, gallery.wire.host) as other:
        await asyncio.gather(hand.keep_all(), other.keep_all())

    assert [gallery.count_requests(name) for name in names] == [1] * 6
    assert await scene.pool.fetchval("select count(*) from job_runs") == 0
    await scene.expect_books_in_order()


async def test_a_process_that_lost_its_lease_hands_in_its_picture_and_ends_nothing(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED))
    gallery.gate.clear()
    await hand.keeper.step()
    await wait_until(lambda: gallery.under_way == 1)
    await scene.pool.execute("update job_runs set lease_token = gen_random_uuid()")
    held = await scene.run_of(fence.job_id)

    gallery.gate.set()
    await hand.keeper.drain(seconds=20)

    assert await scene.run_of(fence.job_id) == held
    assert await scene.pool.fetchval("select status from pictures") == "kept"
    await scene.pool.execute("update job_runs set lease_expires_at = now()")
    await hand.keep_all()
    assert (await scene.get(fence.job_id)).status == "succeeded"
    assert (await scene.story_of(fence.job_id)).count("picture.kept") == 1
    assert gallery.count_requests("red") == 1


async def test_a_picture_that_two_processes_bring_home_is_kept_once(
    scene: Scene, gallery: Gallery, store: PictureStore, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED))
    gallery.gate.clear()
    await hand.keeper.step()
    await scene.pool.execute("update job_runs set lease_expires_at = now()")
    async with keeping_hand(scene, store, gallery.wire.host) as other:
        await other.keeper.step()
        await wait_until(lambda: gallery.under_way == 2)

        gallery.gate.set()
        await asyncio.gather(hand.keeper.drain(seconds=20), other.keeper.drain(seconds=20))

    assert (await scene.get(fence.job_id)).status == "succeeded"
    assert (await scene.story_of(fence.job_id)).count("picture.kept") == 1
    await scene.expect_books_in_order()


async def test_a_picture_of_an_earlier_attempt_is_nobodys(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    await ended(scene, gallery.hang("red", RED))
    gallery.gate.clear()
    await hand.keeper.step()
    await wait_until(lambda: gallery.under_way == 1)
    await scene.pool.execute("update job_runs set attempt = attempt + 1")

    gallery.gate.set()
    await hand.keeper.drain(seconds=20)

    assert await scene.pool.fetchval("select status from pictures") == "upstream"


async def test_a_lease_is_renewed_while_the_picture_is_under_way(
    scene: Scene, gallery: Gallery, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "KEEP_LEASE_SECONDS", 0.06)
    fence = await ended(scene, gallery.hang("red", RED))
    gallery.gate.clear()
    await hand.keeper.step()
    renewal = asyncio.create_task(hand.keeper.renew())
    await scene.pool.execute("update job_runs set lease_expires_at = now()")

    async def is_renewed() -> bool:
        renewed: bool = await scene.pool.fetchval("select lease_expires_at > now() from job_runs")
        return renewed

    await wait_until(is_renewed)
    gallery.gate.set()
    await hand.keeper.drain(seconds=20)
    renewal.cancel()
    assert (await scene.get(fence.job_id)).status == "succeeded"


async def test_what_is_not_done_in_time_is_given_back_at_once(
    scene: Scene, gallery: Gallery, store: PictureStore, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED))
    gallery.gate.clear()
    await hand.keeper.step()
    await wait_until(lambda: gallery.under_way == 1)

    await hand.keeper.drain(seconds=0)

    run = await scene.run_of(fence.job_id)
    assert run is not None
    assert run["lease_token"] is None
    gallery.gate.set()
    async with keeping_hand(scene, store, gallery.wire.host) as other:
        await other.keep_all()
    assert (await scene.get(fence.job_id)).status == "succeeded"


async def test_no_more_jobs_are_kept_at_once_than_there_is_room_for(
    scene: Scene, gallery: Gallery, store: PictureStore
) -> None:
    for number in range(5):
        await ended(scene, gallery.hang(f"p{number}", RED))
    gallery.gate.clear()

    async with keeping_hand(scene, store, gallery.wire.host, concurrency=2) as narrow:
        assert await narrow.keeper.step()
        await wait_until(lambda: gallery.under_way == 2)
        gallery.gate.set()
        await narrow.keep_all()

    assert gallery.most_under_way == 2
    assert await scene.pool.fetchval("select count(*) from job_runs") == 0


async def test_a_kept_picture_is_not_fetched_again_with_the_late_one(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), gallery.hang("blue", BLUE))
    gallery.statuses["/blue"] = "503 Service Unavailable"
    await hand.keep_all()
    gallery.statuses.clear()

    await hand.retry()

    assert (await scene.get(fence.job_id)).image_count == 2
    assert (gallery.count_requests("red"), gallery.count_requests("blue")) == (1, 2)


async def test_one_url_for_two_pictures_is_fetched_once_and_is_two_pictures(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    url = gallery.hang("red", RED)
    fence = await ended(scene, url, gallery.hang("blue", BLUE), url)

    await hand.keep_all()

    job = await scene.get(fence.job_id)
    assert (job.status, job.image_count) == ("succeeded", 3)
    assert len({picture.store_key for picture in job.pictures}) == 2
    assert gallery.count_requests("red") == 1
    await scene.expect_books_in_order()


async def test_what_was_kept_before_a_crash_is_not_fetched_again(
    scene: Scene, gallery: Gallery, store: PictureStore, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), gallery.hang("blue", BLUE))
    gallery.stuck.add("blue")
    gallery.gate.clear()
    await hand.keeper.step()

    async def is_red_kept() -> bool:
        kept: int = await scene.pool.fetchval(
            "select count(*) from pictures where status = 'kept'"
        )
        return kept == 1

    await wait_until(is_red_kept)
    await hand.keeper.drain(seconds=0)
    gallery.gate.set()

    async with keeping_hand(scene, store, gallery.wire.host) as other:
        await other.keep_all()

    assert (await scene.get(fence.job_id)).image_count == 2
    assert (gallery.count_requests("red"), gallery.count_requests("blue")) == (1, 2)


async def test_what_came_while_the_database_was_away_is_kept_when_it_is_back(
    scene: Scene, gallery: Gallery, store: PictureStore, database: str
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), age=DAY)
    gallery.gate.clear()
    async with relayed(database) as (relay, through):
        pool = await open_pool(through, max_size=2)
        async with keeping_hand(scene, store, gallery.wire.host, pool=pool) as hand:
            await hand.keeper.step()
            await wait_until(lambda: gallery.under_way == 1)
            relay.cut()
            with capture_logs() as logs:
                gallery.gate.set()
                await wait_until(lambda: "record.waiting_for_database" in names_of(logs))
            gallery.statuses["/red"] = "403 Forbidden"

            relay.is_cut = False
            await hand.keeper.drain(seconds=20)

        await pool.close()

    assert (await scene.get(fence.job_id)).status == "succeeded"
    assert gallery.count_requests("red") == 1


def names_of(logs: list[EventDict]) -> list[str]:
    return [entry["event"] for entry in logs]
