"""Each parameter of each route, filled with what nobody should send: never an answer of 5xx."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.factories import Backstage, Caller, edit
from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from tests.emulator.client import make_body

NO_JOB = "00000000-0000-7000-8000-000000000000"
TEXTS = (
    "",
    " ",
    "%00",
    "a%00b",
    "%FF",
    "%ED%A0%80",
    "%F0%9F%8E%A8",
    "..%2f..%2fx",
    "%27%22",
    "%25",
    "-1",
    "0",
    "01",
    "1e400",
    "1e3",
    "inf",
    "-inf",
    "nan",
    "NaN",
    "null",
    "true",
    "9" * 400,
    "99999999999999999999",
    "-99999999999999999999",
    "2147483648",
    "%D9%A3",
    "%C2%B2",
    "1.5",
    "00010101000000",
    "99991231235959",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00%2B14:00",
    "9999-12-31T23:59:59-14:00",
    NO_JOB,
    "x" * 4_000,
)
HEADERS = (
    b"",
    b" ",
    b"\xff\xfe",
    b"caf\xe9",
    b"\xb2",
    b"k" * 5_000,
    b"wait=inf",
    b"wait=nan",
    b"wait=-1",
    b"wait=1e400",
    b"wait=" + b"9" * 400,
    b"wait=0.0000001",
    b"wait=",
    b"wait=1;;,,",
    b'"',
    b'""',
    b'"*',
    b"*",
    b"W/",
    b"Bearer",
    b"Basic eA==",
    b"bytes=0-18446744073709551616",
    b"-1",
    b"1e9",
    b"multipart/form-data",
    b"multipart/form-data; boundary=",
    b"\t",
    b"a\tb",
)
HEADER_NAMES = (
    b"Idempotency-Key",
    b"Prefer",
    b"If-None-Match",
    b"Authorization",
    b"X-API-Key",
    b"X-DashScope-Async",
    b"X-DashScope-OssResourceResolve",
    b"x-dashscope-sdk-session-id",
    b"Content-Type",
    b"Range",
    b"X-Request-Id",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    1e308,
    2**31,
    2**63,
    2**64 - 1,
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ud800",
    "x" * 100_000,
    [],
    [[]],
    {},
    {"": ""},
    {"a": "\x00"},
    {"\x00": "a"},
    {"a": {"b": 1}},
    [None],
    ["\x00"],
    ["data:image/png;base64,"],
    ["data:,"],
    ["file_" + "0" * 32],
    ["file_\x00"],
    ["oss://"],
    ["oss://\x00"],
    ["oss://" + "k" * 5_000],
    ["https://["],
    ["https://a\x00b/"],
    ["http://\ud800/"],
    [1],
    "768*768",
    "9" * 400 + "*1",
    "\x00*\x00",
)
PATHS = (
    ("GET", "/v1/jobs/{}"),
    ("POST", "/v1/jobs/{}/cancel"),
    ("GET", "/v1/jobs/{}/pictures/0"),
    ("GET", f"/v1/jobs/{NO_JOB}/pictures/{{}}"),
    ("HEAD", f"/v1/jobs/{NO_JOB}/pictures/{{}}"),
    ("GET", f"/v1/jobs/{NO_JOB}/pictures/0?expires={{}}&signature=a"),
    ("GET", f"/v1/jobs/{NO_JOB}/pictures/0?expires=1&signature={{}}"),
    ("POST", "/v1/jobs?dry_run={}"),
    ("POST", "/v1/jobs?{}=1"),
    ("GET", "/api/v1/tasks/{}"),
    ("POST", "/api/v1/tasks/{}/cancel"),
    ("GET", "/api/v1/tasks/{}/cancel"),
    ("GET", "/api/v1/uploads?action={}&model=wan2.5-i2i-preview"),
    ("GET", "/api/v1/uploads?action=getPolicy&model={}"),
)
ROUTES = (
    ("POST", "/v1/jobs", edit()),
    ("GET", f"/v1/jobs/{NO_JOB}", None),
    ("POST", f"/v1/jobs/{NO_JOB}/cancel", None),
    ("GET", f"/v1/jobs/{NO_JOB}/pictures/0", None),
    ("POST", f"/api/v1{IMAGE_TO_IMAGE}", make_body()),
    ("POST", f"/api/v1{TEXT_TO_IMAGE}", make_body()),
    ("GET", f"/api/v1/tasks/{NO_JOB}", None),
    ("POST", f"/api/v1/tasks/{NO_JOB}/cancel", None),
    ("GET", "/api/v1/uploads", None),
    ("POST", "/api/v1/uploads/form", None),
)


class Wire:
    """One connection on which anything may be written."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(
        self, method: str, path: str, *headers: tuple[bytes, bytes], body: bytes = b""
    ) -> int:
        """The status of the answer; the connection is for one request only."""
        lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), b"Host: a", b"Connection: close"]
        lines += [name + b": " + value for name, value in headers]
        lines += [f"Content-Length: {len(body)}".encode(), b"", body]
        self._writer.write(b"\r\n".join(lines))
        status = await asyncio.wait_for(self._reader.readline(), 20)
        self._writer.close()
        return int(status.split()[1])


