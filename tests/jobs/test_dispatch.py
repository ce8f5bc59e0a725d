"""One lane at work over a real emulator: what goes out, what waits, what holds up nobody."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from app.accounts.directory import UpstreamAccount, UpstreamLane
from app.dashscope import client
from app.dashscope.client import DashScope
from app.jobs.core.state import Rules
from app.jobs.engine import dispatch
from app.jobs.engine.claim import LaneTurn, claim_submission
from app.jobs.engine.dispatch import LaneDesk, Nudges, work_lane
from app.jobs.engine.judge import Judge
from app.jobs.events import ACCEPTED, QUEUE_CHANGED
from app.jobs.lifecycle import Run
from app.kit.ports import find_free_port
from app.kit.postgres.database import Connection
from app.media.store import PictureMissing, StoreUnavailable
from tests.dashscope.upstreams import TASK, calling
from tests.emulator.client import QUICK, Desk, make_picture, open_desk
from tests.factories import MODEL
from tests.jobs.scene import Scene, ended_with
from tests.jobs.test_claim import add_lane, free_lane
from tests.media.images import make_noise
from tests.media.wire import Request, reply, serve

CALLER = "sk-desk"
SLOW_SECONDS = 1.0
RULES = Rules(settle=timedelta(seconds=70))
THROTTLED = "Throttling.RateQuota"


@dataclass
class Lane:
    """A lane whose inputs come from a dictionary, or go wrong as it says."""

    scene: Scene
    upstream: Desk
    api: DashScope
    inputs: dict[str, bytes | Exception] = field(default_factory=dict)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    nudges: Nudges = field(default_factory=lambda: Nudges(asyncio.Event(), asyncio.Event()))
    prepare_seconds: float = 5.0
    slots: int = 5

    async def work(self, times: int = 1) -> None:
        for _ in range(times):
            await work_lane(self.desk, [MODEL], stop=self.stop, nudges=self.nudges)

    @property
    def desk(self) -> LaneDesk:
        lane = UpstreamLane(self.scene.lane_id, SecretStr(CALLER))
        account = UpstreamAccount(
            id=self.scene.account_id,
            name="default",
            region="cn-beijing",
            base_url=self.upstream.base_url,
            max_running=self.slots,
            submit_rate=1_000.0,
            query_rate=1_000.0,
            weight=1.0,
            state="active",
            lanes=(lane,),
        )
        return LaneDesk(
            judge=Judge(self.scene.pool, RULES),
            account=account,
            lane=lane,
            upstream=self.api,
            read_input=self._read,
            prepare_seconds=self.prepare_seconds,
            send_seconds=5.0,
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


async def test_an_input_on_its_way_up_a_slow_line_has_time_by_its_size(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than all the rest may take; what goes up so is not in the create's own body."""
    lane.prepare_seconds = SLOW_SECONDS / 2
    monkeypatch.setattr(client, "UPLOAD_TIMEOUT_SECONDS", SLOW_SECONDS / 2)
    lane.inputs["a"] = make_noise("BMP", 1_700, 1_600)
    job_id = await lane.scene.accept(images=[{**stored("a"), "content_type": "image/bmp"}])

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.target.startswith("/uploads"):
            named = ("policy", "signature", "upload_dir", "oss_access_key_id")
            policy = dict.fromkeys(named, "x") | {"upload_host": f"http://{wire.host}/form"}
            writer.write(reply("200 OK", json.dumps({"data": policy}).encode()))
        elif request.target == "/form":
            await asyncio.sleep(SLOW_SECONDS)
            writer.write(reply("200 OK"))
        else:
            writer.write(reply("200 OK", TASK))

    async with serve(answer) as wire, calling(f"http://{wire.host}") as api:
        lane.api = replace(api, slowest_bytes_per_second=1e6)
        await lane.work()

    assert (await lane.scene.get(job_id)).status == "running"


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
    lane.prepare_seconds = 0.05

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
    async with calling(f"http://127.0.0.1:{find_free_port('127.0.0.1')}") as lane.api:
        await lane.work()

    run = await lane.scene.run_of(job_id)
    assert run is not None
    assert run["status"] == "queued"
    assert await lane.scene.pool.fetchval("select pause_code from account_paces") == "not_sent"


async def test_a_waiting_lane_goes_on_at_a_nudge_and_at_a_stop(lane: Lane) -> None:
    for event in (lane.nudges.freed, lane.nudges.accepted, lane.stop):
        waiting = asyncio.create_task(lane.work())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        event.set()
        async with asyncio.timeout(0.5):
            await waiting


