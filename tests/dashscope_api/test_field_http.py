"""Requests from the field as bytes: what clients, proxies and users put around a body."""

import orjson
import pytest

from tests.dashscope_api.both_doors import DOORS, MODEL, PROMPT, URL, WIRE
from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE, Client
from tests.dashscope_api.raw import exchange

BODIES: dict[str, bytes] = {
    WIRE: orjson.dumps({"model": MODEL, "input": {"prompt": PROMPT, "images": [URL]}}),
    "native": orjson.dumps({"prompt": PROMPT, "images": [URL]}),
}
PATHS = {WIRE: f"/api/v1{IMAGE_TO_IMAGE}", "native": "/v1/jobs"}
ACCEPTED = {WIRE: 200, "native": 202}
NOBODYS_JOB = "0198c0f2-0000-7000-8000-000000000001"


def write_head(door: str, client: Client, *lines: str, version: str = "1.1") -> bytes:
    """A create's head; `Bearer` in small letters, as some clients have it."""
    fixed = (
        f"POST {PATHS[door]} HTTP/{version}",
        f"authorization: bearer {client.seat.key}",
        "x-dashscope-async: Enable",
    )
    return "\r\n".join((*fixed, *lines, "\r\n")).encode()


@pytest.mark.parametrize("door", DOORS)
async def test_body_may_wait_for_the_go_ahead(idle_client: Client, door: str) -> None:
    body = BODIES[door]
    head = write_head(
        door, idle_client, "Host: a", "Expect: 100-continue", f"Content-Length: {len(body)}"
    )

    answer = await exchange(idle_client.gateway.url, head, body)

    assert answer.status == ACCEPTED[door]


@pytest.mark.parametrize("door", DOORS)
async def test_body_may_come_in_chunks(idle_client: Client, door: str) -> None:
    body = BODIES[door]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    head = write_head(door, idle_client, "Host: a", "Transfer-Encoding: chunked")

    answer = await exchange(idle_client.gateway.url, head + chunks + b"0\r\n\r\n")

    assert answer.status == ACCEPTED[door]


@pytest.mark.parametrize("door", DOORS)
async def test_old_proxies_are_served(idle_client: Client, door: str) -> None:
    body = BODIES[door]
    head = write_head(door, idle_client, f"Content-Length: {len(body)}", version="1.0")

    answer = await exchange(idle_client.gateway.url, head + body)

    assert answer.status == ACCEPTED[door]


@pytest.mark.parametrize(
    ("value", "status"), [("enable", 200), ("Enable", 200), ("true", 403), ("disable", 403)]
)
async def test_only_enable_is_asynchronous(idle_client: Client, value: str, status: int) -> None:
    headers = {**ASYNC, "X-DashScope-Async": value, "Content-Type": "application/json"}

    answer = await idle_client.http.post(IMAGE_TO_IMAGE, content=BODIES[WIRE], headers=headers)

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", f"{IMAGE_TO_IMAGE}/", 400, "InvalidParameter"),
        ("POST", f"/{IMAGE_TO_IMAGE}", 400, "InvalidParameter"),
        ("POST", "/services/aigc/text-generation/generation", 400, "InvalidParameter"),
        ("GET", "/public-keys/latest", 400, "InvalidParameter"),
        ("GET", "/tasks/1111/cancel", 400, "UnsupportedOperation"),
        ("POST", f"/tasks/{NOBODYS_JOB}/cancel", 400, "UnsupportedOperation"),
        ("GET", "/tasks?page_size=0", 400, "InvalidParameter"),
        ("GET", "/tasks?page_no=abc", 400, "InvalidParameter"),
        ("GET", "/tasks?start_time=99991231235959", 400, "InvalidParameter"),
        ("GET", "/tasks?unknown=1", 200, None),
    ],
)
async def test_wrong_address_is_answered_in_the_wires_words(
    idle_client: Client, method: str, path: str, status: int, code: str | None
) -> None:
    base = str(idle_client.http.base_url).rstrip("/")
    content = BODIES[WIRE] if method == "POST" else None
    answer = await idle_client.http.request(
        method, f"{base}{path}", content=content, headers=ASYNC
    )

    assert (answer.status_code, answer.json().get("code")) == (status, code)


@pytest.mark.parametrize("task_id", ["undefined", "null", "1111", '"a"', "图", "%00"])
async def test_task_that_is_none_is_unknown(idle_client: Client, task_id: str) -> None:
    body = await idle_client.query(task_id)

    assert body["output"]["task_status"] == "UNKNOWN"


@pytest.mark.parametrize("path", ["/v1/jobs/", "/v1/images/edits", "/v1/chat/completions"])
async def test_path_that_is_none_is_named(idle_client: Client, path: str) -> None:
    url = f"{idle_client.gateway.url}{path}"

    answer = await idle_client.http.post(url, content=BODIES["native"])

    assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")
    assert path in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, POST"),
        ("DELETE", "/v1/jobs", "GET, POST"),
        ("PATCH", f"/v1/jobs/{NOBODYS_JOB}", "GET"),
        ("GET", f"/v1/jobs/{NOBODYS_JOB}/cancel", "POST"),
        ("POST", f"/v1/jobs/{NOBODYS_JOB}/pictures/0", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("POST", "/docs", "GET"),
    ],
)
async def test_wrong_method_is_told_every_method_that_is_served(
    idle_client: Client, method: str, path: str, allowed: str
) -> None:
    answer = await idle_client.http.request(method, f"{idle_client.gateway.url}{path}")

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed
