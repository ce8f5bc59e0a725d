"""Who gets in, how often, and what is refused at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from app.emulator import EmulatorOptions, running_emulator
from tests.emulator.client import (
    CREATE,
    QUICK,
    SLOW,
    Desk,
    HandClock,
    make_body,
    open_desk,
    open_http,
)

_REAL_LIMITS = replace(SLOW, submits_per_second=5, calls_per_second=20)


@pytest_asyncio.fixture(scope="module")
async def frozen_base_url() -> AsyncIterator[str]:
    """An emulator with the real limits, in which no second ever passes."""
    async with running_emulator(_REAL_LIMITS, clock=HandClock()) as base_url:
        yield base_url


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        (None, "No API-key provided."),
        ("Bearer", "No API-key provided."),
        ("Bearer tk-1", "Invalid API-key provided."),
    ],
)
async def test_bad_key_is_401(desk: Desk, authorization: str | None, message: str) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    async with httpx.AsyncClient(base_url=desk.base_url, headers=headers) as http:
        answer = await http.get("/tasks/1")

    assert answer.status_code == 401
    assert answer.json()["code"] == "InvalidApiKey"
    assert answer.json()["message"] == message
    assert "content-type" not in answer.headers


async def test_only_listed_keys_get_in_when_keys_are_listed() -> None:
    async with open_desk(replace(QUICK, keys={"sk-other": "one"})) as desk:
        answer = await desk.http.get("/tasks")

        assert answer.status_code == 401


async def test_missing_async_header_is_403(desk: Desk) -> None:
    answer = await desk.http.post(CREATE, json=make_body())

    assert (answer.status_code, answer.json()["code"]) == (403, "AccessDenied")
    assert answer.json()["message"] == "current user api does not support synchronous calls"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "Required body invalid, please check the request body format."),
        (b"[]", "Required body invalid, please check the request body format."),
        (b"{}", "Model not exist."),
        (json.dumps(make_body(model="wan9")).encode(), "Model not exist."),
    ],
)
async def test_unreadable_body_or_model_is_400(desk: Desk, content: bytes, message: str) -> None:
    headers = {"X-DashScope-Async": "enable"}
    answer = await desk.http.post(CREATE, content=content, headers=headers)

    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert await desk.count_tasks() == 0


async def test_wrong_method_is_400_in_the_upstreams_words(desk: Desk) -> None:
    answer = await desk.http.get(CREATE)

    assert answer.status_code == 400
    assert answer.json()["message"] == "Request method 'GET' is not supported."


async def test_sixth_submit_within_a_second_is_throttled() -> None:
    clock = HandClock()
    async with open_desk(_REAL_LIMITS, clock=clock) as desk:
        statuses = [(await desk.post(make_body())).status_code for _ in range(6)]
        clock.advance(0.999)
        still = await desk.post(make_body())
        clock.advance(0.001)
        again = await desk.post(make_body())

        assert statuses == [200] * 5 + [429]
        assert still.json()["code"] == "Throttling.RateQuota"
        assert again.status_code == 200
        stats = await desk.control("stats")
        assert stats["submits_per_second_peak"][0]["count"] == 7
        assert stats["calls"]["refused"] == {"create": {"Throttling.RateQuota": 2}}


async def test_submit_limit_is_per_account_over_all_its_keys() -> None:
    options = replace(_REAL_LIMITS, keys={"sk-desk": "a", "sk-two": "a", "sk-three": "b"})
    async with open_desk(options, clock=HandClock()) as desk:
        for _ in range(5):
            await desk.create()

        async with (
            open_http(desk.base_url, "sk-two") as same,
            open_http(desk.base_url, "sk-three") as other,
        ):
            refused = await Desk(desk.base_url, same).post(make_body())
            admitted = await Desk(desk.base_url, other).post(make_body())

        assert (refused.status_code, admitted.status_code) == (429, 200)


@pytest.mark.parametrize(
    ("method", "path", "usual"),
    [("GET", "/tasks/1", 200), ("GET", "/tasks", 200), ("POST", "/tasks/1/cancel", 400)],
)
async def test_twenty_first_call_within_a_second_is_throttled(
    frozen_base_url: str, method: str, path: str, usual: int
) -> None:
    async with open_http(frozen_base_url, f"sk-{uuid4()}") as http:
        statuses = [(await http.request(method, path)).status_code for _ in range(21)]

    assert statuses == [usual] * 20 + [429]


async def test_upload_policies_have_a_limit_of_their_own() -> None:
    async with open_desk(replace(QUICK, policies_per_second=2), clock=HandClock()) as desk:
        path = "/uploads?action=getPolicy&model=wan2.5-i2i-preview"
        answers = await asyncio.gather(*(desk.http.get(path) for _ in range(3)))

        assert sorted(answer.status_code for answer in answers) == [200, 200, 429]


def test_defaults_are_the_upstreams() -> None:
    options = EmulatorOptions()

    assert (options.running_slots, options.submits_per_second) == (5, 5)
    assert (options.calls_per_second, options.policies_per_second) == (20, 100)
    assert options.running_seconds == (30, 75)
    assert (options.ttl_seconds, options.hard_timeout_seconds) == (86_400, 10_800)