@pytest.mark.parametrize(
    "hold",
    [
        "update account_paces set paused_until = now() + interval '9 s', pause_code = 'x'",
        "update account_paces set next_submit_at = now() + interval '9 s'",
        None,
    ],
    ids=["paused", "paced", "full"],
)
async def test_a_lane_that_could_take_nothing_sleeps_through_acceptances(
    lane: Lane, hold: str | None
) -> None:
    lane.slots = 1
    if hold is None:
        await lane.scene.running()
    else:
        await lane.scene.pool.execute(hold)
    waiting = asyncio.create_task(lane.work())
    await asyncio.sleep(0.1)

    lane.nudges.accepted.set()
    await asyncio.sleep(0.1)
    assert not waiting.done()

    lane.nudges.freed.set()
    async with asyncio.timeout(0.5):
        await waiting


async def test_acceptances_and_freed_slots_are_told_apart(scene: Scene) -> None:
    """A full lane wakes at the second, and at the end of a job only if that held a slot."""
    heard: list[object] = []

    def listen(*note: object) -> None:
        heard.append(note[-1])

    async def told() -> list[object]:
        await connection.fetchval("select 1")
        found = heard[:]
        heard.clear()
        return found

    async with scene.pool.acquire() as connection:
        await connection.add_listener(QUEUE_CHANGED, listen)
        await scene.accept()
        assert await told() == [ACCEPTED]
        fence = (await scene.claim()).fence
        await scene.decide(fence, Run("task-1", "r"))
        assert await told() == []
        await scene.decide(fence, ended_with("https://r/a"))
        assert await told() == [""]
        await scene.keep(fence, 0)
        await scene.finish(fence)
        assert await told() == []
        await connection.remove_listener(QUEUE_CHANGED, listen)


async def test_two_dispatchers_at_once_send_each_job_once(lane: Lane) -> None:
    lane.slots = 6
    job_ids = [await lane.scene.accept(prompt=f"job {number}") for number in range(6)]

    async def work_until_done() -> None:
        while await lane.scene.pool.fetchval(
            "select count(*) from job_runs where status in ('queued', 'submitting')"
        ):
            await lane.work()

    await asyncio.gather(*(work_until_done() for _ in range(3)))

    assert sorted(str(line["prompt"]) for line in await lane.lines()) == [
        f"job {number}" for number in range(6)
    ]
    for job_id in job_ids:
        assert len(await lane.scene.attempts_of(job_id)) == 1


async def test_a_lane_sends_nothing_while_its_last_create_is_in_doubt(lane: Lane) -> None:
    await lane.upstream.arm({"on": "create", "do": "reset", "when": "after", "times": 1})
    doubtful = await lane.scene.accept()
    waiting = await lane.scene.accept()

    await lane.work(times=2)

    assert (await lane.scene.get(doubtful)).status == "submitting"
    assert (await lane.scene.get(waiting)).status == "queued"
    assert len(await lane.lines()) == 1
    (attempt,) = await lane.scene.attempts_of(doubtful)
    assert attempt["outcome"] == "unknown"


@pytest.mark.parametrize(
    ("fault", "status", "pause_code"),
    [
        ({"do": "moderation"}, "failed", None),
        ({"do": "status", "status": 429, "retry_after_seconds": 9}, "queued", THROTTLED),
        ({"do": "arrearage"}, "queued", "Arrearage"),
    ],
    ids=["the request is at fault", "too many", "the account is at fault"],
)
async def test_a_refusal_is_the_jobs_end_or_the_accounts_news(
    lane: Lane, fault: dict[str, object], status: str, pause_code: str | None
) -> None:
    await lane.upstream.arm({"on": "create"} | fault)
    job_id = await lane.scene.accept()

    await lane.work()

    assert (await lane.scene.get(job_id)).status == status
    assert await lane.scene.pool.fetchval("select pause_code from account_paces") == pause_code
    assert (await lane.scene.attempts_of(job_id))[0]["outcome"] == "refused"
    await lane.scene.expect_books_in_order()


async def test_keys_that_the_list_has_not_named_yet_send_one_at_a_time(scene: Scene) -> None:
    other_lane = await add_lane(scene, key_id=None)
    for _ in range(2):
        await scene.accept()
    first = await scene.claim()

    meanwhile, _ = await scene.try_claim(lane_id=other_lane)
    await free_lane(scene, first)
    afterwards, _ = await scene.try_claim(lane_id=other_lane)

    assert meanwhile is None
    assert afterwards is not None
