"""Health and readiness; and what callers are told while the database is away."""

import time
from pathlib import Path

import pytest

from app import PROGRAM
from app.kit.postgres.database import Pool, Sessions
from tests.api.factories import Backstage, edit
from tests.api.relay import relayed
from tests.api.server import make_settings, make_vault, open_client, running_api
from tests.factories import make_key, make_team


async def test_a_whole_gateway_is_well_and_ready(backstage: Backstage) -> None:
    async with open_client(backstage.url) as http:
        for path in ("/healthz", "/readyz"):
            answer = await http.get(path)
            head = await http.head(path)

            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            assert head.status_code == 200


async def test_without_its_database_it_is_well_but_not_ready(
    database: str, tmp_path: Path
) -> None:
    async with (
        relayed(database) as (relay, through),
        running_api(make_settings(through, tmp_path)) as url,
        open_client(url) as http,
    ):
        relay.cut()

        ready, healthy = await http.get("/readyz"), await http.get("/healthz")

    assert ready.status_code == 503
    assert ready.json()["reason"].startswith("the database cannot be used (")
    assert healthy.status_code == 200


async def test_a_database_that_does_not_answer_is_none(database: str, tmp_path: Path) -> None:
    async with (
        relayed(database) as (relay, through),
        running_api(make_settings(through, tmp_path)) as url,
        open_client(url) as http,
    ):
        relay.is_swallowing = True
        began_at = time.monotonic()

        ready = await http.get("/readyz")

        assert ready.status_code == 503
        assert time.monotonic() - began_at < 5
        relay.cut()


async def test_another_schema_is_not_ready(database: str, pool: Pool, tmp_path: Path) -> None:
    async with running_api(make_settings(database, tmp_path)) as url, open_client(url) as http:
        await pool.execute("update alembic_version set version_num = 'older'")

        ready = await http.get("/readyz")

    assert ready.status_code == 503
    assert "the database is at schema older" in ready.json()["reason"]
    assert f"{PROGRAM} migrate" in ready.json()["reason"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_caller_is_told_to_come_again_when_the_database_is_away(
    database: str, sessions: Sessions, tmp_path: Path, method: str
) -> None:
    team = await make_team(sessions)
    key = await make_key(sessions, make_vault(), owner=team)
    async with (
        relayed(database) as (relay, through),
        running_api(make_settings(through, tmp_path)) as url,
        open_client(url, key.text) as http,
    ):
        await http.get("/v1/jobs")
        relay.cut()

        answer = await http.request(method, "/v1/jobs", json=edit())

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "127.0.0.1" not in answer.text
