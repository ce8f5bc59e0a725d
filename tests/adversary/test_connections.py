"""Connections that are opened and left, heads by the byte, bodies that nobody wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from app.web import connections
from tests.adversary.siege import MEGABYTE, Stranger, Toll, stranger
from tests.api.server import make_settings, running_api
from tests.gateway import Gateway

LIMIT = 12
GIGABYTE = 1024 * MEGABYTE
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"
HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nhost: "
FORM = (
    b"POST /api/v1/uploads/form HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n"
    b"content-type: multipart/form-data; boundary=b\r\n\r\n"
)


@pytest.fixture
async def small_api(database: str, tmp_path: Path) -> AsyncIterator[str]:
    """An API that takes a dozen connections."""
    async with running_api(make_settings(database, tmp_path), connections=LIMIT) as url:
        yield url


@asynccontextmanager
async def crowd(url: str, count: int, said: bytes) -> AsyncIterator[list[Stranger]]:
    """So many connections one after the other, each of which has said that much."""
    async with AsyncExitStack() as stack:
        members = []
        for _ in range(count):
            members.append(await stack.enter_async_context(stranger(url)))
            await members[-1].send(said)
        yield members


@pytest.mark.parametrize("said", [b"", HALF_A_HEAD, HEALTH], ids=["nothing", "half", "idle"])
async def test_who_opens_all_and_waits_keeps_nobody_out(small_api: str, said: bytes) -> None:
    async with crowd(small_api, LIMIT * 3, said), stranger(small_api) as another:
        await another.send(HEALTH)

        assert (await another.head()).startswith(b"HTTP/1.1 200 ")


async def test_the_oldest_that_waits_goes_first(small_api: str) -> None:
    async with crowd(small_api, LIMIT + 1, b"") as members:
        assert await members[0].answer() == b""
        await members[1].send(HEALTH)
        assert (await members[1].head()).startswith(b"HTTP/1.1 200 ")


async def test_one_too_many_is_told_so_while_all_are_at_work(small_api: str) -> None:
    async with crowd(small_api, LIMIT, FORM + b"-"), stranger(small_api) as another:
        answer = await another.answer()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"connections_full"' in answer


@pytest.mark.parametrize(
    ("said", "status"),
    [((), b""), ((HALF_A_HEAD,), b"HTTP/1.1 408 "), ((HEALTH, HALF_A_HEAD), b"HTTP/1.1 408 ")],
    ids=["nothing", "half", "half of the next"],
)
async def test_a_head_that_does_not_come_is_not_waited_for(
    small_api: str, monkeypatch: pytest.MonkeyPatch, said: tuple[bytes, ...], status: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connections, "REFUSED_SECONDS", 0.1)
    async with stranger(small_api) as one:
        for piece in said:
            await one.send(piece)
            if piece is HEALTH:
                await one.head()
                await one.reader.readexactly(len(b'{"status":"ok"}'))
        answer = await one.answer(seconds=5)

    assert answer.startswith(status)


async def test_a_head_by_the_byte_has_no_longer(
    small_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    async with stranger(small_api) as one:
        for byte in HALF_A_HEAD * 10:
            if not await one.send(bytes([byte])) or one.reader.at_eof():
                break
            await asyncio.sleep(0.01)

        assert one.sent_bytes < len(HALF_A_HEAD) * 10


@pytest.mark.parametrize(
    ("path", "status"), [(b"/nowhere", 404), (b"/v1/jobs", 401), (b"/api/v1/uploads/form", 400)]
)
async def test_a_body_that_nobody_wants_is_not_read_to_its_end(
    target: Gateway, toll: Toll, path: bytes, status: int
) -> None:
    head = b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (path, GIGABYTE)
    async with stranger(target.url) as one:
        await one.send(head)
        told = await one.head()
        await one.flood(b"a" * MEGABYTE, limit_bytes=GIGABYTE)

    assert told.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nconnection: close\r\n" in told
    assert one.sent_bytes < connections.LINGER_BYTES * 2


async def test_a_small_body_that_nobody_reads_keeps_the_connection(target: Gateway) -> None:
    async with stranger(target.url) as one:
        for _ in range(3):
            await one.send(b"POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}")
            head = await one.head()
            assert head.startswith(b"HTTP/1.1 404 ")
            assert b"connection: close" not in head
            size = int(head.lower().partition(b"content-length: ")[2].split()[0])
            await one.reader.readexactly(size)
