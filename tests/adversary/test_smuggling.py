"""Messages that end in two places: whatever stands behind one, it is a request or it is not."""

import asyncio
import re
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from tests.adversary.siege import Stranger, Toll, stranger
from tests.dashscope_api.holds import holding_acceptance
from tests.gateway import Gateway, Seat

PATIENCE_SECONDS = 10.0
QUIET_SECONDS = 0.3
"""How long nothing comes until that is taken for all: only where the gateway may keep the line."""
JSON = b'{"prompt": "smuggled", "images": ["https://example.com/cat.png"]}'
HOST = b"Host: a\r\n"
POST = b"POST /nowhere HTTP/1.1\r\n" + HOST
GET = b"GET /healthz HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
)
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_COUNT = text("select count(*) from jobs where team_id = :team_id")


@dataclass(frozen=True, slots=True)
class Got:
    """What a connection brought: its answers in order, and how many jobs it made."""

    statuses: list[int]
    jobs_count: int
    content: bytes = b""


def make_create(seat: Seat, *, headers: bytes = b"", is_last: bool = True) -> bytes:
    """A whole request that makes a job, if it is one; the connection ends with it."""
    last = b"Connection: close\r\n" if is_last else b""
    return (
        b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n"
        b"%s%sContent-Length: %d\r\n\r\n%s" % (seat.key.encode(), headers, last, len(JSON), JSON)
    )


async def exchange(target: Gateway, seat: Seat, *pieces: bytes, answers: int = 1) -> Got:
    """Send the pieces, each when the gateway has answered what came before, or keeps silent."""
    content = b""
    async with stranger(target.url) as one:
        for number, piece in enumerate(pieces, 1):
            await one.send(piece)
            wanted = min(number, answers) if number < len(pieces) else answers
            content += await read_all(one, wanted - len(_STATUS.findall(content)))
    statuses = [int(status) for status in _STATUS.findall(content)]
    return Got(statuses, await count_jobs(target, seat), content)


async def read_all(one: Stranger, answers: int) -> bytes:
    """Until the gateway closes, or keeps silent after so many answers."""
    content = b""
    clock = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(PATIENCE_SECONDS if answers > 0 else QUIET_SECONDS) as limit:
            while piece := await one.reader.read(2**16):
                content += piece
                if len(_STATUS.findall(content)) >= answers:
                    limit.reschedule(clock() + QUIET_SECONDS)
    except TimeoutError:
        pass
    return content


async def count_jobs(target: Gateway, seat: Seat) -> int:
    async with target.sessions() as session:
        return int(await session.scalar(_COUNT, {"team_id": seat.team_id}) or 0)


