"""Completion events, as a receiver meets them."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.dashscope.eventbridge import (
    CERTIFICATE_HEADER,
    Push,
    check_claim,
    find_finished_task,
    read_certificate,
    verify_push,
)
from app.emulator.options import EventTarget
from app.kit.clock import utc_now
from tests.emulator.client import QUICK, Desk, make_body, open_desk
from tests.media.wire import Wire, always, reply, serve
from tests.waiting import wait_until

TOKEN = "a-token-of-the-target"


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Wire]:
    async with serve(always(reply("200 OK"))) as wire:
        yield wire


@pytest_asyncio.fixture
async def telling_desk() -> AsyncIterator[Desk]:
    """A caller of an emulator of its own, whose events bother nobody else."""
    async with open_desk() as desk:
        yield desk


async def test_ended_task_is_told_in_the_documented_shape(
    telling_desk: Desk, receiver: Wire
) -> None:
    await _aim(telling_desk, receiver)

    task_id = (await telling_desk.run())["output"]["task_id"]
    [event] = await _wait_for_events(receiver, 1)

    [row] = (await telling_desk.http.get("/tasks")).json()["data"]
    data = event.pop("data")
    assert (event["source"], event["type"]) == (
        "acs.dashscope",
        "dashscope:System:AsyncTaskFinish",
    )
    assert (event["specversion"], event["aliyuneventbusname"]) == ("1.0", "default")
    assert (data["task_id"], data["task_status"]) == (task_id, "SUCCEEDED")
    assert data["contain_result"] is False
    for name in ("request_id", "api_key_id", "user_api_unique_key", "region"):
        assert data[name] == row[name]
    assert event["aliyunaccountid"] == row["caller_uid"]


async def test_event_is_signed_by_the_certificate_it_names(
    telling_desk: Desk, receiver: Wire
) -> None:
    url = await _aim(telling_desk, receiver)

    task_id = (await telling_desk.run())["output"]["task_id"]
    await _wait_for_events(receiver, 1)

    [request] = receiver.requests
    headers = {name.lower(): value for name, value in request.headers.items()}
    pem = (await telling_desk.http.get(headers[CERTIFICATE_HEADER])).content
    check_claim(headers, token=TOKEN, now=utc_now())
    verify_push(Push(url, headers, request.body), read_certificate(pem))
    assert find_finished_task(request.body) == task_id


async def test_copies_of_an_event_are_equal(telling_desk: Desk, receiver: Wire) -> None:
    await _aim(telling_desk, receiver, copies=3)

    await telling_desk.run()
    await telling_desk.wait_until_told(3)

    assert len({request.body for request in receiver.requests}) == 1


async def test_late_event_comes_after_the_task_is_known_to_have_ended(
    telling_desk: Desk, receiver: Wire
) -> None:
    await _aim(telling_desk, receiver, delay_seconds=0.3)

    began = time.monotonic()
    await telling_desk.run()
    early = list(receiver.requests)
    await _wait_for_events(receiver, 1)

    assert early == []
    assert time.monotonic() - began >= 0.3


async def test_failed_task_is_told_too(telling_desk: Desk, receiver: Wire) -> None:
    await _aim(telling_desk, receiver)

    await telling_desk.run(make_body(n=9))
    [event] = await _wait_for_events(receiver, 1)

    assert event["data"]["task_status"] == "FAILED"


async def test_cancelled_task_is_not_told(receiver: Wire) -> None:
    async with open_desk(replace(QUICK, running_slots=1, running_seconds=(0.3, 0.3))) as desk:
        await _aim(desk, receiver)
        await desk.wait_for(await desk.create(), "RUNNING")
        cancelled, behind = await desk.create(), await desk.create()

        answer = await desk.http.post(f"/tasks/{cancelled}/cancel")
        await desk.wait_for(behind)
        events = await _wait_for_events(receiver, 2)

        assert answer.status_code == 200
        assert cancelled not in {event["data"]["task_id"] for event in events}


async def test_nothing_is_told_once_there_is_no_target(telling_desk: Desk, receiver: Wire) -> None:
    await _aim(telling_desk, receiver)
    await telling_desk.http.put(f"{telling_desk.root}/_emulator/events", content=b"null")

    await telling_desk.run()

    assert (await telling_desk.control("events")) == {"target": None, "pushes": {}}
    assert receiver.requests == []


async def test_receiver_that_is_away_harms_no_task(telling_desk: Desk) -> None:
    async with serve(always(b"")) as gone:
        await _aim(telling_desk, gone)

    answer = await telling_desk.run()

    assert answer["output"]["task_status"] == "SUCCEEDED"
    await telling_desk.wait_until_told(1, "ConnectError")


async def test_target_may_be_given_at_the_start(receiver: Wire) -> None:
    target = EventTarget(url=f"http://{receiver.host}/hook", token=TOKEN)
    options = replace(QUICK, events=target, events_root="http://stand-in.example")
    async with open_desk(options) as desk:
        await desk.run()
        await _wait_for_events(receiver, 1)

    headers = {name.lower(): value for name, value in receiver.requests[0].headers.items()}
    expected = "http://stand-in.example/_emulator/certificate.pem"
    assert headers[CERTIFICATE_HEADER] == expected
    assert TOKEN not in repr(options)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ({"url": "gate.example"}, "url: String should match pattern"),
        ({"url": "http://gate.example", "copies": 0}, "copies: Input should be greater"),
        ({"url": "http://gate.example", "speed": 1}, "speed: Extra inputs are not permitted"),
    ],
)
async def test_unusable_target_is_refused_by_name(
    telling_desk: Desk, target: dict[str, Any], problem: str
) -> None:
    answer = await _put(telling_desk, target)

    assert answer.status_code == 422
    assert answer.json()["problems"][0].startswith(problem)
    assert (await telling_desk.control("events"))["target"] is None


async def _aim(desk: Desk, receiver: Wire, **settings: Any) -> str:
    url = f"http://{receiver.host}/hooks/eventbridge"
    answer = await _put(desk, {"url": url, "token": TOKEN, **settings})
    assert answer.status_code == 200, answer.text
    assert TOKEN not in answer.text
    return url


async def _put(desk: Desk, target: dict[str, Any]) -> httpx.Response:
    return await desk.http.put(f"{desk.root}/_emulator/events", json=target)


async def _wait_for_events(receiver: Wire, count: int) -> list[dict[str, Any]]:
    await wait_until(lambda: len(receiver.requests) == count)
    return [json.loads(request.body) for request in receiver.requests]
