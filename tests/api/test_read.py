"""GET /v1/jobs/{id}: the job in each of its states, waiting for its end, and 304."""

import asyncio
import time
from typing import Any

import pytest

from tests.api.factories import PICTURE, Backstage, Caller, edit


async def test_a_running_job_says_since_when(caller: Caller) -> None:
    job = await caller.create()
    await caller.backstage.start_job(job["id"])

    answer = await caller.http.get(f"/v1/jobs/{job['id']}")

    running = answer.json()
    assert (running["status"], running["queue"]) == ("running", None)
    assert running["submitted_at"].endswith("Z")
    assert answer.headers["Retry-After"] == "5"


async def test_pictures_are_not_shown_before_they_are_ours(caller: Caller) -> None:
    job = await caller.create(n=2)
    await caller.backstage.collect_job(job["id"])

    finalizing = await caller.read(job["id"])

    assert (finalizing["status"], finalizing["pictures"]) == ("finalizing", [])


async def test_a_succeeded_job_shows_its_pictures_and_its_cost(caller: Caller) -> None:
    job = await caller.create(n=2)
    await caller.backstage.finish_job(job["id"])

    answer = await caller.http.get(f"/v1/jobs/{job['id']}")

    done = answer.json()
    assert done["status"] == "succeeded"
    assert done["usage"] == {"image_count": 2, "amount": "0.40", "currency": "CNY"}
    assert done["finished_at"].endswith("Z")
    assert "Retry-After" not in answer.headers
    url = done["pictures"][1].pop("url")
    assert url.startswith(
        f"{caller.backstage.url}/v1/jobs/{job['id']}/pictures/{job['id']}-1.png?"
    )
    assert done["pictures"][1] == {
        "index": 1,
        "content_type": "image/png",
        "width": 64,
        "height": 48,
        "bytes": len(PICTURE),
        "sha256": done["pictures"][0]["sha256"],
        "actual_prompt": "blue, 1",
    }


async def test_a_slot_without_a_picture_says_why_and_costs_nothing(caller: Caller) -> None:
    job = await caller.create(n=2)
    await caller.backstage.finish_job(job["id"], failed_indexes=(0,))

    done = await caller.read(job["id"])

    assert done["pictures"][0] == {
        "index": 0,
        "error": {"code": "InternalError.Timeout", "message": "took too long"},
    }
    assert done["usage"]["amount"] == "0.20"


async def test_a_failed_job_says_why_and_costs_nothing(caller: Caller) -> None:
    job = await caller.create()
    await caller.backstage.fail_job(job["id"], "DataInspectionFailed", "not allowed")

    failed = await caller.read(job["id"])

    assert failed["status"] == "failed"
    assert failed["error"] == {"code": "DataInspectionFailed", "message": "not allowed"}
    assert failed["usage"] == {"image_count": 0, "amount": "0.00", "currency": "CNY"}


async def test_a_job_that_a_person_must_see_says_so(caller: Caller) -> None:
    job = await caller.create()
    await caller.backstage.flag_job(job["id"], "submission_unknown", "no answer")

    flagged = await caller.read(job["id"])

    assert flagged["status"] == "running"
    since = flagged["attention"].pop("since")
    assert flagged["attention"] == {"code": "submission_unknown", "detail": "no answer"}
    assert since.endswith("Z")
    assert len(since) == len(flagged["created_at"])


async def test_waiting_ends_with_the_job(caller: Caller) -> None:
    job = await caller.create(n=2)
    waiting = asyncio.create_task(
        caller.http.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=15"})
    )
    await asyncio.sleep(0)
    await caller.backstage.finish_job(job["id"])

    answer = await waiting

    assert answer.json()["status"] == "succeeded"
    assert answer.headers["Preference-Applied"] == "wait=15"


async def test_a_create_that_waits_answers_200_with_the_end(caller: Caller) -> None:
    creating = asyncio.create_task(
        caller.http.post("/v1/jobs", json=edit(n=2), headers={"Prefer": "wait=15"})
    )
    await caller.backstage.finish_job(await _wait_for_job(caller))

    answer = await creating

    assert answer.status_code == 200
    assert answer.json()["status"] == "succeeded"
    assert answer.headers["Location"].endswith(answer.json()["id"])
    assert answer.headers["Preference-Applied"] == "wait=15"


async def test_a_create_that_waited_in_vain_answers_202(caller: Caller) -> None:
    began_at = time.monotonic()

    answer = await caller.http.post(
        "/v1/jobs", json=edit(), headers={"Prefer": "respond-async, wait=0.3"}
    )

    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["Preference-Applied"] == "wait=0.3"
    assert time.monotonic() - began_at >= 0.3


@pytest.mark.parametrize("prefer", ["wait=soon", "respond-async", "await=30", ""])
async def test_other_preferences_do_not_wait(caller: Caller, prefer: str) -> None:
    answer = await caller.http.post("/v1/jobs", json=edit(), headers={"Prefer": prefer})

    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
async def test_an_unchanged_job_is_not_sent_again(caller: Caller, form: str) -> None:
    job = await caller.create()
    await caller.backstage.start_job(job["id"])
    first = await caller.http.get(f"/v1/jobs/{job['id']}")
    etag = first.headers["ETag"]

    second = await caller.http.get(
        f"/v1/jobs/{job['id']}", headers={"If-None-Match": form.format(etag)}
    )

    assert (second.status_code, second.content) == (304, b"")
    assert second.headers["ETag"] == etag
    assert second.headers["Cache-Control"] == "no-store"


async def test_a_changed_job_has_another_tag(caller: Caller) -> None:
    job = await caller.create(n=2)
    before = await caller.http.get(f"/v1/jobs/{job['id']}")
    await caller.backstage.finish_job(job["id"])

    after = await caller.http.get(
        f"/v1/jobs/{job['id']}", headers={"If-None-Match": before.headers["ETag"]}
    )

    assert after.status_code == 200
    assert after.headers["ETag"] != before.headers["ETag"]


async def _wait_for_job(caller: Caller) -> str:
    backstage: Backstage = caller.backstage
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        job_id: Any = await backstage.pool.fetchval(
            "select id from jobs where team_id = $1", caller.team.id
        )
        if job_id is not None:
            return str(job_id)
        await asyncio.sleep(0.01)
    raise AssertionError("no job was accepted")