REFUSED = {
    "a length and chunks": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "a length and no coding": POST + b"Content-Length: 2\r\nTransfer-Encoding: identity\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 200\r\n\r\n{}",
    "one length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "equal lengths in a list": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "lengths in a list": POST + b"Content-Length: 2, 200\r\n\r\n{}",
    "a length with a plus": POST + b"Content-Length: +2\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -2\r\n\r\n{}",
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "an empty length": POST + b"Content-Length:\r\n\r\n",
    "a length with a space": POST + b"Content-Length: 2 2\r\n\r\n{}",
    "a length with a fraction": POST + b"Content-Length: 2.0\r\n\r\n{}",
    "a length beyond 64 bits": POST + b"Content-Length: 18446744073709551618\r\n\r\n{}",
    "a length behind a vertical tab": POST + b"Content-Length: \x0b2\r\n\r\n{}",
    "a space before the colon of a length": POST + b"Content-Length : 2\r\n\r\n{}",
    "a length on a bare line feed": POST + b"X: y\nContent-Length: 2\r\n\r\n{}",
    "a length on a bare carriage return": POST + b"X: y\rContent-Length: 2\r\n\r\n{}",
    "a length on a folded line": POST + b"X: y\r\n Content-Length: 2\r\n\r\n{}",
    "another coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + END,
    "chunked before another coding": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + END,
    "chunked before identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + END,
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + END,
    "chunked in two lines": POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + END,
    "chunked, then a cow": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n" + END
    ),
    "chunked in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n' + END,
    "chunked with a parameter": POST + b"Transfer-Encoding: chunked;a=b\r\n\r\n" + END,
    "chunked behind a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + END,
    "chunked before a tab": POST + b"Transfer-Encoding: chunked\t\r\n\r\n" + END,
    "chunked before a zero byte": POST + b"Transfer-Encoding: chunked\x00\r\n\r\n" + END,
    "chunked before a long space": POST + b"Transfer-Encoding: chunked\xa0\r\n\r\n" + END,
    "chunked on a folded line": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + END,
    "a space before the coding": POST + b" Transfer-Encoding: chunked\r\n\r\n" + END,
    "a space before its colon": POST + b"Transfer-Encoding : chunked\r\n\r\n" + END,
    "a coding on a bare line feed": POST + b"X: y\nTransfer-Encoding: chunked\r\n\r\n" + END,
    "bare line feeds": b"POST /nowhere HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}",
    "a bare line feed at the end": POST + b"Content-Length: 2\r\n\n{}",
    "two carriage returns": POST + b"X: y\r\r\nContent-Length: 2\r\n\r\n{}",
    "a line without a colon": POST + b"nothing\r\n\r\n",
    "a line without a name": POST + b": nothing\r\n\r\n",
    "a name with a space": POST + b"X Y: z\r\n\r\n",
    "a name of other letters": POST + b"X\xff: z\r\n\r\n",
    "a zero byte in a value": POST + b"X: a\x00b\r\n\r\n",
    "a chunk of negative size": CHUNKED + b"-2\r\n{}\r\n" + END,
    "a chunk with a plus": CHUNKED + b"+2\r\n{}\r\n" + END,
    "a chunk with a prefix": CHUNKED + b"0x2\r\n{}\r\n" + END,
    "a chunk with an underscore": CHUNKED + b"0_2\r\n{}\r\n" + END,
    "a chunk beyond 64 bits": CHUNKED + b"10000000000000002\r\n{}\r\n" + END,
    "a chunk behind a space": CHUNKED + b" 2\r\n{}\r\n" + END,
    "a chunk before a space": CHUNKED + b"2 \r\n{}\r\n" + END,
    "a chunk without a size": CHUNKED + b"\r\n{}\r\n" + END,
    "a chunk longer than it says": CHUNKED + b"2\r\n{}{}\r\n" + END,
    "a chunk's size on a bare line feed": CHUNKED + b"2\n{}\r\n" + END,
    "a chunk's end on a bare line feed": CHUNKED + b"2\r\n{}\n" + END,
    "the last chunk on bare line feeds": CHUNKED + b"2\r\n{}\r\n0\n\n",
    "an extension on a bare line feed": CHUNKED + b"2;a\n{}\r\n" + END,
    "an extension that opens a quote": CHUNKED + b'2;a="\r\n{}\r\n' + END,
    "a length among the trailers": CHUNKED + b"0\r\nContent-Length: 2\r\n\r\n{}",
    "a coding among the trailers": CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n" + END,
    "a target without a slash": b"GET healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target that is a host": b"GET other:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT other:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space before the method": b" " + GET + b"\r\n",
    "a small method": b"get /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method of others": b"BREW /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "tabs for spaces": b"GET\t/healthz\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "a zero byte in the path": b"GET /healthz\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a version to come": b"GET /healthz HTTP/1.2\r\n" + HOST + b"\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "the beginning of TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"x" * 160,
}


@pytest.mark.parametrize("message", REFUSED.values(), ids=REFUSED)
async def test_a_message_of_two_meanings_is_refused_with_what_follows(
    target: Gateway, message: bytes
) -> None:
    seat = await target.make_seat()

    got = await exchange(target, seat, message + make_create(seat))

    assert (got.statuses, got.jobs_count) == ([400], 0)
    assert b"\r\nconnection: close\r\n" in got.content


FRAMED = {
    "a length": (POST + b"Content-Length: 2\r\n\r\n{}", 404),
    "a length with zeros": (POST + b"Content-Length: 002\r\n\r\n{}", 404),
    "a length behind a tab": (POST + b"Content-Length:\t2\r\n\r\n{}", 404),
    "chunks": (CHUNKED + b"2\r\n{}\r\n" + END, 404),
    "chunks in other letters": (POST + b"tRANSFER-eNCODING: ChUnKeD\r\n\r\n" + END, 404),
    "chunks with an extension": (CHUNKED + b'2;a="b"\r\n{}\r\n' + END, 404),
    "chunks behind another coding": (
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + END,
        404,
    ),
    "a trailer": (CHUNKED + b"0\r\nX: y\r\n\r\n", 404),
    "a name that only looks like a length": (POST + b"Content_Length: 500\r\n\r\n", 404),
    "a name that only looks like a coding": (POST + b"Transfer_Encoding: chunked\r\n\r\n", 404),
    "a length called hop by hop": (
        POST + b"Connection: Content-Length\r\nContent-Length: 2\r\n\r\n{}",
        404,
    ),
    "no key, but the whole body": (
        b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}",
        401,
    ),
    "another host in the target": (b"GET http://other/healthz HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "dots in the path": (b"GET /docs/%2e%2e/healthz HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "empty lines before": (b"\r\n\r\n" + GET + b"\r\n", 200),
}


