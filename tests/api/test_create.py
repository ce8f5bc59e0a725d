"""POST /v1/jobs: acceptance, replays, dry runs."""

import asyncio
from uuid import UUID

import pytest

from app.jobs.requests.edit import to_file_ref
from app.media.data_uri import to_data_uri
from tests.api.factories import Backstage, Caller, edit
from tests.jobs.bodies import SMALL_PNG
from tests.media.images import make_image, make_noise

BIG_ENOUGH = make_image("PNG", 400, 400)


async def test_an_edit_is_answered_202_with_its_place_and_itself(caller: Caller) -> None:
    answer = await caller.http.post(
        "/v1/jobs", json=edit(n=2, size="1280x1280", seed=7, metadata={"campaign": "x"})
    )

    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"{caller.backstage.url}/v1/jobs/{job['id']}"
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Cache-Control"] == "no-store"
    assert UUID(job["id"]).version == 7
    expected = {
        "object": "job",
        "status": "queued",
        "model": "wan2.5-i2i-preview",
        "prompt": "make it blue",
        "n": 2,
        "size": "1280*1280",
        "seed": 7,
        "metadata": {"campaign": "x"},
        "priority": "interactive",
        "pictures": [],
        "usage": {"image_count": 0, "amount": "0.00", "currency": "CNY"},
        "error": None,
        "attention": None,
        "submitted_at": None,
        "finished_at": None,
        "team": caller.team.name,
    }
    assert {name: job[name] for name in expected} == expected
    assert job["created_at"].endswith("Z")


async def test_what_was_answered_is_what_is_stored(caller: Caller) -> None:
    job = await caller.create()

    assert await caller.read(job["id"]) == job


async def test_an_image_within_the_request_is_kept_in_the_store(caller: Caller) -> None:
    job = await caller.create(images=[SMALL_PNG])

    images = await caller.backstage.pool.fetchval(
        "select images from jobs where id = $1", UUID(job["id"])
    )
    kept = await caller.backstage.store.get(images[0]["store_key"])
    assert kept == make_image("PNG", 384, 384)
    assert "url" not in images[0]


async def test_an_uploaded_file_is_taken_by_its_id(caller: Caller) -> None:
    file_id = await caller.backstage.keep_file(caller.team, BIG_ENOUGH)

    job = await caller.create(images=[to_file_ref(file_id)])

    images = await caller.backstage.pool.fetchval(
        "select images from jobs where id = $1", UUID(job["id"])
    )
    assert images[0]["file_id"] == to_file_ref(file_id)


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
async def test_a_file_of_another_team_is_not_found(
    caller: Caller, stranger: Caller, query: str
) -> None:
    file_id = await caller.backstage.keep_file(stranger.team, BIG_ENOUGH)

    answer = await caller.http.post(
        f"/v1/jobs{query}", json=edit(images=["https://a.example/1.png", to_file_ref(file_id)])
    )

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["loc"], error["code"]) == (["images", 1], "file_not_found")
    assert await caller.backstage.count_jobs(caller.team) == 0


async def test_the_queue_tells_how_many_go_before_and_what_holds_a_job(caller: Caller) -> None:
    batch = await caller.create(priority="batch")
    ahead = await caller.create()

    waiting = (await caller.read(batch["id"]))["queue"]

    assert waiting["position"] > (await caller.read(ahead["id"]))["queue"]["position"]
    assert waiting.keys() == {"position", "held_by", "eta_seconds"}


async def test_the_same_key_brings_the_same_job(caller: Caller) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = await caller.http.post("/v1/jobs", json=edit(), headers=headers)

    second = await caller.http.post("/v1/jobs", json=edit(), headers=headers)

    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.status_code == 202
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["Location"] == first.headers["Location"]
    assert await caller.backstage.count_jobs(caller.team) == 1


async def test_five_replays_of_a_request_with_its_picture_are_one_object_and_one_row(
    caller: Caller,
) -> None:
    headers = {"Idempotency-Key": "order-1"}
    body = edit(images=[to_data_uri(make_noise("PNG", 400, 400, seed=77), "image/png")])

    answers = [await caller.http.post("/v1/jobs", json=body, headers=headers) for _ in range(5)]

    assert len({answer.json()["id"] for answer in answers}) == 1
    rows = await caller.backstage.pool.fetch(
        "select store_key from files where team_id = $1", caller.team.id
    )
    assert len(rows) == 1
    folder = caller.backstage.store_folder / "inputs"
    sha256 = rows[0]["store_key"].rpartition("/")[2].partition("-")[0]
    assert len(list(folder.rglob(f"{sha256}*"))) == 1


async def test_a_replay_needs_its_files_no_more(caller: Caller) -> None:
    headers = {"Idempotency-Key": "order-1"}
    file_id = await caller.backstage.keep_file(caller.team, BIG_ENOUGH)
    body = edit(images=[to_file_ref(file_id)])
    first = await caller.http.post("/v1/jobs", json=body, headers=headers)
    await caller.backstage.pool.execute("delete from files where id = $1", file_id)

    second = await caller.http.post("/v1/jobs", json=body, headers=headers)

    assert (second.status_code, second.json()["id"]) == (202, first.json()["id"])


