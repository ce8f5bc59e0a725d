"""POST /v1/jobs/{id}/cancel: what it answers in each state, and what the job becomes."""

import asyncio
from uuid import uuid4

import httpx
import pytest

from app.jobs.lifecycle import JobStatus, Requeue, Stop
from app.kit.postgres.database import Pool
from tests.api.factories import Caller, new_caller


async def cancel(caller: Caller, job_id: str, query: str = "") -> httpx.Response:
    return await caller.http.post(f"/v1/jobs/{job_id}/cancel{query}")


async def spent_by(pool: Pool, job_id: str) -> list[tuple[str, int]]:
    rows = await pool.fetch(
        "select kind, image_count from ledger_entries where job_id = $1 order by id", job_id
    )
    return [(row["kind"], row["image_count"]) for row in rows]


async def test_a_queued_job_is_canceled_and_free(caller: Caller) -> None:
    job = await caller.create(n=2)

    answer = await cancel(caller, job["id"])

    assert answer.status_code == 200
    canceled = answer.json()
    assert (canceled["id"], canceled["status"]) == (job["id"], "canceled")
    assert canceled["usage"]["amount"] == "0.00"
    assert canceled["finished_at"].endswith("Z")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Retry-After" not in answer.headers
    assert await spent_by(caller.backstage.pool, job["id"]) == [("reserve", 2), ("release", 2)]


async def test_canceling_again_answers_the_same(caller: Caller) -> None:
    job = await caller.create()

    answers = await asyncio.gather(*(cancel(caller, job["id"]) for _ in range(5)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert await spent_by(caller.backstage.pool, job["id"]) == [("reserve", 1), ("release", 1)]


async def test_a_running_job_is_asked_to_stop_and_tells_when_to_look_again(
    caller: Caller,
) -> None:
    job = await caller.create()
    await caller.backstage.start_job(job["id"])

    first, second = [await cancel(caller, job["id"]) for _ in range(2)]

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["status"] == "running"
    assert first.headers["Retry-After"] == "5"
    assert await caller.backstage.pool.fetchval(
        "select cancel_requested_at is not null from job_runs where job_id = $1", job["id"]
    )
    assert (
        await caller.backstage.pool.fetchval(
            "select count(*) from job_events where job_id = $1 and type = 'job.cancel_asked'",
            job["id"],
        )
        == 1
    )


async def test_a_job_whose_attempt_came_to_nothing_after_all_is_free(caller: Caller) -> None:
    """Between the two wishes its create has failed, and the engine has ended it."""
    job = await caller.create()
    fence = await caller.backstage.start_job(job["id"])
    await cancel(caller, job["id"])
    failed = Requeue("accepted", "InternalError", "oh", is_failure=True)

    await caller.backstage.write(fence, Stop(JobStatus.CANCELED, instead_of=failed))
    answer = await cancel(caller, job["id"])

    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")


async def test_once_pictures_are_being_kept_it_is_too_late(caller: Caller) -> None:
    job = await caller.create(n=2)
    await caller.backstage.collect_job(job["id"])

    answer = await cancel(caller, job["id"])

    assert (answer.status_code, answer.json()["code"]) == (409, "job_finalizing")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:dashgate:problem:job_finalizing"
    assert (await caller.read(job["id"]))["status"] == "finalizing"


@pytest.mark.parametrize("status", ["succeeded", "failed"])
async def test_a_job_that_has_ended_stays_as_it_is(caller: Caller, status: str) -> None:
    job = await caller.create(n=2)
    if status == "succeeded":
        await caller.backstage.finish_job(job["id"])
    else:
        await caller.backstage.fail_job(job["id"], "InvalidImage", "too small")

    answer = await cancel(caller, job["id"])

    assert (answer.status_code, answer.json()["code"]) == (409, "job_finished")
    assert status in answer.json()["detail"]
    assert (await caller.read(job["id"]))["status"] == status


async def test_a_foreign_job_is_no_job_and_goes_on(caller: Caller, stranger: Caller) -> None:
    job = await caller.create()

    foreign, unknown = await cancel(stranger, job["id"]), await cancel(stranger, str(uuid4()))

    assert [foreign.status_code, unknown.status_code] == [404, 404]
    assert foreign.json()["code"] == unknown.json()["code"] == "job_not_found"
    assert (await caller.read(job["id"]))["status"] == "queued"


async def test_a_key_that_may_only_read_cancels_nothing(caller: Caller) -> None:
    job = await caller.create()
    async with new_caller(caller.backstage, scopes=("jobs:read",)) as reader:
        answer = await cancel(reader, job["id"])

    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


async def test_what_nobody_reads_is_refused(caller: Caller) -> None:
    job = await caller.create()

    answers = [await cancel(caller, job["id"], "?force=true"), await cancel(caller, "x")]

    assert [answer.status_code for answer in answers] == [422, 422]
    assert (await caller.read(job["id"]))["status"] == "queued"


async def test_whoever_waits_for_the_job_hears_of_it(caller: Caller) -> None:
    job = await caller.create()
    path = f"/v1/jobs/{job['id']}"
    waiting = asyncio.create_task(caller.http.get(path, headers={"Prefer": "wait=20"}))

    await cancel(caller, job["id"])

    assert (await waiting).json()["status"] == JobStatus.CANCELED


async def test_the_document_describes_the_call(caller: Caller) -> None:
    document = (await caller.http.get("/openapi.json")).json()

    call = document["paths"]["/v1/jobs/{job_id}/cancel"]["post"]
    assert {"200", "202", "401", "403", "404", "409", "422", "503"} <= set(call["responses"])
