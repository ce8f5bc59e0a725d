"""What the gateway promises SDK users beyond the upstream: late questions, lost answers."""

import asyncio
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import httpx

from tests.clients.sdk import NEWEST, Sdk
from tests.dashscope_api.holds import holding_acceptance
from tests.dashscope_api.relay import running_relay
from tests.emulator.client import QUICK, SMALL_PICTURE
from tests.gateway import Gateway, running_gateway

_FETCH = "show(ImageSynthesis.fetch(arguments[0]))"


async def test_finished_job_answers_after_the_upstream_has_forgotten_it(
    database: str, tmp_path: Path
) -> None:
    async with running_gateway(database, emulator=replace(QUICK, ttl_seconds=1)) as gateway:
        sdk = Sdk(NEWEST, gateway.base_url, gateway.key, tmp_path)
        (ended,) = await sdk.run(
            "show(ImageSynthesis.call(images=arguments, **order))", SMALL_PICTURE
        )
        before = await fetch_content(ended["output"]["results"][0]["url"])
        await wait_until_forgotten(gateway)

        (asked_again,) = await sdk.run(_FETCH, ended["output"]["task_id"])
        after = await fetch_content(asked_again["output"]["results"][0]["url"])

    assert asked_again["output"]["task_status"] == "SUCCEEDED"
    assert asked_again["usage"] == {"image_count": 1}
    assert sha256(before).digest() == sha256(after).digest()


async def test_create_that_the_sdk_sends_again_by_itself_is_one_job(
    idle_gateway: Gateway, tmp_path: Path
) -> None:
    seat = await idle_gateway.make_seat()
    address = httpx.URL(idle_gateway.url)
    assert address.port is not None
    async with (
        running_relay(address.host, address.port) as cable,
        holding_acceptance(idle_gateway.database_url) as hold,
    ):
        sdk = Sdk(NEWEST, f"http://127.0.0.1:{cable.port}/api/v1", seat.key, tmp_path)
        script = "show(ImageSynthesis.async_call(images=arguments, **order))"
        call = asyncio.create_task(sdk.run(script, SMALL_PICTURE))
        await hold.wait_for_creates()
        cable.drop()
        await cable.wait_for_connections(2)
        await hold.release()
        (created,) = await call

    (listed,) = await replace(sdk, base_url=idle_gateway.base_url).run(
        "show(ImageSynthesis.list())"
    )
    assert [row["task_id"] for row in listed["output"]["data"]] == [created["output"]["task_id"]]


async def wait_until_forgotten(gateway: Gateway) -> None:
    """Until the upstream knows none of the tasks any more that it has billed."""
    headers = {"Authorization": "Bearer sk-0123456789abcdef"}
    lines = (await gateway.bill())["tasks"]
    deadline = time.monotonic() + 10
    for line in lines:
        address = f"{gateway.upstream_url}/tasks/{line['task_id']}"
        while True:
            answer = (await gateway.http.get(address, headers=headers)).json()
            if answer["output"]["task_status"] == "UNKNOWN":
                break
            assert time.monotonic() < deadline, answer
            await asyncio.sleep(0.05)
    assert lines


async def fetch_content(url: str) -> bytes:
    """The bytes behind a link, fetched without any key."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(url)
    assert answer.status_code == 200, answer.text
    return answer.content
