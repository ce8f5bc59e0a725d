"""One lane at work over a real emulator: what goes out, what waits, what holds up nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from asyncpg import InterfaceError
from pydantic import SecretStr

from app.accounts.directory import UpstreamAccount, UpstreamLane
from app.dashscope.client import DashScope
from app.jobs.engine import dispatch
from app.jobs.engine.claim import LaneTurn, claim_submission
from app.jobs.engine.dispatch import LaneDesk, record_surely, work_lane
from app.jobs.lifecycle import Collect, Run, TaskFacts, UpstreamPicture
from app.kit.postgres.database import Connection, Pool, transaction
from app.media.store import PictureMissing, StoreUnavailable
from tests.dashscope.upstreams import calling
from tests.emulator.client import QUICK, Desk, make_picture, open_desk
from tests.factories import MODEL
from tests.gateway import find_free_port
from tests.jobs.scene import Scene, ended_with
from tests.media.images import make_noise

CALLER = "sk-desk"


@dataclass
class Lane:
    """A lane whose inputs come from a dictionary, or go wrong as it says."""

    scene: Scene
    upstream: Desk
    api: DashScope
    inputs: dict[str, bytes | Exception] = field(default_factory=dict)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    nudge: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, times: int = 1) -> None:
        for _ in range(times):
            await work_lane(self.desk, [MODEL], stop=self.stop, nudge=self.nudge)

    @property
    def desk(self) -> LaneDesk:
        lane = UpstreamLane(self.scene.lane_id, SecretStr(CALLER))
        account = UpstreamAccount(
            id=self.scene.account_id,
            name="default",
            region="cn-beijing",
            base_url=self.upstream.base_url,
            max_running=5,
            submit_rate=1_000.0,
            query_rate=1_000.0,
            weight=1.0,
            state="active",
            lanes=(lane,),
        )
        return LaneDesk(
            pool=self.scene.pool,
            account=account,
            lane=lane,
            upstream=self.api,
            read_input=self._read,
            submit_timeout_seconds=5.0,
        )

    async def _read(self, store_key: str) -> bytes:
        found = self.inputs[store_key]
        if isinstance(found, Exception):
            raise found
        return found

    async def lines(self) -> list[dict[str, object]]:
        bill = await self.upstream.control("bill")
        lines: list[dict[str, object]] = bill["tasks"]
        return lines


@pytest.fixture
async def lane(scene: Scene) -> AsyncIterator[Lane]:
    async with open_desk(QUICK) as upstream, calling(upstream.base_url, CALLER) as api:
        yield Lane(scene, upstream, api)


def stored(name: str) -> dict[str, object]:
    """An input in our own store, as a job refers to it."""
    return {"store_key": name, "content_type": "image/png", "sha256": name}


async def test_the_next_job_is_submitted_as_it_was_asked(lane: Lane) -> None:
    lane.inputs["a"] = make_picture()
    job_id = await lane.scene.accept(n=3, prompt="make it teal", images=[stored("a")])

    await lane.work()

    assert (await lane.scene.get(job_id)).status == "running"
    (line,) = await lane.lines()
    assert (line["prompt"], line["n"]) == ("make it teal", 3)
    answer = await lane.upstream.wait_for(str(line["task_id"]))
    assert answer["output"]["task_status"] == "SUCCEEDED"


async def test_an_input_too_large_for_the_body_is_uploaded_first(lane: Lane) -> None:
    lane.inputs["a"] = make_noise("BMP", 1_700, 1_600)
    image = {**stored("a"), "content_type": "image/bmp"}
    await lane.scene.accept(images=[image])

    await lane.work()

    assert (await lane.upstream.control("bill"))["calls"]["form"] == 1
    (line,) = await lane.lines()
    answer = await lane.upstream.wait_for(str(line["task_id"]))
    assert answer["output"]["task_status"] == "SUCCEEDED"


async def test_a_job_whose_input_is_lost_ends_and_the_next_one_goes_out(lane: Lane) -> None:
    lane.inputs["a"] = PictureMissing("the picture store /secret/folder holds no a")
    poisoned = await lane.scene.accept(images=[stored("a")])
    healthy = await lane.scene.accept()

    await lane.work(times=2)

    job = await lane.scene.get(poisoned)
    assert (job.status, job.error_code) == ("failed", "input_lost")
    assert "/secret" not in str(job.error_message)
    assert (await lane.scene.get(healthy)).status == "running"
    await lane.scene.expect_books_in_order()


async def test_a_job_whose_input_cannot_be_read_now_waits_and_the_next_one_goes_out(
    lane: Lane,
) -> None:
    lane.inputs["a"] = StoreUnavailable("the disk is gone")
    waiting = await lane.scene.accept(images=[stored("a")])
    healthy = await lane.scene.accept()

    await lane.work(times=2)
    assert (await lane.scene.get(waiting)).status == "queued"
    assert (await lane.scene.get(healthy)).status == "running"

    lane.inputs["a"] = make_picture()
    await lane.scene.pool.execute("update job_runs set due_at = now()")
    await lane.work()
    assert (await lane.scene.get(waiting)).status == "running"


async def test_a_claim_that_grew_too_old_is_not_sent(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was paused after its claim must not send what others have taken over."""
    monkeypatch.setattr(dispatch, "PREPARE_SECONDS", 0.05)

    async def claim_slowly(connection: Connection, turn: LaneTurn) -> object:
        claimed = await claim_submission(connection, turn)
        await asyncio.sleep(0.1)
        return claimed

    monkeypatch.setattr(dispatch, "claim_submission", claim_slowly)
    job_id = await lane.scene.accept()

    await lane.work()

    assert await lane.lines() == []
    assert (await lane.scene.get(job_id)).status == "queued"
    assert [row["outcome"] for row in await lane.scene.attempts_of(job_id)] == ["absent"]


