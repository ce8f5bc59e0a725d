"""Events of the upstream: what wakes the engine, and what leaves it alone."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from app.dashscope.eventbridge import SIGNATURE_HEADER, TOKEN_HEADER, Push, sign_push
from app.emulator import running_emulator
from app.hooks.eventbridge import EVENT_BYTES_LIMIT
from app.jobs.lifecycle import Fence
from tests.api.factories import Caller
from tests.api.server import make_settings, open_client, running_api
from tests.dashscope.events import make_event
from tests.emulator.client import QUICK, Desk, open_http
from tests.hooks.bridge import PATH, PUBLIC_URL, TOKEN, Bridge, Hints, make_millis


async def test_event_of_a_running_task_wakes_the_engine(
    bridge: Bridge, caller: Caller, hints: Hints
) -> None:
    task_id = await bridge.start_task(caller)

    answer = await bridge.push(make_event(task_id))

    assert (answer.status_code, answer.content) == (200, b"")
    assert await hints.collect() == [await bridge.account_of(task_id)]


async def test_event_only_hints_and_changes_nothing(
    bridge: Bridge, caller: Caller, hints: Hints
) -> None:
    task_id = await bridge.start_task(caller)
    before = await _read_run(bridge, task_id)

    await bridge.push(make_event(task_id))

    assert await hints.collect() == [await bridge.account_of(task_id)]
    assert await _read_run(bridge, task_id) == before


async def test_repeated_event_wakes_nobody_again(
    bridge: Bridge, caller: Caller, hints: Hints
) -> None:
    task_id = await bridge.start_task(caller)
    event = make_event(task_id)

    answers = [await bridge.push(event) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert await hints.collect() == [await bridge.account_of(task_id)]


async def test_event_of_a_job_that_has_ended_wakes_nobody(
    bridge: Bridge, caller: Caller, hints: Hints
) -> None:
    job_id = (await caller.create())["id"]
    fence: Fence = await bridge.backstage.collect_job(job_id)
    task_id = await bridge.backstage.pool.fetchval(
        "select upstream_task_id from attempts where job_id = $1", fence.job_id
    )

    answer = await bridge.push(make_event(task_id))

    assert answer.status_code == 200
    assert await hints.collect() == []


async def test_unknown_task_is_answered_like_a_known_one(bridge: Bridge, hints: Hints) -> None:
    answer = await bridge.push(make_event("no-task-of-ours"))

    assert (answer.status_code, answer.content) == (200, b"")
    assert await hints.collect() == []


async def test_event_about_other_things_wakes_nobody(
    bridge: Bridge, caller: Caller, hints: Hints
) -> None:
    task_id = await bridge.start_task(caller)

    answer = await bridge.push(make_event(task_id, source="acs.oss"))

    assert answer.status_code == 200
    assert await hints.collect() == []


async def test_event_that_came_too_early_is_heard_the_second_time(
    bridge: Bridge, caller: Caller, hints: Hints
) -> None:
    job_id = (await caller.create())["id"]
    event = make_event(f"task-{job_id}")

    await bridge.push(event)
    await bridge.backstage.start_job(job_id)
    await bridge.push(event)

    assert await hints.collect() == [await bridge.account_of(f"task-{job_id}")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"token": "another-token-of-mine"}, "the token is not the one"),
        ({"timestamp": make_millis(off_seconds=-600)}, "at most 60 seconds off"),
        ({"timestamp": make_millis(off_seconds=600)}, "at most 60 seconds off"),
        ({"url": "http://169.254.169.254/a.pem"}, "a place that is not known"),
        ({"address": "https://other.example/hooks/eventbridge"}, "does not fit a request to"),
    ],
)
async def test_push_that_is_not_meant_for_us_now_is_refused(
    bridge: Bridge, caller: Caller, hints: Hints, changes: dict[str, str], reason: str
) -> None:
    event = make_event(await bridge.start_task(caller))

    answer = await bridge.push(event, bridge.sign(event, **changes))

    assert (answer.status_code, answer.json()["code"]) == (403, "event_rejected")
    assert reason in answer.json()["detail"]
    assert TOKEN not in answer.text
    assert await hints.collect() == []


async def test_body_of_another_event_is_refused(
    bridge: Bridge, caller: Caller, hints: Hints
) -> None:
    task_id = await bridge.start_task(caller)

    answer = await bridge.push(make_event(task_id), bridge.sign(make_event("another")))

    assert answer.status_code == 403
    assert await hints.collect() == []


async def test_signature_of_another_key_is_refused(
    bridge: Bridge, caller: Caller, hints: Hints
) -> None:
    event = make_event(await bridge.start_task(caller))
    headers = bridge.sign(event)
    thief = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    headers[SIGNATURE_HEADER] = sign_push(Push(PUBLIC_URL + PATH, headers, event), thief)

    answer = await bridge.push(event, headers)

    assert answer.status_code == 403
    assert await hints.collect() == []


@pytest.mark.parametrize("headers", [{}, {TOKEN_HEADER: TOKEN}])
async def test_push_without_a_signature_is_refused(
    bridge: Bridge, caller: Caller, hints: Hints, headers: dict[str, str]
) -> None:
    event = make_event(await bridge.start_task(caller))

    answer = await bridge.push(event, headers)

    assert answer.status_code == 403
    assert await hints.collect() == []


@pytest.mark.parametrize("body", [b"", b"\x00\xff", b"[]", b"{" * 5_000, make_event("a\x00b")])
async def test_signed_garbage_is_refused_by_field(bridge: Bridge, body: bytes) -> None:
    answer = await bridge.push(body)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_event")


async def test_body_beyond_the_limit_is_413(bridge: Bridge) -> None:
    body = make_event("t-1", padding="x" * EVENT_BYTES_LIMIT)

    answer = await bridge.push(body)

    assert answer.status_code == 413
    assert f"may have {EVENT_BYTES_LIMIT} bytes" in answer.json()["detail"]


async def test_query_of_the_target_is_part_of_its_address(
    bridge: Bridge, caller: Caller, hints: Hints
) -> None:
    event = make_event(await bridge.start_task(caller))
    signed = bridge.sign(event, address=f"{PUBLIC_URL}{PATH}?target=one")

    right = await bridge.push(event, signed, path=f"{PATH}?target=one")
    wrong = await bridge.push(event, signed, path=f"{PATH}?target=two")

    assert (right.status_code, wrong.status_code) == (200, 403)
    assert len(await hints.collect()) == 1


async def test_missing_certificate_asks_for_another_push(bridge: Bridge, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9/certificate.pem"
    event = make_event("t-1")
    settings = _make_settings(bridge, tmp_path, eventbridge_certificate_url=nowhere)
    async with running_api(settings) as url, open_client(url) as http:
        headers = bridge.sign(event, address=url + PATH, url=nowhere)
        answer = await http.post(PATH, content=event, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (503, "certificate_missing")


async def test_there_is_no_such_door_without_a_token(bridge: Bridge, tmp_path: Path) -> None:
    settings = _make_settings(bridge, tmp_path, eventbridge_token=None)
    async with running_api(settings) as url, open_client(url) as http:
        answer = await http.post(PATH, content=make_event("t-1"))

    assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")


async def test_stand_ins_events_are_heard(
    bridge: Bridge, caller: Caller, hints: Hints, tmp_path: Path
) -> None:
    async with running_emulator(QUICK) as base_url, open_http(base_url) as upstream:
        desk = Desk(base_url, upstream)
        certificate_url = f"{desk.root}/_emulator/certificate.pem"
        settings = _make_settings(bridge, tmp_path, eventbridge_certificate_url=certificate_url)
        async with running_api(settings) as url:
            target = {"url": url + PATH, "token": TOKEN, "copies": 2, "delay_seconds": 1}
            await upstream.put(f"{desk.root}/_emulator/events", json=target)
            task_id = await desk.create()
            job_id = (await caller.create())["id"]
            await bridge.backstage.start_job(job_id)
            await bridge.backstage.pool.execute(
                "update job_runs set upstream_task_id = $1 where job_id::text = $2",
                task_id,
                job_id,
            )
            await desk.wait_until_told(2)

    assert await hints.collect() == [await bridge.account_of(task_id)]


async def _read_run(bridge: Bridge, task_id: str) -> dict[str, Any]:
    row = await bridge.backstage.pool.fetchrow(
        "select * from job_runs where upstream_task_id = $1", task_id
    )
    assert row is not None
    return dict(row)


def _make_settings(bridge: Bridge, folder: Path, **changes: Any) -> Any:
    values = {"eventbridge_token": TOKEN, **changes}
    return make_settings(bridge.database_url, folder, **values)
