"""The list call: metadata of an account's tasks, newest first."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.emulator.client import MODEL, SLOW, Desk, HandClock, make_body, open_desk


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
