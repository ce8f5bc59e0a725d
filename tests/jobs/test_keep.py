"""Keeping pictures, from real sockets into a real folder: once, whole, and never forgotten."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from app.jobs.engine import keep as keeping
from app.jobs.engine.collect import HOPE, Shelf
from app.jobs.engine.keep import (
    LONGEST_RETRY_SECONDS,
    SHORTEST_RETRY_SECONDS,
    Keeper,
    find_retry_seconds,
)
from app.jobs.lifecycle import Fence
from app.kit.clock import utc_now
from app.media.fetch import ResultHosts, make_http_client
from app.media.store import PictureStore, open_store
from tests.jobs.scene import Scene, ended_with
from tests.media.images import make_noise
from tests.media.wire import Request, Wire, reply, serve
from tests.waiting import wait_until

RED, BLUE = make_noise(seed=1, width=64, height=64), make_noise(seed=2, width=64, height=64)
DAY = timedelta(hours=24)


@dataclass
class Gallery:
    """Pictures by path, and what is to happen to those who ask for them."""

    pictures: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    most_under_way: int = 0
    wire: Wire = field(init=False)

    def __post_init__(self) -> None:
        self.gate.set()

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        status = self.statuses.get(request.target, "200 OK")
        writer.write(reply(status, self.pictures.get(request.target, b"")))

    def hang(self, name: str, content: bytes) -> str:
        """The picture's URL."""
        self.pictures[f"/{name}"] = content
        return f"http://{self.wire.host}/{name}"

    def count_requests(self, name: str) -> int:
        return sum(request.target == f"/{name}" for request in self.wire.requests)


@pytest.fixture
async def gallery() -> AsyncIterator[Gallery]:
    gallery = Gallery()
    async with serve(gallery.answer) as wire:
        gallery.wire = wire
        yield gallery


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> PictureStore:
    return open_store(folder.as_uri())


@dataclass(frozen=True)
class Hand:
    """One process that keeps pictures."""

    keeper: Keeper
    scene: Scene

    async def keep_all(self) -> None:
        """Whatever may be claimed now, to its end."""
        while await self.keeper.step():
            pass
        await self.keeper.drain(seconds=20)

    async def retry(self) -> None:
        """As if the pause before the next try were over."""
        await self.scene.pool.execute("update job_runs set due_at = now()")
        await self.keep_all()


@asynccontextmanager
async def keeping_hand(
    scene: Scene, store: PictureStore, *hosts: str, concurrency: int = 8
) -> AsyncIterator[Hand]:
    async with make_http_client() as downloads:
        shelf = Shelf(downloads, ResultHosts().plus(*hosts), store)
        keeper = Keeper(scene.pool, shelf, clock=utc_now, concurrency=concurrency)
        yield Hand(keeper, scene)
        await keeper.drain(seconds=0)


@pytest.fixture
async def hand(scene: Scene, store: PictureStore, gallery: Gallery) -> AsyncIterator[Hand]:
    async with keeping_hand(scene, store, gallery.wire.host) as hand:
        yield hand


async def ended(scene: Scene, *urls: str | None, age: timedelta = timedelta(0)) -> Fence:
    """A job whose task ended that long ago."""
    fence = await scene.running(f"task-{urls}", n=len(urls))
    await scene.decide(fence, ended_with(*urls, ended_at=utc_now() - age))
    return fence


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


async def test_a_process_that_lost_its_lease_writes_nothing(
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
    await hand.retry()
    assert (await scene.get(fence.job_id)).status == "succeeded"


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


async def test_a_picture_that_comes_damaged_is_not_kept(
    scene: Scene, gallery: Gallery, folder: Path, hand: Hand
) -> None:
    half = len(RED) // 2
    fence = await ended(scene, gallery.hang("red", RED[:half] + b"\0" + RED[half + 1 :]))

    await hand.keep_all()

    job = await scene.get(fence.job_id)
    assert job.status == "finalizing"
    assert job.attention is not None
    assert job.attention["code"] == "picture_not_whole"
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("status", "content", "late"),
    [
        pytest.param("403 Forbidden", RED, timedelta(0), id="said to be gone"),
        pytest.param("200 OK", RED[:-9], HOPE, id="still damaged"),
        pytest.param("503 Service Unavailable", RED, HOPE, id="still away"),
    ],
)
async def test_a_picture_whose_time_is_over_is_lost_and_costs_nothing(
    scene: Scene, gallery: Gallery, hand: Hand, status: str, content: bytes, late: timedelta
) -> None:
    fence = await ended(scene, gallery.hang("red", content), age=DAY + late)
    gallery.statuses["/red"] = status

    await hand.keep_all()

    job = await scene.get(fence.job_id)
    assert (job.status, job.error_code, job.amount) == ("failed", "picture_lost", Decimal(0))
    assert job.pictures[0].error_code == "picture_lost"
    assert "picture.lost" in await scene.story_of(fence.job_id)
    await scene.expect_books_in_order()


async def test_trouble_at_the_very_end_of_a_urls_time_is_no_loss_yet(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    fence = await ended(scene, gallery.hang("red", RED), age=DAY)
    gallery.statuses["/red"] = "503 Service Unavailable"
    await hand.keep_all()
    gallery.statuses.clear()

    await hand.retry()

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


async def test_one_url_for_two_pictures_is_two_pictures(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    url = gallery.hang("red", RED)
    fence = await ended(scene, url, url)

    await hand.keep_all()

    job = await scene.get(fence.job_id)
    assert job.image_count == 2
    assert len({picture.store_key for picture in job.pictures}) == 1


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


async def test_a_late_picture_is_tried_again_soon_and_then_ever_more_seldom(
    scene: Scene, gallery: Gallery, hand: Hand
) -> None:
    gallery.hang("red", RED)
    gallery.statuses["/red"] = "503 Service Unavailable"
    young = await ended(scene, f"http://{gallery.wire.host}/red")
    old = await ended(scene, f"http://{gallery.wire.host}/red?", age=timedelta(hours=1))

    await hand.keep_all()

    waits = {
        row["job_id"]: row["seconds"]
        for row in await scene.pool.fetch(
            "select job_id, extract(epoch from due_at - now()) as seconds from job_runs"
        )
    }
    assert waits[young.job_id] <= 2 * SHORTEST_RETRY_SECONDS
    assert LONGEST_RETRY_SECONDS - 2 < waits[old.job_id] <= LONGEST_RETRY_SECONDS


@pytest.mark.parametrize(
    ("age_seconds", "retry_seconds"), [(-9, 0.5), (0, 0.5), (4, 2), (20, 10), (9_999, 60)]
)
def test_the_pause_before_the_next_try_grows_with_the_wait(
    age_seconds: float, retry_seconds: float
) -> None:
    assert find_retry_seconds(timedelta(seconds=age_seconds)) == retry_seconds
