"""What Prometheus is told: the gateway's state, and what can be said without the database."""

import re
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.jobs.engine.conduct import CONDUCTOR_LOCK
from app.jobs.lifecycle import Flag
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions, connect, transaction
from tests.api.relay import relayed
from tests.api.server import make_settings, open_client, running_api
from tests.factories import MODEL
from tests.jobs.keeping.gallery import ended
from tests.jobs.scene import Scene, make_scene

URL = "https://results.example/a.png?Signature=secret"


@pytest.fixture
async def scene(pool: Pool, sessions: Sessions, vault: Vault) -> Scene:
    return await make_scene(pool, sessions, vault)


@pytest.fixture
async def http(database: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running_api(make_settings(database, tmp_path)) as url, open_client(url) as http:
        yield http


async def scrape(http: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, these in the order of their names."""
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (
            sample.name.removeprefix("dashgate_"),
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_the_state_of_jobs_and_results_is_told(
    scene: Scene, http: httpx.AsyncClient
) -> None:
    for hours in (1, 7, 8, 21):
        await ended(scene, f"{URL}&{hours}", f"{URL}&{hours}&2", age=timedelta(hours=hours))
    flagged = await ended(scene, URL)
    await scene.decide(flagged, Flag("picture_not_fetched", "picture 0: it answered 503"))
    await scene.running("task-1")
    waiting = await scene.accept()
    await scene.accept()
    await scene.pool.execute(
        "update jobs set created_at = now() - interval '90 s' where id = $1", waiting
    )

    told = await scrape(http)

    assert told["database_up",] == 1
    assert [told["jobs", name] for name in ("queued", "submitting", "running", "finalizing")] == [
        2,
        0,
        1,
        5,
    ]
    assert 90 <= told["oldest_queued_age_seconds",] < 120
    assert told["results_waiting",] == 9
    assert told["results_at_risk", "warning"] == 4
    assert told["results_at_risk", "critical"] == 2
    assert 10_600 < told["results_closest_expiry_seconds",] <= 10_800
    assert told["jobs_needing_attention", "picture_not_fetched"] == 1
    assert told["leader_present",] == 0
    assert told["process_resident_memory_bytes",] > 10_000_000


async def test_accounts_and_the_leader_are_told(
    scene: Scene, http: httpx.AsyncClient, database: str
) -> None:
    name = await scene.pool.fetchval("select name from accounts")
    await scene.running("task-1")
    await scene.submitting()
    await scene.pool.execute(
        "update job_runs set lease_expires_at = now() where status = 'submitting'"
    )
    await scene.pool.execute(
        "update account_paces set pause_code = 'Arrearage',"
        " paused_until = now() + interval '1 hour'"
    )
    leader = await connect(database)
    await leader.execute("select pg_advisory_lock($1)", CONDUCTOR_LOCK)

    told = await scrape(http)

    await leader.close()
    assert told["account_slots", name, MODEL] == 5
    assert told["account_slots_used", name, MODEL] == 2
    assert told["account_submissions_in_doubt", name, MODEL] == 1
    assert told["account_active", name, MODEL] == 1
    assert 3_500 < told["account_pause_seconds", name, "Arrearage", MODEL] <= 3_600
    assert told["leader_present",] == 1


async def test_the_times_of_the_latest_tasks_are_told(
    scene: Scene, http: httpx.AsyncClient
) -> None:
    await ended(scene, URL, age=timedelta(seconds=2))
    await scene.pool.execute(
        "update attempts set task_scheduled_at = task_ended_at - interval '45 s'"
    )

    told = await scrape(http)

    assert 2 <= told["task_detection_delay_seconds", "p95"] < 10
    assert told["task_service_seconds", "p50"] == 45


async def test_what_has_ended_is_counted(scene: Scene, http: httpx.AsyncClient) -> None:
    fence = await scene.finalizing(URL, None)
    await scene.keep(fence, 0)
    await scene.finish(fence)
    await scene.pool.executemany(
        "insert into upstream_calls values ($1, $2, $3)",
        [("create", "200", 7), ("query", "none", 2)],
    )

    told = await scrape(http)

    assert told["jobs_ended_total", "succeeded"] == 1
    assert told["jobs_ended_total", "failed"] == 0
    assert told["images_total",] == 1
    assert told["upstream_calls_total", "200", "create"] == 7
    assert told["upstream_calls_total", "none", "query"] == 2


async def test_requests_are_counted_by_the_route_that_was_declared(
    http: httpx.AsyncClient,
) -> None:
    async def count() -> dict[tuple[str, ...], float]:
        return {key: n for key, n in (await scrape(http)).items() if "http_requests_total" in key}

    before = await count()
    for number in range(3):
        await http.get(f"/v1/jobs/0198c0f2-7d3a-7c11-b2a5-7c6e5d4f3a2{number}")
        await http.get(f"/api/v1/tasks/{number}")
        await http.get(f"/nowhere/{number}")
        await http.request("PROPFIND", "/healthz")

    grown = {key: n - before.get(key, 0) for key, n in (await count()).items()}
    counted = {key[1:]: n for key, n in grown.items() if n and key[2] != "/metrics"}
    assert counted == {
        ("GET", "/v1/jobs/{job_id}", "401"): 3,
        ("GET", "/api/v1/tasks/{task_id}", "401"): 3,
        ("GET", "other", "404"): 3,
        ("other", "/healthz", "405"): 3,
    }


async def test_the_time_of_answers_is_a_histogram(http: httpx.AsyncClient) -> None:
    await http.get("/healthz")

    told = await scrape(http)

    name = "http_request_duration_seconds"
    assert told[f"{name}_count", "/healthz"] >= 1
    assert told[f"{name}_bucket", "+Inf", "/healthz"] == told[f"{name}_count", "/healthz"]


async def test_names_and_labels_are_as_prometheus_wants_them(
    scene: Scene, http: httpx.AsyncClient
) -> None:
    """What `promtool check metrics` complains of."""
    await ended(scene, URL)
    text = (await http.get("/metrics")).text

    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert not family.name.endswith(("_count", "_sum", "_bucket"))
        labels = {label for sample in family.samples for label in sample.labels}
        assert "quantile" not in labels or family.type == "summary"
        assert "le" not in labels or family.type == "histogram"
        if family.type == "counter":
            assert all(one.name.endswith(("_total", "_created")) for one in family.samples)
        else:
            assert not family.name.endswith("_total")


async def test_no_team_and_nothing_of_a_job_is_named(
    scene: Scene, http: httpx.AsyncClient
) -> None:
    fence = await ended(scene, URL)
    await scene.decide(fence, Flag("picture_not_fetched", f"picture 0: {URL}"))
    team = await scene.pool.fetchval("select name from teams")

    text = (await http.get("/metrics")).text

    assert "picture_not_fetched" in text
    for secret in (team, str(fence.job_id), "secret", "results.example", "make it blue"):
        assert secret not in text


async def test_however_often_it_is_asked_the_database_is_spared(
    scene: Scene, http: httpx.AsyncClient
) -> None:
    before = await scrape(http)
    await scene.accept()

    after = await scrape(http)

    assert before["jobs", "queued"] == after["jobs", "queued"] == 0


async def test_what_takes_too_long_is_left_out_and_the_rest_is_told(
    scene: Scene, http: httpx.AsyncClient
) -> None:
    await scene.accept()
    async with transaction(scene.pool) as connection:
        await connection.execute("lock table attempts in access exclusive mode")

        told = await scrape(http)

    assert (told["gauges_read", "jobs"], told["gauges_read", "risk"]) == (1, 0)
    assert told["jobs", "queued"] == 1
    assert ("results_at_risk", "warning") not in told
    assert told["database_up",] == 1


async def test_without_its_database_it_tells_that_and_of_itself(
    database: str, tmp_path: Path
) -> None:
    async with (
        relayed(database) as (relay, through),
        running_api(make_settings(through, tmp_path)) as url,
        open_client(url) as http,
    ):
        relay.cut()

        told = await scrape(http)

    assert told["database_up",] == 0
    assert ("leader_present",) not in told
    assert told["process_resident_memory_bytes",] > 10_000_000


async def test_a_database_that_does_not_answer_holds_up_no_scrape(
    database: str, tmp_path: Path
) -> None:
    async with (
        relayed(database) as (relay, through),
        running_api(make_settings(through, tmp_path)) as url,
        open_client(url) as http,
    ):
        relay.is_swallowing = True
        began_at = time.monotonic()

        told = await scrape(http)

        assert told["database_up",] == 0
        assert time.monotonic() - began_at < 5
        relay.cut()
