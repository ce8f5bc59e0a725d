"""Heads without an end, and what else comes around a body."""

import orjson
import pytest

from app.web.connections import HEAD_BYTES_LIMIT, URL_BYTES_LIMIT
from tests.adversary.siege import MEGABYTE, Toll, stranger
from tests.gateway import Gateway

FLOOD_BYTES = 60 * MEGABYTE
SWALLOWED_BYTES = 8 * MEGABYTE
"""What socket buffers take of what nobody reads."""


@pytest.mark.parametrize(
    ("begin", "piece", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\n", b"x-more: and more\r\n" * 500, 431, "head_too_long"),
        (b"GET / HTTP/1.1\r\nx-long: ", b"a" * 8_192, 431, "head_too_long"),
        (b"GET / HTTP/1.1\r\n", b"a" * 8_192, 431, "head_too_long"),
        (b"GET /", b"a" * 8_192, 414, "url_too_long"),
        (b"GET /?", b"a=1&" * 2_048, 414, "url_too_long"),
    ],
    ids=["lines", "a value", "a name", "a path", "a query"],
)
async def test_one_without_an_end_is_refused_at_its_limit(
    target: Gateway, toll: Toll, begin: bytes, piece: bytes, status: int, code: str
) -> None:
    async with stranger(target.url) as one:
        await one.send(begin)
        await one.flood(piece, limit_bytes=FLOOD_BYTES)
        answer = await one.answer()

    assert one.sent_bytes < FLOOD_BYTES or answer
    if answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert orjson.loads(body)["code"] == code


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: %s\r\n\r\n" % (b"a" * HEAD_BYTES_LIMIT), 431),
        (b"GET /healthz?%s HTTP/1.1\r\nhost: a\r\n\r\n" % (b"a" * URL_BYTES_LIMIT), 414),
        (
            b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: %s\r\n\r\n"
            % (b"a" * (HEAD_BYTES_LIMIT // 2)),
            200,
        ),
        (b"GET /healthz?%s HTTP/1.1\r\nhost: a\r\n\r\n" % (b"a" * (URL_BYTES_LIMIT // 2)), 200),
    ],
)
async def test_one_that_comes_at_once_has_the_same_limits(
    target: Gateway, toll: Toll, request_bytes: bytes, status: int
) -> None:
    async with stranger(target.url) as one:
        await one.send(request_bytes)

        assert (await one.head()).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"0\r\n", b"x-trailer: more\r\n" * 500),
        (b"0\r\nx-trailer: ", b"a" * 8_192),
        (b"1;", b"a" * 8_192),
    ],
    ids=["trailers", "a trailer", "an extension"],
)
async def test_what_stands_around_a_body_has_an_end_too(
    target: Gateway, toll: Toll, begin: bytes, piece: bytes
) -> None:
    head = b"POST /v1/jobs HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    async with stranger(target.url) as one:
        await one.send(head + begin)
        await one.flood(piece, limit_bytes=FLOOD_BYTES)
        await one.answer()

    assert one.sent_bytes < SWALLOWED_BYTES


async def test_requests_on_one_connection_go_on_as_before(target: Gateway) -> None:
    """Also when they come together, or cut at any place."""
    request = b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: %s\r\n\r\n" % (b"a" * 30_000)
    async with stranger(target.url) as one:
        await one.send(request * 3 + request[:17])
        await one.send(request[17:])
        for _ in range(4):
            assert (await one.head()).startswith(b"HTTP/1.1 200 ")
            await one.reader.readexactly(len(b'{"status":"ok"}'))
