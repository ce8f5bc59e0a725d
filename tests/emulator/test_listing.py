"""The list call: metadata of an account's tasks, newest first."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from app.dashscope.payloads import TaskStatus
from app.emulator.accounts import Caller
from app.emulator.checks import MODELS, read_order
from app.emulator.listing import show_as_of
from app.emulator.tasks import Task
from tests.emulator.client import (
    MODEL,
    QUICK,
    SLOW,
    Desk,
    HandClock,
    make_body,
    open_desk,
    open_http,
)


@pytest_asyncio.fixture(scope="module")
async def busy_desk() -> AsyncIterator[Desk]:
    """Two succeeded tasks and a failed one, a minute apart, the first at 12:00 in UTC+8."""
    clock = HandClock()
    async with open_desk(clock=clock) as desk:
        for n in (1, 1, 9):
            await desk.run(make_body(n=n))
            clock.advance(60)
        yield desk


async def test_rows_hold_metadata_only_and_newest_comes_first() -> None:
    clock = HandClock()
    async with open_desk(clock=clock) as desk:
        first = (await desk.run())["output"]["task_id"]
        clock.advance(60)
        created = (await desk.post(make_body())).json()
        await desk.wait_for(created["output"]["task_id"])

        body = (await desk.http.get("/tasks?page_no=1&page_size=10")).json()

        assert list(body) == ["total", "data", "total_page", "page_no", "request_id", "page_size"]
        newest, oldest = body["data"]
        assert oldest["task_id"] == first
        assert newest["request_id"] == created["request_id"]
        assert newest["gmt_create"] == newest["end_time"] == clock.now.timestamp() * 1000
        assert list(newest) == [
            "api_key_id",
            "caller_parent_id",
            "caller_uid",
            "end_time",
            "gmt_create",
            "model_name",
            "region",
            "request_id",
            "start_time",
            "status",
            "task_id",
            "user_api_unique_key",
        ]
        unique_key = f"apikey:v1:aigc:image2image:image-synthesis:{MODEL}"
        assert newest["user_api_unique_key"] == unique_key


async def test_unfinished_rows_have_no_end() -> None:
    async with open_desk(SLOW) as desk:
        await desk.wait_for(await desk.create(), "RUNNING")

        row = (await desk.http.get("/tasks/")).json()["data"][0]

        assert "start_time" in row
        assert "end_time" not in row


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 3),
        ("status=SUCCEEDED", 2),
        ("status=FAILED", 1),
        ("model_name=wan2.5-i2i-preview", 3),
        ("model_name=wan2.6-image", 0),
        ("api_key_id=1", 0),
        ("start_time=20261123120030&end_time=20261123120130", 1),
        ("start_time=20261123120130", 1),
        ("end_time=20261123120030", 1),
        ("start_time=20261120120000", 0),
        ("page_size=2", 2),
        ("page_size=2&page_no=2", 1),
        ("page_size=2&page_no=3", 0),
    ],
)
async def test_filters_choose_rows(busy_desk: Desk, query: str, count: int) -> None:
    body = (await busy_desk.http.get(f"/tasks?{query}")).json()

    assert len(body["data"]) == count
    if "page_size" in query:
        assert (body["total"], body["total_page"]) == (3, 2)


@pytest.mark.parametrize(
    "query",
    [
        "start_time=yesterday",
        "page_no=0",
        "page_size=x",
        "start_time=20261121000000&end_time=20261123000000",
    ],
)
async def test_unreadable_filters_and_long_windows_are_400(busy_desk: Desk, query: str) -> None:
    answer = await busy_desk.http.get(f"/tasks?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")


async def test_tasks_older_than_a_day_are_not_listed() -> None:
    clock = HandClock()
    async with open_desk(SLOW, clock=clock) as desk:
        await desk.create()
        clock.advance(86_401)

        assert (await desk.http.get("/tasks")).json()["total"] == 0


async def test_stale_list_shows_the_world_as_it_was() -> None:
    clock = HandClock()
    async with open_desk(replace(QUICK, running_slots=1), clock=clock) as desk:
        await desk.arm({"on": "list", "do": "stale", "seconds": 30})
        first = await desk.create()
        await desk.wait_for(first)
        clock.advance(29)
        second = (await desk.run())["output"]["task_id"]

        views = []
        for step_seconds in (0, 1, 28, 1):
            clock.advance(step_seconds)
            rows = (await desk.http.get("/tasks")).json()["data"]
            views.append([row["task_id"] for row in rows])

        assert views == [[], [first], [first], [second, first]]


@pytest.mark.parametrize(
    ("after_seconds", "shown"),
    [(-1, []), (0, ["PENDING"]), (9, ["PENDING"]), (10, ["RUNNING"]), (70, ["SUCCEEDED"])],
)
def test_past_view_takes_back_what_had_not_happened(
    after_seconds: float, shown: list[str]
) -> None:
    made_at = HandClock().now
    task = _make_ended_task(made_at, started_after_seconds=10, ended_after_seconds=70)

    tasks = list(show_as_of([task], made_at + timedelta(seconds=after_seconds)))

    assert [task.status for task in tasks] == shown
    for task in tasks:
        assert (task.started_at is None) == (task.status == "PENDING")
        assert (task.ended_at is None) == (task.status != "SUCCEEDED")


async def test_keys_of_one_account_share_the_list_and_are_told_apart_in_it() -> None:
    options = replace(SLOW, keys={"sk-desk": "one", "sk-sister": "one", "sk-other": "two"})
    async with open_desk(options) as desk:
        await desk.create()
        async with (
            open_http(desk.base_url, "sk-sister") as sister,
            open_http(desk.base_url, "sk-other") as stranger,
        ):
            await Desk(desk.base_url, sister).create()
            rows = (await sister.get("/tasks")).json()["data"]
            again = (await desk.http.get("/tasks")).json()["data"]
            hers = f"/tasks?api_key_id={rows[0]['api_key_id']}"
            chosen = (await desk.http.get(hers)).json()["data"]
            foreign = (await stranger.get("/tasks")).json()["data"]

        bill = await desk.control("bill")
        ids = [row["api_key_id"] for row in rows]
        assert (rows, foreign) == (again, [])
        assert ids[0] != ids[1]
        assert chosen == rows[:1]
        assert [task["api_key_id"] for task in bill["tasks"]] == ids[::-1]
        assert len({row["caller_uid"] for row in rows}) == 1


def _make_ended_task(
    made_at: datetime, *, started_after_seconds: float, ended_after_seconds: float
) -> Task:
    return Task(
        task_id="t",
        request_id="r",
        caller=Caller("one", "sk-desk"),
        spec=MODELS[MODEL],
        order=read_order(make_body()),
        field_failure=None,
        faults=(),
        submitted_at=made_at,
        seed=1,
        status=TaskStatus.SUCCEEDED,
        started_at=made_at + timedelta(seconds=started_after_seconds),
        ended_at=made_at + timedelta(seconds=ended_after_seconds),
    )
