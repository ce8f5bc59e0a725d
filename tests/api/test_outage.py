"""A create while the database restarts, falls silent or refuses: one honest answer, in time."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.kit.postgres.database import Sessions, connect
from tests.api.factories import edit
from tests.api.relay import Relay, relayed
from tests.api.server import make_settings, make_vault, open_client, running_api
from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE
from tests.emulator.client import make_body
from tests.factories import make_key, make_price, make_team
from tests.jobs.bodies import SMALL_PNG
from tests.waiting import wait_until

ACCEPT_SECONDS = 3.0
COMMIT = b"COMMIT"
LATE_SECONDS = 12.0
"""A key is looked up for 8 seconds before its create begins."""


@dataclass(frozen=True)
class Scene:
    """An API that reaches its database through a relay, and a caller of it."""

    http: httpx.AsyncClient
    relay: Relay
    database_url: str
    team_id: UUID

    async def ask(self, statement: str, *values: object) -> Any:
        connection = await connect(self.database_url)
        try:
            return await connection.fetchval(statement, *values)
        finally:
            await connection.close()

    async def create(self, **headers: str) -> httpx.Response:
        return await self.http.post("/v1/jobs", json=edit(), headers=headers)

    async def create_task(self) -> httpx.Response:
        """The same bytes each time."""
        return await self.http.post(
            f"/api/v1{IMAGE_TO_IMAGE}", json=make_body("the same"), headers=ASYNC
        )

    async def count_jobs(self) -> int:
        count: int = await self.ask("select count(*) from jobs")
        return count


@pytest.fixture
async def scene(database: str, sessions: Sessions, tmp_path: Path) -> AsyncIterator[Scene]:
    await make_price(sessions)
    team = await make_team(sessions)
    key = await make_key(sessions, make_vault(), owner=team)
    async with relayed(database) as (relay, through):
        settings = make_settings(through, tmp_path, accept_timeout_seconds=ACCEPT_SECONDS)
        async with running_api(settings) as url, open_client(url, key.text) as http:
            yield Scene(http, relay, database, team.id)
            relay.is_swallowing = False
            relay.reset()


async def test_a_create_that_waits_while_the_database_goes_has_its_id(scene: Scene) -> None:
    waiting = asyncio.create_task(scene.create(Prefer="wait=4"))
    await wait_until(lambda: _has_jobs(scene))

    scene.relay.cut()
    answer = await waiting

    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]
    assert answer.headers["Location"].endswith(f"/v1/jobs/{job_id}")
    assert answer.json()["status"] == "queued"
    assert UUID(job_id) == await scene.ask("select id from jobs")


@pytest.mark.parametrize("door", ["native", "dashscope"])
async def test_a_create_in_a_network_that_swallows_everything_is_answered_in_time(
    scene: Scene, door: str
) -> None:
    create = scene.create if door == "native" else scene.create_task
    assert (await create()).status_code in {200, 202}
    began_at = time.monotonic()
    scene.relay.is_swallowing = True

    answer = await create()

    assert answer.status_code == 503, answer.text
    assert time.monotonic() - began_at < LATE_SECONDS


async def test_a_commit_that_nobody_answered_is_unconfirmed_and_its_key_finds_the_job(
    scene: Scene,
) -> None:
    """The commit goes through; its confirmation is swallowed."""
    scene.relay.deafening = COMMIT
    answer = await scene.create(**{"Idempotency-Key": "a"})
    scene.relay.reset()
    first = str(await scene.ask("select id from jobs"))

    assert (answer.status_code, answer.json()["code"]) == (503, "acceptance_unconfirmed")
    assert "Idempotency-Key" in answer.json()["detail"]
    again = await _until_answered(scene, **{"Idempotency-Key": "a"})
    assert (again.status_code, again.json()["id"]) == (202, first)
    assert await scene.count_jobs() == 1


async def test_a_stored_job_that_cannot_be_read_back_is_answered_as_acceptance_saw_it(
    scene: Scene,
) -> None:
    """The first time and again: its reading waits for a table that acceptance does without."""
    connection = await connect(scene.database_url)
    await connection.execute("begin; lock table pictures in access exclusive mode")
    answers = [await scene.create(**{"Idempotency-Key": "a"}) for _ in range(2)]
    await connection.close()
    whole = (await scene.create(**{"Idempotency-Key": "a"})).json()

    for answer, is_replay in zip(answers, (False, True), strict=True):
        job = answer.json()
        assert answer.status_code == 202
        assert answer.headers["Location"].endswith(f"/v1/jobs/{whole['id']}")
        assert ("Idempotent-Replayed" in answer.headers) is is_replay
        assert job | {"queue": whole["queue"]} == whole


async def _until_answered(scene: Scene, **headers: str) -> httpx.Response:
    deadline = time.monotonic() + 30
    while True:
        answer = await scene.create(**headers)
        if answer.status_code < 500 or time.monotonic() > deadline:
            return answer
        await asyncio.sleep(0.1)


async def _has_jobs(scene: Scene) -> bool:
    return await scene.count_jobs() > 0


async def test_an_equal_create_after_an_unconfirmed_one_is_the_same_task_at_once(
    scene: Scene,
) -> None:
    """The guard of a create that could not be answered does not keep its repeat waiting."""
    scene.relay.deafening = COMMIT
    answer = await scene.create_task()
    scene.relay.reset()
    assert (answer.status_code, answer.json()["code"]) == (503, "ModelUnavailable")
    first = str(await scene.ask("select id from jobs"))

    await wait_until(lambda: _is_armed(scene))
    again = await scene.create_task()

    assert again.status_code == 200, again.text
    assert again.json()["output"]["task_id"] == first
    assert await scene.count_jobs() == 1


async def _is_armed(scene: Scene) -> bool:
    owners: int = await scene.ask("select count(*) from idempotency_keys where owner is not null")
    return owners == 0


@pytest.mark.parametrize("path", ["/v1/jobs/{}", "/api/v1/tasks/{}/cancel"])
async def test_a_canceled_statement_says_so_and_not_that_the_database_is_away(
    scene: Scene, path: str
) -> None:
    job_id = (await scene.create()).json()["id"]
    method = "POST" if path.endswith("cancel") else "GET"
    connection = await connect(scene.database_url)
    await connection.execute("begin; lock table jobs, job_runs in access exclusive mode")
    asked = asyncio.create_task(scene.http.request(method, path.format(job_id)))

    watcher = await connect(scene.database_url)

    async def is_answered() -> bool:
        """What runs beside requests waits for the lock as well, and may be canceled first."""
        await watcher.execute(_CANCEL_WAITING)
        return asked.done()

    await wait_until(is_answered)
    answer = await asked
    await connection.close()
    await watcher.close()

    assert answer.status_code == 503
    assert "statement_canceled" in answer.text
    assert "cannot be reached" not in answer.text


async def test_a_store_that_never_answers_does_not_hold_a_create_up(
    database: str, sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_price(sessions)
    key = await make_key(sessions, make_vault(), owner=await make_team(sessions))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            monkeypatch.setenv(name, "for-tests")
        settings = make_settings(
            database, tmp_path, store_url="s3://pictures", accept_timeout_seconds=ACCEPT_SECONDS
        )
        async with running_api(settings) as url, open_client(url, key.text) as http:
            began_at = time.monotonic()
            answer = await http.post("/v1/jobs", json=edit(images=[SMALL_PNG]))

    assert (answer.status_code, answer.json()["code"]) == (503, "acceptance_slow")
    assert "nothing was accepted" in answer.json()["detail"]
    assert time.monotonic() - began_at < LATE_SECONDS


_CANCEL_WAITING = """
select pg_cancel_backend(pid) from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock' and query ilike '%job%'
"""
