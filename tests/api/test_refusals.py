"""Bad requests at the native door: refused at once, field by field, and they cost nothing."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.api.factories import Caller, edit
from tests.media.images import make_uri

PROBLEM = "application/problem+json"
BODY_LIMIT = 2**20

FIELDS: list[tuple[dict[str, Any], list[str | int], str, dict[str, Any]]] = [
    ({"prompt": None}, ["prompt"], "missing", {"min": 1, "max": 2000, "actual": 0}),
    ({"prompt": "x" * 2001}, ["prompt"], "too_long", {"max": 2000, "actual": 2001}),
    ({"prompt": ["a"]}, ["prompt"], "wrong_type", {}),
    ({"prompt": "a\0b"}, ["prompt"], "unstorable", {}),
    ({"negative_prompt": "x" * 501}, ["negative_prompt"], "too_long", {"max": 500, "actual": 501}),
    ({"images": []}, ["images"], "missing", {"min": 1, "max": 3, "actual": 0}),
    (
        {"images": ["https://a.example/1"] * 4},
        ["images"],
        "too_many",
        {"min": 1, "max": 3, "actual": 4},
    ),
    ({"images": "https://a.example/1"}, ["images"], "wrong_type", {}),
    ({"images": ["ftp://a.example/1"]}, ["images", 0], "bad_url", {}),
    ({"images": ["/home/me/a.png"]}, ["images", 0], "local_path", {}),
    ({"images": ["https://a.example/\0"]}, ["images", 0], "unstorable", {}),
    ({"images": ["data:image/png;base64,?"]}, ["images", 0], "not_base64", {}),
    ({"images": ["data:image/png;base64,QUFB"]}, ["images", 0], "not_an_image", {}),
    ({"images": ["file_abc"]}, ["images", 0], "bad_file_id", {}),
    (
        {"images": ["https://a.example/1", make_uri(400, 320)]},
        ["images", 1],
        "image_too_small",
        {"min": 384, "max": 5000, "actual": 320},
    ),
    ({"n": 5}, ["n"], "out_of_range", {"min": 1, "max": 4, "actual": 5}),
    ({"n": "2"}, ["n"], "wrong_type", {}),
    ({"n": ""}, ["n"], "wrong_type", {}),
    ({"seed": ""}, ["seed"], "wrong_type", {}),
    ({"size": ""}, ["size"], "bad_size", {}),
    ({"n": 10**30}, ["n"], "wrong_type", {}),
    ({"seed": 2**31}, ["seed"], "out_of_range", {"min": 0, "max": 2**31 - 1, "actual": 2**31}),
    ({"size": "2000*2000"}, ["size"], "size_area", {"max": 1638400, "actual": 4000000}),
    ({"size": "big"}, ["size"], "bad_size", {}),
    ({"watermark": "yes"}, ["watermark"], "wrong_type", {}),
    ({"priority": "urgent"}, ["priority"], "not_a_choice", {}),
    ({"expires_in_seconds": 5}, ["expires_in_seconds"], "out_of_range", {"min": 60, "actual": 5}),
    ({"metadata": {"a": "x" * 501}}, ["metadata", "a"], "too_long", {"max": 500, "actual": 501}),
    ({"metadata": {"a": "\0"}}, ["metadata", "a"], "unstorable", {}),
    ({"metadata": {"a b": "x"}}, ["metadata", "a b"], "bad_key", {"max": 64}),
    ({"model": "wan9"}, ["model"], "model_not_found", {}),
    ({"promt": "x"}, ["promt"], "unknown_field", {}),
]

MALFORMED = [
    b"",
    b"not json",
    b'{"prompt": "a"',
    b'{"prompt": "\xff"}',
    b'{"prompt": "\\ud800"}',
    b'{"prompt": NaN}',
    b"[" * 100_000,
]


@pytest.mark.parametrize(("fields", "loc", "code", "ctx"), FIELDS)
async def test_a_wrong_field_is_named_with_its_limit_and_its_value(
    caller: Caller,
    fields: dict[str, Any],
    loc: list[str | int],
    code: str,
    ctx: dict[str, Any],
) -> None:
    answer = await caller.http.post("/v1/jobs", json=edit(**fields))

    problem = answer.json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, PROBLEM)
    assert (problem["status"], problem["code"]) == (422, "invalid_fields")
    (error,) = problem["errors"]
    assert (error["loc"], error["code"]) == (loc, code)
    assert ctx.items() <= error["ctx"].items()
    assert error["msg"] in problem["detail"]
    assert await caller.backstage.count_jobs(caller.team) == 0


async def test_every_fault_is_told_at_once(caller: Caller) -> None:
    answer = await caller.http.post("/v1/jobs", json={"n": 0, "images": ["x"], "extra": 1})

    locs = [error["loc"] for error in answer.json()["errors"]]
    assert sorted(locs) == [["extra"], ["images", 0], ["n"], ["prompt"]]


async def test_a_problem_says_what_went_wrong_where(caller: Caller) -> None:
    answer = await caller.http.post("/v1/jobs", json=edit(n=5))

    problem = answer.json()
    assert problem["type"] == "urn:dashgate:problem:invalid_fields"
    assert problem["title"] == "Invalid request"
    assert problem["instance"] == "/v1/jobs"
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_body_that_is_no_json_is_malformed(caller: Caller, body: bytes) -> None:
    answer = await caller.http.post("/v1/jobs", content=body)

    assert (answer.status_code, answer.headers["Content-Type"]) == (400, PROBLEM)
    assert answer.json()["code"] == "malformed_body"


@pytest.mark.parametrize("body", [b"[]", b"null", b'"prompt"', b"7"])
async def test_a_body_that_is_no_object_is_malformed(caller: Caller, body: bytes) -> None:
    answer = await caller.http.post("/v1/jobs", content=body)

    assert answer.status_code == 400
    assert "must be a JSON object" in answer.json()["detail"]


async def test_a_body_is_refused_by_its_announced_length(caller: Caller) -> None:
    answer = await caller.http.post("/v1/jobs", content=b" " * (BODY_LIMIT + 1))

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (413, "body_too_large")
    assert str(BODY_LIMIT) in problem["detail"]
    assert str(BODY_LIMIT + 1) in problem["detail"]


async def test_a_body_of_unknown_length_is_refused_where_it_passes_the_limit(
    caller: Caller,
) -> None:
    url = urlsplit(caller.backstage.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {caller.key}\r\n"
    writer.write(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(17):
        writer.write(b"10000\r\n" + b" " * 2**16 + b"\r\n")

    status = await asyncio.wait_for(reader.readline(), 10)

    writer.close()
    assert status.startswith(b"HTTP/1.1 413 ")


async def test_a_refusal_does_not_read_the_body(caller: Caller) -> None:
    url = urlsplit(caller.backstage.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")

    status = await asyncio.wait_for(reader.readline(), 10)

    writer.close()
    assert status.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "route_not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("GET", "/v1/jobs/", 404, "route_not_found"),
        ("GET", "/v1/jobs/7", 422, "invalid_fields"),
        ("GET", "/v1/jobs/0198c0f2-0000-7000-8000-000000000001", 404, "job_not_found"),
        ("GET", "/v1/jobs/0198c0f2-0000-7000-8000-000000000001/pictures/0", 404, "no_picture"),
    ],
)
async def test_what_is_not_there_is_a_problem_too(
    caller: Caller, method: str, path: str, status: int, code: str
) -> None:
    answer = await caller.http.request(method, path)

    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM)
    assert answer.json()["code"] == code
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]


async def test_a_wrong_method_is_told_the_right_ones(caller: Caller) -> None:
    answer = await caller.http.put("/v1/jobs")

    assert answer.headers["Allow"] == "GET, POST"
