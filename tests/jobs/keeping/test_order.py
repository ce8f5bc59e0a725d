"""Which pictures come first when there are more than places: those closest to their end."""

from datetime import timedelta
from random import Random

import pytest

from app.jobs.keeping import keep as keeping
from app.media.store import PictureStore
from tests.jobs.keeping.gallery import DAY, RED, Gallery, ended, keeping_hand
from tests.jobs.scene import Scene
from tests.waiting import wait_until

HOUR = timedelta(hours=1)


async def test_after_an_outage_pictures_are_kept_in_the_order_of_their_end(
    scene: Scene, gallery: Gallery, store: PictureStore
) -> None:
    ages = list(range(1, 24, 2))
    Random(5).shuffle(ages)
    for hours in ages:
        await ended(scene, gallery.hang(f"h{hours}", RED), age=hours * HOUR)

    async with keeping_hand(scene, store, gallery.wire.host, concurrency=1) as hand:
        await hand.keep_all()

    assert gallery.asked_for == [f"h{hours}" for hours in sorted(ages, reverse=True)]


async def test_a_slow_picture_gives_way_to_one_that_is_closer_to_its_end(
    scene: Scene, gallery: Gallery, store: PictureStore
) -> None:
    far = await ended(scene, gallery.hang("far", RED))
    gallery.stuck.add("far")
    gallery.gate.clear()
    async with keeping_hand(
        scene, store, gallery.wire.host, concurrency=1, patience_seconds=0
    ) as hand:
        await hand.keeper.step()
        await wait_until(lambda: gallery.under_way == 1)
        close = await ended(scene, gallery.hang("close", RED), age=DAY - HOUR)

        async def is_close_kept() -> bool:
            await hand.keeper.step()
            return await scene.run_of(close.job_id) is None

        await wait_until(is_close_kept)
        attention = (await scene.get(far.job_id)).attention
        assert attention is not None
        assert "gave way" in attention["detail"]
        gallery.gate.set()
        await hand.retry()

    assert (await scene.get(far.job_id)).status == "succeeded"


async def test_a_slow_picture_goes_on_while_nothing_closer_to_its_end_waits(
    scene: Scene, gallery: Gallery, store: PictureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "ROOM_SECONDS", 0.01)
    close = await ended(scene, gallery.hang("close", RED), age=HOUR)
    gallery.stuck.add("close")
    gallery.gate.clear()
    async with keeping_hand(
        scene, store, gallery.wire.host, concurrency=1, patience_seconds=0
    ) as hand:
        await hand.keeper.step()
        await wait_until(lambda: gallery.under_way == 1)
        await ended(scene, gallery.hang("far", RED))

        for _ in range(3):
            await hand.keeper.step()
        gallery.gate.set()
        await hand.keep_all()

    assert (await scene.get(close.job_id)).status == "succeeded"
    assert gallery.asked_for == ["close", "far"]


async def test_pictures_that_fail_never_take_all_places(
    scene: Scene, gallery: Gallery, store: PictureStore
) -> None:
    sick = [f"sick{number}" for number in range(6)]
    for name in sick:
        await ended(scene, gallery.hang(name, RED), age=20 * HOUR)
        gallery.statuses[f"/{name}"] = "503 Service Unavailable"
    async with keeping_hand(scene, store, gallery.wire.host, concurrency=4) as hand:
        await hand.keep_all()
        gallery.stuck.update(sick)
        gallery.gate.clear()
        await scene.pool.execute("update job_runs set due_at = now()")
        while await hand.keeper.step():
            if gallery.under_way >= 3:
                break
        well = await ended(scene, gallery.hang("well", RED))

        async def is_well_kept() -> bool:
            await hand.keeper.step()
            return await scene.run_of(well.job_id) is None

        await wait_until(is_well_kept)

    assert gallery.under_way == 3