@pytest.mark.parametrize(("message", "status"), FRAMED.values(), ids=FRAMED)
async def test_a_message_of_one_meaning_ends_where_it_says(
    target: Gateway, message: bytes, status: int
) -> None:
    seat = await target.make_seat()

    got = await exchange(target, seat, message + make_create(seat), answers=2)

    assert (got.statuses, got.jobs_count) == ([status, 202], 1)


ENDED = {
    "it says so": (GET + b"Connection: close\r\n\r\n", 200),
    "HTTP/1.0": (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    "HTTP/1.0 that would stay": (b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200),
    "HTTP/1.0 in chunks": (
        b"POST /nowhere HTTP/1.0\r\nConnection: keep-alive\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + END,
        404,
    ),
    "no version": (b"GET /healthz\r\n\r\n", 400),
    "another version's words": (b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n", 200),
}


@pytest.mark.parametrize(("message", "status"), ENDED.values(), ids=ENDED)
async def test_nothing_is_read_behind_the_last_message(
    target: Gateway, message: bytes, status: int
) -> None:
    seat = await target.make_seat()

    got = await exchange(target, seat, message + make_create(seat))

    assert (got.statuses, got.jobs_count) == ([status], 0)


@pytest.mark.parametrize(
    ("begin", "status"),
    [
        (b"POST /v1/jobs HTTP/1.1\r\n", 401),
        (b"POST /v1/jobs/nonsense/cancel HTTP/1.1\r\n", 401),
        (b"POST /api/v1/uploads/form HTTP/1.1\r\n", 400),
        (b"POST /nowhere HTTP/1.1\r\n", 404),
        (b"DELETE /v1/jobs HTTP/1.1\r\n", 405),
        (b"GET /healthz HTTP/1.1\r\n", 200),
        (b"HEAD /healthz HTTP/1.1\r\n", 200),
    ],
)
@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_a_request_within_a_body_is_none(
    target: Gateway, begin: bytes, status: int, framing: str
) -> None:
    seat = await target.make_seat()
    hidden = make_create(seat)
    body = (
        b"Content-Length: %d\r\n\r\n%s" % (len(hidden), hidden)
        if framing == "length"
        else b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%s" % (len(hidden), hidden, END)
    )
    last = GET + b"Connection: close\r\n\r\n"

    got = await exchange(target, seat, begin + HOST + body + last, answers=2)

    assert (got.statuses, got.jobs_count) == ([status, 200], 0)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 99999999\r\n\r\n", 413),
        (b"Content-Length: 18446744073709551615\r\n\r\n", 413),
        (b"X-API-Key: another\r\nContent-Length: 99999999\r\n\r\n", 400),
    ],
)
async def test_the_body_of_a_refused_request_is_never_taken_for_requests(
    target: Gateway, head: bytes, status: int
) -> None:
    """It is announced as longer than what comes: the rest of the connection is its."""
    seat = await target.make_seat()
    begin = (
        b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n" % seat.key.encode()
    )

    got = await exchange(target, seat, begin + head + make_create(seat), make_create(seat))

    assert (got.statuses, got.jobs_count) == ([status], 0)


async def test_a_chunk_that_never_ends_swallows_what_follows(target: Gateway) -> None:
    seat = await target.make_seat()

    got = await exchange(
        target, seat, CHUNKED + b"ffffffffffffffff\r\n{}\r\n" + END + make_create(seat)
    )

    assert (got.statuses, got.jobs_count) == ([404], 0)


@pytest.mark.parametrize("wish", [UPGRADE, WEBSOCKET], ids=["h2c", "websocket"])
async def test_a_wish_for_another_protocol_is_not_heard(target: Gateway, wish: bytes) -> None:
    seat = await target.make_seat()

    got = await exchange(target, seat, GET + wish + b"\r\n", make_create(seat), answers=2)

    assert (got.statuses, got.jobs_count) == ([200, 202], 1)


