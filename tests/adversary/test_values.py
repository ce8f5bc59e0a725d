"""Requests whose values are many, odd or in odd places: refused in short, and no 500."""

import asyncio
import base64
import json
import struct
import zlib
from collections.abc import Awaitable, Callable

import httpx
import pytest

from app.web.bodies import PARSED_AT_ONCE_BYTES
from tests.adversary.siege import MEGABYTE, Toll, stranger
from tests.api.server import open_client
from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE
from tests.gateway import Gateway

CREATES = ("/v1/jobs", "/v1/jobs?dry_run=true", f"/api/v1{IMAGE_TO_IMAGE}")
PNG_URI = "data:image/png;base64,"

Post = Callable[[bytes], Awaitable[httpx.Response]]


@pytest.mark.parametrize("path", CREATES)
@pytest.mark.parametrize("item", [b"[],", b"{},", b"0,", b'"",'])
async def test_a_body_of_many_values_is_refused_before_it_is_parsed(
    target: Gateway, toll: Toll, path: str, item: bytes
) -> None:
    body = b'{"x":[' + item * (24 * MEGABYTE // len(item)) + b"0]}"
    async with open_client(target.url, target.key) as http:
        answer = await http.post(path, content=body, headers=ASYNC)

    assert answer.status_code == 400
    assert "more than 20000 values" in answer.text


async def test_small_pictures_that_are_slow_to_inspect_stay_off_the_event_loop(
    target: Gateway, toll: Toll
) -> None:
    profile = make_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2**20), 9))
    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", 512, 512, 8, 2, 0, 0, 0))
    picture = b"\x89PNG\r\n\x1a\n" + header + profile * 180 + make_chunk(b"IDAT", b"")
    uri = PNG_URI + base64.b64encode(picture).decode()
    body = json.dumps({"prompt": "p", "images": [uri]}).encode()
    assert PARSED_AT_ONCE_BYTES < len(body) < 256 * 1024

    async with open_client(target.url, target.key) as http:
        answers = await asyncio.gather(
            *(http.post("/v1/jobs?dry_run=true", content=body) for _ in range(10))
        )

    assert {answer.status_code for answer in answers} <= {200, 422}
    assert toll.longest_silence < 0.3


def make_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


@pytest.mark.parametrize("path", ["/api/v1/uploads/form", "/v1/jobs", f"/api/v1{IMAGE_TO_IMAGE}"])
@pytest.mark.parametrize("length", ["0" * 5_000 + "2", "9" * 5_000, "9" * 19])
async def test_a_length_of_many_digits_is_a_number(
    target: Gateway, path: str, length: str
) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nX-DashScope-Async: enable\r\n"
        f"Authorization: Bearer {target.key}\r\n"
        f"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {length}\r\n\r\n{{}}"
    )
    async with stranger(target.url) as one:
        await one.send(head.encode())
        answer = await one.head()

    assert answer.split()[1] in (b"400", b"403", b"413", b"422"), answer


@pytest.mark.parametrize("value", ["2026", "20261128", "0.5", "-1", "1e9", "99999999999"])
@pytest.mark.parametrize("name", ["created_after", "created_before"])
async def test_a_number_is_no_time(target: Gateway, name: str, value: str) -> None:
    async with open_client(target.url, target.key) as http:
        answer = await http.get("/v1/jobs", params={name: value})

    assert answer.status_code == 422
    assert "2026-11-28T12:00:00Z" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/uploads?action={long}&model=wan2.5-i2i-preview",
        "/api/v1/uploads?action=getPolicy&model={long}",
        "/v1/jobs/0198c0f2-7d3a-7c11-b2a5-7c6e5d4f3a21/pictures/{long}",
    ],
)
async def test_a_long_value_is_repeated_in_short(target: Gateway, path: str) -> None:
    async with open_client(target.url, target.key) as http:
        answer = await http.get(path.format(long="a" * 15_000))

    assert answer.status_code in (400, 404)
    assert len(answer.content) < 2_000


async def test_a_dry_run_refuses_the_idempotency_key_that_the_create_would(
    target: Gateway,
) -> None:
    body = {"prompt": "p", "images": ["https://img.example/a.png"]}
    headers = {"Idempotency-Key": "k" * 256}
    async with open_client(target.url, target.key) as http:
        dry = await http.post("/v1/jobs?dry_run=true", json=body, headers=headers)
        real = await http.post("/v1/jobs", json=body, headers=headers)

    assert dry.status_code == real.status_code >= 400
    assert dry.json()["code"] == real.json()["code"]
