"""Crash points: a process dies at each named place once, and the job ends as if it had not."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from app.kit.faultpoints import EXIT_CODE, FAULTPOINTS, VARIABLE
from tests.databases import cloned_database
from tests.emulator.client import QUICK, SMALL_PICTURE
from tests.gateway import Gateway, running_gateway
from tests.journeys.traveller import (
    Job,
    Traveller,
    attempts_of,
    expect_fair_books,
    let_doubts_settle,
    let_leases_run_out,
    query,
)
from tests.waiting import wait_until

SETTINGS = {"DASHGATE_PREPARE_SECONDS": "1", "DASHGATE_SUBMIT_TIMEOUT_SECONDS": "1"}
LOST_REPLY = {"on": "create", "do": "reset", "when": "after", "times": 1}
IN_API = [name for name in FAULTPOINTS if name.startswith("intake.")]
IN_WORKER = [name for name in FAULTPOINTS if not name.startswith("intake.")]


@pytest.fixture(scope="module")
async def gateway(server_url: str, template: str) -> AsyncIterator[Gateway]:
    emulator = replace(QUICK, running_seconds=(0.1, 0.1))
    async with (
        cloned_database(server_url, template) as url,
        running_gateway(url, emulator=emulator, settings=SETTINGS, members=("api",)) as gateway,
    ):
        yield gateway


@pytest.fixture
async def traveller(gateway: Gateway) -> AsyncIterator[Traveller]:
    """A client with a team of its own; no worker outlives its job."""
    yield Traveller(gateway, await gateway.make_seat())
    await gateway.set_faults()
    gateway.show_logs()
    for name in ("worker", "api-2"):
        if name in gateway.members and gateway.members[name].is_running:
            await gateway.stop(name)


async def start_to_die(gateway: Gateway, name: str, point: str) -> None:
    """Start a process that ends at the first passing of the point."""
    gateway.environment[VARIABLE] = point
    try:
        await gateway.start(name)
    finally:
        del gateway.environment[VARIABLE]


async def expect_death(gateway: Gateway, name: str) -> None:
    member = gateway.members[name]
    await wait_until(lambda: not member.is_running)
    assert member.process is not None
    assert member.process.returncode == EXIT_CODE, member.tail()


async def finish_with_another(traveller: Traveller, job: Job) -> Job:
    """The job's end under a worker that is not told to die."""
    await let_leases_run_out(traveller.gateway)
    await let_doubts_settle(traveller.gateway)
    await traveller.gateway.start("worker")
    return await traveller.wait_for(job)


@pytest.mark.parametrize("point", IN_WORKER)
async def test_a_worker_that_dies_there_harms_no_job(traveller: Traveller, point: str) -> None:
    gateway = traveller.gateway
    if point.startswith("doubt."):
        await gateway.set_faults(LOST_REPLY)
    job = await traveller.send(n=2)
    await start_to_die(gateway, "worker", point)
    await expect_death(gateway, "worker")

    done = await finish_with_another(traveller, job)

    assert done["status"] == "succeeded"
    assert done["usage"]["image_count"] == 2
    made = [row for row in await attempts_of(gateway, done) if row["upstream_task_id"]]
    assert len(made) == 1
    await expect_fair_books(traveller, [done])


async def send_with_key(traveller: Traveller, prompt: str) -> httpx.Response:
    gateway = traveller.gateway
    body: dict[str, Any] = {"prompt": prompt, "images": [SMALL_PICTURE], "size": "768*768"}
    return await gateway.http.post(
        f"{gateway.url_of('api-2')}/v1/jobs",
        json=body,
        headers={"Authorization": f"Bearer {traveller.seat.key}", "Idempotency-Key": prompt},
    )


@pytest.mark.parametrize("point", IN_API)
async def test_an_api_that_dies_there_makes_no_second_job(
    traveller: Traveller, point: str
) -> None:
    gateway = traveller.gateway
    prompt = f"sent twice over {point}"
    await start_to_die(gateway, "api-2", point)
    with pytest.raises(httpx.TransportError):
        await send_with_key(traveller, prompt)
    await expect_death(gateway, "api-2")
    await gateway.start("api-2")

    answer = await send_with_key(traveller, prompt)

    assert answer.status_code == 202, answer.text
    is_replayed = answer.headers.get("Idempotent-Replayed") == "true"
    assert is_replayed is (point == "intake.committed")
    jobs = await query(gateway, "select id from jobs where prompt = $1", prompt)
    assert [str(row["id"]) for row in jobs] == [answer.json()["id"]]
    done = await finish_with_another(traveller, answer.json())
    await expect_fair_books(traveller, [done])
