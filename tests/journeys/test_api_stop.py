"""A stop of the API while clients wait for their jobs to end."""

import asyncio
import time

from app.emulator import EmulatorOptions
from tests.gateway import Gateway, running_gateway
from tests.waiting import wait_until

WAIT_SECONDS = 30
"""What the client would wait; the stop must answer it long before."""


async def test_a_client_that_waits_is_answered_when_the_api_stops(database: str) -> None:
    slow = EmulatorOptions(running_seconds=(60.0, 60.0), create_latency_seconds=(0.0, 0.0))
    async with running_gateway(database, emulator=slow) as gateway:
        call = asyncio.create_task(
            gateway.http.post(
                f"{gateway.url}/v1/jobs",
                json={"prompt": "wait", "images": ["https://img.example/a.png"]},
                headers={
                    "Authorization": f"Bearer {gateway.key}",
                    "Prefer": f"wait={WAIT_SECONDS}",
                },
                timeout=WAIT_SECONDS,
            )
        )
        await wait_until(lambda: _has_task(gateway))
        began_at = time.monotonic()

        await gateway.stop("api")
        answer = await call

    assert answer.status_code == 202
    assert answer.json()["status"] in {"submitting", "running"}
    assert time.monotonic() - began_at < WAIT_SECONDS / 3


async def _has_task(gateway: Gateway) -> bool:
    return bool((await gateway.bill())["calls"].get("create"))