async def test_an_upstream_out_of_reach_pauses_the_account_and_loses_nothing(
    lane: Lane,
) -> None:
    job_id = await lane.scene.accept()
    async with calling(f"http://127.0.0.1:{find_free_port()}") as lane.api:
        await lane.work()

    run = await lane.scene.run_of(job_id)
    assert run is not None
    assert run["status"] == "queued"
    assert await lane.scene.pool.fetchval("select pause_code from account_paces") == "not_sent"


async def test_a_waiting_lane_goes_on_at_a_nudge_and_at_a_stop(lane: Lane) -> None:
    for event in (lane.nudge, lane.stop):
        waiting = asyncio.create_task(lane.work())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        event.set()
        async with asyncio.timeout(0.5):
            await waiting


async def test_news_that_exist_nowhere_else_wait_for_the_database(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    fence = await scene.submitting()
    losses = iter((ConnectionResetError(), TimeoutError(), InterfaceError("closed")))

    @asynccontextmanager
    async def lose_thrice(pool: Pool) -> AsyncIterator[Connection]:
        async with transaction(pool) as connection:
            yield connection
            for loss in losses:
                raise loss

    monkeypatch.setattr(dispatch, "transaction", lose_thrice)
    monkeypatch.setattr(dispatch, "RECORD_RETRY_SECONDS", 0)

    await record_surely(scene.pool, fence, Run("t-1", "r-1"))

    assert (await scene.get(fence.job_id)).status == "running"
    assert (await scene.story_of(fence.job_id)).count("job.running") == 1


async def test_news_that_are_stale_are_dropped_without_a_word(scene: Scene) -> None:
    fence = await scene.running()

    await record_surely(scene.pool, fence, Run("t-2", "r-2"))

    run = await scene.run_of(fence.job_id)
    assert run is not None
    assert run["upstream_task_id"] == "task-1"


async def test_news_that_no_table_takes_are_flagged_and_hold_up_nobody(scene: Scene) -> None:
    fence = await scene.running()
    odd = Collect(
        TaskFacts("SUCCEEDED", None, None, None, 1),
        (UpstreamPicture(0, "https://r/a\0b", None, None, None),),
    )

    await record_surely(scene.pool, fence, odd)

    job = await scene.get(fence.job_id)
    assert job.status == "running"
    assert job.attention is not None
    assert job.attention["code"] == "answer_unwritable"
    await record_surely(scene.pool, fence, ended_with("https://r/a"))
    assert (await scene.get(fence.job_id)).status == "finalizing"