@pytest.mark.parametrize("wish", [UPGRADE, WEBSOCKET], ids=["h2c", "websocket"])
async def test_the_body_of_one_that_wishes_for_another_protocol_is_its_body(
    target: Gateway, wish: bytes
) -> None:
    """Java's own HTTP client wishes so in its first request, unless it is told otherwise."""
    seat = await target.make_seat()

    got = await exchange(target, seat, make_create(seat, headers=wish, is_last=False))

    assert (got.statuses, got.jobs_count) == ([202], 1)


@pytest.mark.parametrize("wish", [UPGRADE, WEBSOCKET], ids=["h2c", "websocket"])
async def test_a_request_within_the_body_of_such_a_one_is_none(
    target: Gateway, wish: bytes
) -> None:
    seat = await target.make_seat()
    hidden = make_create(seat)
    head = POST + wish + b"Content-Length: %d\r\n\r\n" % len(hidden)

    got = await exchange(target, seat, head, hidden)

    assert (got.statuses, got.jobs_count) == ([404], 0)


@pytest.mark.parametrize("name", [b"Authorization: Bearer ", b"X-API-Key: "])
async def test_a_key_behind_the_body_opens_nothing(target: Gateway, name: bytes) -> None:
    """RFC 9110, 6.5.1: what comes late has passed every check on its way."""
    seat = await target.make_seat()
    body = b"%x\r\n%s\r\n0\r\n" % (len(JSON), JSON)
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

    got = await exchange(target, seat, head + body + name + seat.key.encode() + b"\r\n\r\n")

    assert (got.statuses, got.jobs_count) == ([401], 0)


@pytest.mark.parametrize(
    "head",
    [b"", b"Host: a\r\nHost: b\r\n", b"Host: a b\r\n", b"Host: a@b\r\n", b"Host: a/b\r\n"],
    ids=["none", "two", "a space", "a user", "a path"],
)
async def test_one_host_is_asked_for(target: Gateway, head: bytes) -> None:
    """RFC 9112, 3.2: links in answers begin with it, so two readers must not read two."""
    got = await exchange(
        target, await target.make_seat(), b"GET /healthz HTTP/1.1\r\n%s\r\n" % head
    )

    assert got.statuses == [400]


@pytest.mark.parametrize(
    "lines",
    [
        b"Authorization: Bearer %s\r\nAuthorization: Bearer another",
        b"Authorization: Bearer another\r\nAuthorization: Bearer %s",
        b"Authorization: Bearer %s\r\nAuthorization: Basic YTpi",
        b"X-API-Key: %s\r\nX-API-Key: another",
        b"X-API-Key: another\r\nX-API-Key: %s",
    ],
)
async def test_two_credentials_are_ambiguous(target: Gateway, lines: bytes) -> None:
    """As with `Authorization` beside `X-API-Key`: a proxy may have looked at the other one."""
    seat = await target.make_seat()
    head = b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\n" + lines % seat.key.encode()

    got = await exchange(target, seat, head + b"\r\n\r\n")

    assert got.statuses == [400]


async def test_a_job_that_is_being_accepted_is_not_answered_400(target: Gateway) -> None:
    """What was sent behind it is refused after it, or not at all."""
    seat = await target.make_seat()
    async with stranger(target.url) as one, holding_acceptance(target.database_url) as hold:
        await one.send(make_create(seat, headers=b"Idempotency-Key: k\r\n", is_last=False))
        await hold.wait_for_creates()
        await one.send(b"\x00 garbage\r\n\r\n")
        early = await read_all(one, 0)

    assert b"HTTP/1.1 400 " not in early


async def test_a_refusal_is_told_as_every_other(target: Gateway) -> None:
    got = await exchange(target, await target.make_seat(), REFUSED["two lengths"])

    assert b"\r\ncontent-type: application/problem+json\r\n" in got.content


async def test_wishes_one_behind_the_other_are_requests_and_nothing_piles_up(
    target: Gateway, toll: Toll
) -> None:
    """Thousands in one packet: no depth, no copy of the rest for each."""
    count = 3_000
    async with stranger(target.url) as one:
        await one.send((GET + UPGRADE + b"\r\n") * count)
        for _ in range(count):
            assert (await one.head()).startswith(b"HTTP/1.1 200 ")
            await one.reader.readexactly(len(b'{"status":"ok"}'))