async def test_an_input_of_a_refused_request_does_not_stay_for_days(
    caller: Caller, backstage: Backstage
) -> None:
    moved = "update prices set region = $2 where region = $1"
    await backstage.pool.execute(moved, "cn-beijing", "elsewhere")
    try:
        refused = await caller.http.post("/v1/jobs", json=edit(images=[SMALL_PNG]))
    finally:
        await backstage.pool.execute(moved, "elsewhere", "cn-beijing")

    assert refused.status_code == 503
    hours = await backstage.pool.fetchval(
        "select extract(epoch from expires_at - now()) / 3600 from files where team_id = $1",
        caller.team.id,
    )
    assert hours <= 1


async def test_a_replay_shows_how_the_job_has_ended(caller: Caller) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = await caller.http.post("/v1/jobs", json=edit(n=2), headers=headers)
    await caller.backstage.finish_job(first.json()["id"])

    second = await caller.http.post("/v1/jobs", json=edit(n=2), headers=headers)

    assert second.status_code == 200
    assert second.json()["status"] == "succeeded"
    assert len(second.json()["pictures"]) == 2


async def test_a_key_means_the_same_quoted_and_bare(caller: Caller) -> None:
    bare = await caller.http.post("/v1/jobs", json=edit(), headers={"Idempotency-Key": "a"})

    quoted = await caller.http.post("/v1/jobs", json=edit(), headers={"Idempotency-Key": '"a"'})

    assert quoted.json()["id"] == bare.json()["id"]


async def test_a_key_is_refused_for_another_request(caller: Caller) -> None:
    headers = {"Idempotency-Key": "order-1"}
    await caller.http.post("/v1/jobs", json=edit(), headers=headers)

    answer = await caller.http.post("/v1/jobs", json=edit(n=2), headers=headers)

    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reuse"
    assert await caller.backstage.count_jobs(caller.team) == 1


async def test_a_key_is_one_team_s_own(caller: Caller, stranger: Caller) -> None:
    headers = {"Idempotency-Key": "order-1"}
    mine = await caller.http.post("/v1/jobs", json=edit(), headers=headers)

    theirs = await stranger.http.post("/v1/jobs", json=edit(n=2), headers=headers)

    assert theirs.status_code == 202
    assert theirs.json()["id"] != mine.json()["id"]


async def test_a_refused_request_does_not_use_up_its_key(caller: Caller) -> None:
    headers = {"Idempotency-Key": "order-1"}
    refused = await caller.http.post("/v1/jobs", json=edit(n=9), headers=headers)

    answer = await caller.http.post("/v1/jobs", json=edit(), headers=headers)

    assert (refused.status_code, answer.status_code) == (422, 202)


async def test_twenty_at_once_with_one_key_make_one_job(caller: Caller) -> None:
    headers = {"Idempotency-Key": "order-1"}

    answers = await asyncio.gather(
        *(caller.http.post("/v1/jobs", json=edit(), headers=headers) for _ in range(20))
    )

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await caller.backstage.count_jobs(caller.team) == 1


@pytest.mark.parametrize("key", ["", '""', "k" * 256, "caf\xe9", "a\tb"])
async def test_an_unusable_key_is_named(caller: Caller, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]

    answer = await caller.http.post("/v1/jobs", json=edit(), headers=headers)

    (error,) = answer.json()["errors"]
    assert answer.status_code == 422
    assert (error["loc"], error["code"]) == (["Idempotency-Key"], "bad_idempotency_key")


async def test_a_dry_run_prices_and_accepts_nothing(caller: Caller) -> None:
    answer = await caller.http.post("/v1/jobs?dry_run=true", json=edit(n=3, images=[SMALL_PNG]))

    assert answer.status_code == 200
    assert answer.json() == {
        "object": "dry_run",
        "model": "wan2.5-i2i-preview",
        "n": 3,
        "unit_price": "0.20",
        "amount": "0.60",
        "currency": "CNY",
        "queue": {"position": 0, "held_by": "no_account", "eta_seconds": None},
    }
    assert "Location" not in answer.headers
    assert await caller.backstage.count_jobs(caller.team) == 0


async def test_a_dry_run_refuses_what_would_be_refused(caller: Caller) -> None:
    answer = await caller.http.post("/v1/jobs?dry_run=true", json=edit(n=9))

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["n"]


@pytest.mark.parametrize("query", ["dryrun=true", "dry_run=perhaps", "wait=30"])
async def test_a_parameter_that_would_not_be_heeded_makes_no_job(
    caller: Caller, query: str
) -> None:
    answer = await caller.http.post(f"/v1/jobs?{query}", json=edit())

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", query.partition("=")[0]]
    assert await caller.backstage.count_jobs(caller.team) == 0


async def test_without_a_price_nothing_is_accepted(caller: Caller, backstage: Backstage) -> None:
    moved = "update prices set region = $2 where region = $1"
    await backstage.pool.execute(moved, "cn-beijing", "elsewhere")
    try:
        answers = [
            await caller.http.post(f"/v1/jobs{query}", json=edit())
            for query in ("", "?dry_run=true")
        ]
    finally:
        await backstage.pool.execute(moved, "elsewhere", "cn-beijing")

    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "price_unknown")
        assert answer.headers["Retry-After"]
