"""Answers that come and are not the truth: lists that hide tasks, fields that cannot be read."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from app.dashscope.payloads import to_list_time
from tests.emulator.client import QUICK, SLOW, Desk, HandClock, make_body, open_desk

TASKS = 12


@pytest_asyncio.fixture(scope="module")
async def crowd() -> AsyncIterator[Desk]:
    """A dozen tasks that go on."""
    async with open_desk(replace(SLOW, seed=5)) as desk:
        for _ in range(TASKS):
            await desk.create()
        yield desk
        await desk.arm()


async def read_list(desk: Desk, query: str = "") -> dict[str, Any]:
    answer = await desk.http.get(f"/tasks?page_size=50&{query}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_an_empty_list_says_that_there_is_nothing(crowd: Desk) -> None:
    await crowd.arm({"on": "list", "do": "empty"})

    body = await read_list(crowd)

    assert (body["total"], body["total_page"], body["data"]) == (0, 0, [])


async def test_a_refused_list_is_the_upstreams_own_refusal(crowd: Desk) -> None:
    await crowd.arm({"on": "list", "do": "status", "status": 403, "code": "AccessDenied"})

    answer = await crowd.http.get("/tasks")

    assert (answer.status_code, answer.json()["code"]) == (403, "AccessDenied")


async def test_a_list_that_omits_tasks_omits_others_each_time_and_counts_none(crowd: Desk) -> None:
    await crowd.arm({"on": "list", "do": "omit", "share": 0.5})

    bodies = [await read_list(crowd) for _ in range(12)]

    shown = [frozenset(row["task_id"] for row in body["data"]) for body in bodies]
    assert len(set(shown)) > 1
    assert all(body["total"] == len(body["data"]) for body in bodies)
    assert 0 < sum(map(len, shown)) < 12 * TASKS
    assert len(frozenset.union(*shown)) == TASKS


async def test_an_unreadable_list_has_rows_without_a_time_null_rows_and_no_rows(
    crowd: Desk,
) -> None:
    await crowd.arm({"on": "list", "do": "unreadable", "share": 0.5})

    bodies = [await read_list(crowd) for _ in range(20)]

    rows = [row for body in bodies for row in body["data"] or ()]
    assert any(body["data"] is None for body in bodies)
    assert any(row is None for row in rows)
    assert any(row is not None and "gmt_create" not in row for row in rows)
    assert any(row is not None and "gmt_create" in row for row in rows)
    assert {body["total"] for body in bodies} == {TASKS}


async def test_a_filter_read_in_the_wrong_zone_looks_eight_hours_later() -> None:
    clock = HandClock()
    async with open_desk(SLOW, clock=clock) as desk:
        await desk.create()
        around = (to_list_time(clock.now + timedelta(minutes=step)) for step in (-1, 1))
        query = "start_time={}&end_time={}".format(*around)

        right = (await read_list(desk, query))["total"]
        await desk.arm({"on": "list", "do": "wrong_zone"})
        wrong = (await read_list(desk, query))["total"]
        clock.advance(8 * 3600)
        await desk.create()
        late = (await read_list(desk, query))["total"]

        assert (right, wrong, late) == (1, 0, 1)
        assert (await read_list(desk))["total"] == 2


async def test_a_lie_ends_when_it_was_told_to() -> None:
    clock = HandClock()
    async with open_desk(SLOW, clock=clock) as desk:
        await desk.create()
        await desk.arm({"on": "list", "do": "empty", "from_seconds": 5, "until_seconds": 60})

        totals = []
        for step_seconds in (0, 5, 54, 1):
            clock.advance(step_seconds)
            totals.append((await read_list(desk))["total"])

        assert totals == [1, 0, 0, 1]


async def test_a_lie_may_be_told_to_one_account_only() -> None:
    options = replace(SLOW, keys={"sk-desk": "east", "sk-other": "west"})
    async with open_desk(options) as desk:
        await desk.create()
        await desk.arm({"on": "list", "do": "empty", "match": {"account": "west"}})
        spared = (await read_list(desk))["total"]
        await desk.arm({"on": "list", "do": "empty", "match": {"account": "east"}})
        deceived = (await read_list(desk))["total"]

        assert (spared, deceived) == (1, 0)


@pytest.mark.parametrize(
    ("rule", "is_lasting"),
    [
        ({"on": "task", "do": "unreadable"}, True),
        ({"on": "query", "do": "unreadable", "times": 1}, False),
    ],
)
async def test_times_that_cannot_be_read_hide_no_result(
    desk: Desk, rule: dict[str, Any], is_lasting: bool
) -> None:
    await desk.arm(*([rule] if rule["on"] == "task" else []))
    task_id = await desk.create()
    await desk.wait_for(task_id, "SUCCEEDED")
    await desk.arm(*([rule] if rule["on"] == "query" else []))

    first, second = [await desk.query(task_id) for _ in range(2)]

    blurred = {"submit_time": "", "scheduled_time": "", "end_time": "-", "task_metrics": ""}
    assert blurred.items() <= first["output"].items()
    assert (second["output"]["scheduled_time"] == "") is is_lasting
    assert first["output"]["results"][0]["url"]
    assert first["usage"] == {"image_count": 1}


async def test_without_a_lie_every_field_can_be_read(desk: Desk) -> None:
    answer = await desk.run()

    assert all(answer["output"][name] for name in ("submit_time", "scheduled_time", "end_time"))
    assert answer["output"]["task_metrics"]["TOTAL"] == 1


@pytest.mark.parametrize("skew_seconds", [300.0, -300.0])
async def test_a_filter_is_held_against_the_upstreams_own_clock(skew_seconds: float) -> None:
    clock = HandClock()
    async with open_desk(replace(QUICK, clock_skew_seconds=skew_seconds), clock=clock) as desk:
        await desk.create(make_body())

        totals = []
        for offset_seconds in (0.0, skew_seconds):
            middle = clock.now + timedelta(seconds=offset_seconds)
            around = (to_list_time(middle + timedelta(minutes=step)) for step in (-2, 2))
            query = "start_time={}&end_time={}".format(*around)
            totals.append((await read_list(desk, query))["total"])

        assert totals == [0, 1]
