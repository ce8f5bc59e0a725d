"""Who may use the native door, and what anybody else is told."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from app.teams import store as team_store
from app.teams.rules import Role
from tests.api.factories import Backstage, Caller, edit, new_caller
from tests.api.server import open_client
from tests.factories import ACTOR, make_key

NOBODYS_JOB = "0198c0f2-0000-7000-8000-000000000001"
CALLS = [
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs?dry_run=true"),
    ("POST", f"/v1/jobs/{NOBODYS_JOB}/cancel"),
    ("GET", "/v1/jobs"),
    ("GET", f"/v1/jobs/{NOBODYS_JOB}"),
    ("GET", f"/v1/jobs/{NOBODYS_JOB}/pictures/0"),
]
READS = [call for call in CALLS if call[0] == "GET"]
WRITES = [call for call in CALLS if call[0] == "POST"]


async def ask(http: httpx.AsyncClient, call: tuple[str, str]) -> httpx.Response:
    method, path = call
    return await http.request(method, path, json=edit() if method == "POST" else None)


@pytest.mark.parametrize("call", CALLS)
async def test_without_a_key_nothing_is_told(backstage: Backstage, call: tuple[str, str]) -> None:
    async with open_client(backstage.url) as http:
        answer = await ask(http, call)

    assert (answer.status_code, answer.json()["code"]) == (401, "missing_api_key")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("key", ["sk-wrong", "x" * 40, "dg_live_00000000_" + "0" * 38])
@pytest.mark.parametrize("call", CALLS)
async def test_an_unknown_key_is_refused_and_not_repeated(
    backstage: Backstage, call: tuple[str, str], key: str
) -> None:
    async with open_client(backstage.url, key) as http:
        answer = await ask(http, call)

    assert answer.status_code == 401
    assert key not in answer.text


@pytest.mark.parametrize("call", READS)
async def test_a_key_that_may_only_write_does_not_read(
    backstage: Backstage, call: tuple[str, str]
) -> None:
    async with new_caller(backstage, scopes=("jobs:write",)) as caller:
        answer = await ask(caller.http, call)

    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert "jobs:read" in answer.json()["detail"]


@pytest.mark.parametrize("call", WRITES)
async def test_a_key_that_may_only_read_does_not_write(
    backstage: Backstage, call: tuple[str, str]
) -> None:
    async with new_caller(backstage, scopes=("jobs:read",)) as caller:
        answer = await ask(caller.http, call)

    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize("call", CALLS)
async def test_an_operator_is_told_to_use_a_team_s_key(
    backstage: Backstage, call: tuple[str, str]
) -> None:
    operator = await make_key(backstage.sessions, backstage.vault, owner=Role.ADMIN)

    async with open_client(backstage.url, operator.text) as http:
        answer = await ask(http, call)

    assert (answer.status_code, answer.json()["code"]) == (403, "team_key_required")
    assert "use a team's key" in answer.json()["detail"]


async def test_an_expired_key_is_refused(backstage: Backstage) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    async with new_caller(backstage, expires_at=soon) as caller:
        await backstage.pool.execute(
            "update keys set expires_at = now() where team_id = $1", caller.team.id
        )
        answer = await caller.http.get("/v1/jobs")

    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_expired")


async def test_a_revoked_key_is_refused(caller: Caller) -> None:
    async with caller.backstage.sessions.begin() as session:
        ((key, _),) = await team_store.list_keys(session, caller.team)
        await team_store.revoke_key(session, key, actor=ACTOR)

    answer = await caller.http.get("/v1/jobs")

    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_revoked")


async def test_a_disabled_team_is_refused(caller: Caller) -> None:
    await caller.backstage.pool.execute(
        "update teams set disabled_at = now() where id = $1", caller.team.id
    )

    answer = await caller.http.post("/v1/jobs", json=edit())

    assert (answer.status_code, answer.json()["code"]) == (403, "team_disabled")


async def test_a_key_is_bound_to_its_addresses(backstage: Backstage) -> None:
    async with new_caller(backstage, allow_ips=("10.0.0.0/8",)) as caller:
        answer = await caller.http.get("/v1/jobs")

    assert (answer.status_code, answer.json()["code"]) == (403, "address_not_allowed")
    assert "127.0.0.1" in answer.json()["detail"]


async def test_the_key_may_come_as_x_api_key(caller: Caller) -> None:
    async with open_client(caller.backstage.url, **{"X-API-Key": caller.key}) as http:
        answer = await http.post("/v1/jobs", json=edit())

    assert answer.status_code == 202


async def test_one_key_in_both_headers_is_one_key(caller: Caller) -> None:
    answer = await caller.http.get("/v1/jobs", headers={"X-API-Key": caller.key})

    assert answer.status_code == 200


async def test_two_different_keys_are_ambiguous(caller: Caller, stranger: Caller) -> None:
    answer = await caller.http.get("/v1/jobs", headers={"X-API-Key": stranger.key})

    assert (answer.status_code, answer.json()["code"]) == (400, "two_api_keys")


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        ("Basic dXNlcjpwYXNz", "bad_authorization", "begins with Basic"),
        ("Token dXNlcjpwYXNz", "bad_authorization", "begins with Token"),
        ("Bearer: dXNlcjpwYXNz", "bad_authorization", "begins with Bearer:"),
        ("dXNlcjpwYXNz", "bad_authorization", "no `Bearer`"),
        ("dXNlcjpwYXNz more", "bad_authorization", "no `Bearer`"),
        ("Bearer Bearer dXNlcjpwYXNz", "bad_authorization", "`Bearer` twice"),
        ("bearer\tbearer", "bad_authorization", "`Bearer` twice"),
        ("Bearer <dXNlcjpwYXNz>", "malformed_api_key", "not a key of this gateway"),
        ("Bearer", "missing_api_key", "no API key"),
        ("", "missing_api_key", "no API key"),
    ],
)
async def test_a_header_that_is_no_bearer_is_not_authenticated_and_says_why(
    backstage: Backstage, value: str, code: str, words: str
) -> None:
    async with open_client(backstage.url, Authorization=value) as http:
        answer = await http.get("/v1/jobs")

    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert words in answer.json()["detail"]
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "dXNlcjpwYXNz" not in answer.text


@pytest.mark.parametrize("path", ["", "/pictures/0"])
async def test_a_job_of_another_team_is_not_told_from_none(
    caller: Caller, stranger: Caller, path: str
) -> None:
    job = await stranger.create(n=2)
    await stranger.backstage.finish_job(job["id"])

    theirs = await caller.http.get(f"/v1/jobs/{job['id']}{path}")
    none = await caller.http.get(f"/v1/jobs/{NOBODYS_JOB}{path}")

    assert theirs.status_code == none.status_code == 404
    assert _without_ids(theirs, job["id"]) == _without_ids(none, NOBODYS_JOB)


def _without_ids(answer: httpx.Response, job_id: str) -> dict[str, object]:
    problem = answer.json()
    del problem["request_id"]
    return {name: str(value).replace(job_id, "-") for name, value in problem.items()}
