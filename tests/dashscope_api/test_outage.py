"""A database that goes away and comes back, behind clients that poll."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
from sqlalchemy import make_url

from app.kit.postgres.database import to_asyncpg_dsn
from tests.dashscope_api.client import Client, open_client
from tests.dashscope_api.relay import Relay, running_relay
from tests.gateway import running_gateway

REMEMBERED_SECONDS = 2.5
"""Longer than a process goes on trusting a key without asking the database."""


@dataclass(frozen=True)
class Scene:
    """A gateway that reaches its database by a cable only."""

    client: Client
    cable: Relay
    database_url: str


@pytest.fixture
async def scene(database: str) -> AsyncIterator[Scene]:
    url = make_url(database)
    assert url.host is not None
    async with running_relay(url.host, url.port or 5432) as cable:
        by_cable = url.set(host="127.0.0.1", port=cable.port)
        settings = {"DATABASE_URL": by_cable.render_as_string(hide_password=False)}
        async with (
            running_gateway(database, settings=settings) as gateway,
            open_client(gateway, gateway.seat) as client,
        ):
            yield Scene(client, cable, database)


async def test_query_and_list_are_answered_late_while_the_database_is_away(scene: Scene) -> None:
    task_id = await scene.client.create()
    await scene.client.wait_for(task_id)
    await scene.cable.cut()
    cut_at = time.monotonic()
    paths = (f"/tasks/{task_id}", f"/tasks/{task_id}/", "/tasks?page_no=1&page_size=10")

    asked = [asyncio.create_task(scene.client.http.get(path)) for path in paths]
    await wait_until(cut_at + REMEMBERED_SECONDS)
    asked += [asyncio.create_task(scene.client.http.get(path)) for path in paths]
    _, pending = await asyncio.wait(asked, timeout=0.5)
    await scene.cable.mend()
    answers = await asyncio.gather(*asked)

    assert len(pending) == len(asked)
    assert [answer.status_code for answer in answers] == [200] * 6
    assert answers[3].json()["output"]["task_status"] == "SUCCEEDED"


async def test_queries_survive_terminated_connections(scene: Scene) -> None:
    task_id = await scene.client.create()
    connection = await asyncpg.connect(to_asyncpg_dsn(scene.database_url))
    statuses = set()

    for _ in range(20):
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        answers = await asyncio.gather(
            *(scene.client.http.get(f"/tasks/{task_id}") for _ in range(8))
        )
        statuses |= {answer.status_code for answer in answers}

    await connection.close()
    assert statuses == {200}


async def wait_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