@asynccontextmanager
async def wired(url: str) -> AsyncIterator[Wire]:
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


async def ask(caller: Caller, method: str, path: str, *headers: Any, body: bytes = b"") -> int:
    known = {name.lower() for name, _ in headers}
    usual = [
        (name, value)
        for name, value in (
            (b"Authorization", f"Bearer {caller.key}".encode()),
            (b"X-DashScope-Async", b"enable"),
        )
        if name.lower() not in known
    ]
    async with wired(caller.backstage.url) as wire:
        return await wire.ask(method, path, *usual, *headers, body=body)


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_no_path_and_no_query_is_answered_5xx(
    caller: Caller, method: str, path: str
) -> None:
    body = orjson.dumps(edit()) if method == "POST" else b""
    texts = [text.replace(" ", "%20") for text in TEXTS]
    statuses = {
        text[:60]: await ask(caller, method, path.format(text), body=body) for text in texts
    }

    assert {text: status for text, status in statuses.items() if status >= 500} == {}


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_no_header_is_answered_5xx(
    caller: Caller, method: str, path: str, body: Any
) -> None:
    content = b"" if body is None else orjson.dumps(body)
    statuses = {
        (name, value[:30]): await ask(caller, method, path, (name, value), body=content)
        for name in HEADER_NAMES
        for value in HEADERS
        if not (name == b"Prefer" and value in {b"wait=" + b"9" * 400})
    }

    assert {sent: status for sent, status in statuses.items() if status >= 500} == {}


def _native_bodies() -> Iterator[Any]:
    for name in (
        "prompt", "images", "negative_prompt", "n", "size", "seed", "watermark", "prompt_extend",
        "metadata", "priority", "expires_in_seconds", "model", "\x00", "unknown",
    ):  # fmt: skip
        for value in VALUES:
            yield edit(**{name: value})


def _wire_bodies() -> Iterator[Any]:
    for part, names in (
        ("input", ("prompt", "images", "negative_prompt", "\x00")),
        ("parameters", ("n", "size", "seed", "watermark", "prompt_extend", "\x00")),
    ):
        for name in names:
            for value in VALUES:
                body = make_body()
                body[part] = body[part] | {name: value}
                yield body
    for name in ("model", "input", "parameters"):
        for value in VALUES:
            yield make_body() | {name: value}


@pytest.mark.parametrize(
    ("path", "bodies"),
    [("/v1/jobs", _native_bodies), ("/v1/jobs?dry_run=true", _native_bodies),
     (f"/api/v1{IMAGE_TO_IMAGE}", _wire_bodies)],
)  # fmt: skip
async def test_no_field_is_answered_5xx(caller: Caller, path: str, bodies: Any) -> None:
    wrong = []
    for body in bodies():
        content = _dump(body)
        answer = await caller.http.post(path, content=content, headers=ASYNC)
        if answer.status_code >= 500:
            wrong.append((content[:200], answer.status_code, answer.text[:200]))

    assert wrong == []


def _dump(body: Any) -> bytes:
    """Also what JSON can say and Python's own strings cannot."""
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"null", b"[]", b"1", b'"a"', b"{", b"\xff", b"{}" * 2, b"[" * 100_000,
     b'{"a":' * 5_000, b'{"n": 1e999}', b'{"n": NaN}', b"9" * 5_000],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/jobs", f"/api/v1{IMAGE_TO_IMAGE}"])
async def test_no_body_is_answered_5xx(caller: Caller, path: str, content: bytes) -> None:
    answer = await caller.http.post(path, content=content, headers=ASYNC)

    assert 400 <= answer.status_code < 500, answer.text


async def test_stored_texts_with_every_code_point_can_be_read_again(caller: Caller) -> None:
    text = "".join(map(chr, (*range(1, 0x250), 0x2028, 0xFEFF, 0xFFFD, 0x1F3A8, 0x10FFFF)))
    answer = await caller.http.post("/v1/jobs", json=edit(prompt=text[:800]))

    assert answer.status_code < 500, answer.text
    if answer.status_code == 202:
        assert (await caller.read(answer.json()["id"]))["prompt"] == answer.json()["prompt"]


@pytest.fixture(scope="module")
def loop_of_its_own() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_random_paths_headers_and_keys_are_never_answered_5xx(
    backstage: Backstage, loop_of_its_own: asyncio.AbstractEventLoop
) -> None:
    printable = st.binary(max_size=300).map(
        lambda raw: bytes(byte for byte in raw if byte not in b"\r\n\x00" and byte >= 0x20)
    )

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        route=st.sampled_from(ROUTES),
        name=st.sampled_from(HEADER_NAMES),
        value=printable,
        raw=st.binary(max_size=60),
    )
    def ask_once(route: Any, name: bytes, value: bytes, raw: bytes) -> None:
        method, path, body = route
        content = b"" if body is None else orjson.dumps(body)
        quoted = "".join(f"%{byte:02x}" for byte in raw)

        async def send() -> int:
            async with wired(backstage.url) as wire:
                return await wire.ask(method, f"{path}?a={quoted}", (name, value), body=content)

        assert loop_of_its_own.run_until_complete(send()) < 500

    ask_once()
