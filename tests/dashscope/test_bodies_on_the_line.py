"""A create's body on a real line: slow, cut off, answered early, over TLS and both event loops."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from app.dashscope import line
from app.dashscope.outcomes import Accepted, CreateOutcome, NotSent, OutcomeUnknown, Refused
from app.dashscope.payloads import DATA_URI_BYTES_LIMIT, IMAGE_BYTES_LIMIT, IMAGES_LIMIT
from app.dashscope.sending import CREATE_BYTES_LIMIT, allow
from tests.dashscope.upstreams import MODEL, PATIENCE_SECONDS, TASK, calling
from tests.media.wire import reply
from tests.waiting import wait_until

SOON = 0.3
THROTTLED = b'{"code":"Throttling.RateQuota","message":"slower","request_id":"r-9"}'
REFUSAL = reply("429 Too Many Requests", THROTTLED)

Reader = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


HEAVY = "x" * 3_000_000
"""More than any buffer on the way takes in."""


async def create_heavy(
    port: int,
    *,
    scheme: str = "http",
    bytes_per_second: float = 1e6,
    timeout_seconds: float = PATIENCE_SECONDS,
) -> CreateOutcome:
    async with calling(f"{scheme}://127.0.0.1:{port}") as upstream:
        return await replace(upstream, slowest_bytes_per_second=bytes_per_second).create_task(
            MODEL,
            input_fields={"prompt": HEAVY},
            parameters={},
            timeout_seconds=timeout_seconds,
        )


@asynccontextmanager
async def reading(read: Reader, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that takes in a request as it likes; its port."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError), closing(writer):
            await read(reader, writer)

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    listening.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(take, sock=listening, ssl=tls)
    async with server:
        yield listening.getsockname()[1]


async def test_a_slow_line_has_time_for_a_large_body_and_the_answer_time_begins_after_it() -> None:
    async def take_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(6):
            await asyncio.sleep(SOON / 4)
            await reader.readexactly(500_000)
        writer.write(reply("200 OK", TASK))
        await writer.drain()
        await reader.read()

    async with reading(take_slowly) as port:
        outcome = await create_heavy(port, bytes_per_second=2e6, timeout_seconds=SOON)

    assert outcome == Accepted("t-1", "r-1")


async def test_the_answer_time_begins_when_what_the_system_held_back_is_out_as_well() -> None:
    """A body that fits into the buffers is handed over at once, and still takes its time."""

    async def take_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = get_length(await reader.readuntil(b"\r\n\r\n"))
        while left:
            await asyncio.sleep(SOON / 6)
            left -= len(await reader.read(min(left, 20_000)))
        writer.write(reply("200 OK", TASK))
        await writer.drain()
        await reader.read()

    async with reading(take_slowly) as port, calling(f"http://127.0.0.1:{port}") as upstream:
        outcome = await replace(upstream, slowest_bytes_per_second=2e5).create_task(
            MODEL, input_fields={"prompt": "x" * 400_000}, parameters={}, timeout_seconds=SOON
        )

    assert outcome == Accepted("t-1", "r-1")


@pytest.mark.parametrize(("unsent_seconds", "whole_seconds"), [(2.0, 7.0), (100.0, 15.0)])
async def test_no_create_lasts_longer_than_its_claim_allows(
    unsent_seconds: float, whole_seconds: float
) -> None:
    began = asyncio.get_running_loop().time()
    limit = asyncio.timeout(10)
    async with limit:
        await asyncio.sleep(0)
        allow(limit, unsent_seconds, 5.0)
    ends = limit.when()

    assert ends is not None
    assert ends - began == pytest.approx(whole_seconds, abs=0.2)


def test_what_goes_up_by_itself_and_in_the_body_is_never_more_than_a_claim_allows_for() -> None:
    assert max(IMAGE_BYTES_LIMIT, DATA_URI_BYTES_LIMIT) * IMAGES_LIMIT < CREATE_BYTES_LIMIT


async def test_a_line_slower_than_that_is_known_to_have_sent_no_request() -> None:
    async def take_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(PATIENCE_SECONDS)

    async with reading(take_nothing) as port:
        outcome = await create_heavy(port, bytes_per_second=1e9, timeout_seconds=SOON)

    assert isinstance(outcome, NotSent)
    assert outcome.is_body
    assert "could not be written whole" in outcome.reason


@pytest.mark.parametrize(
    "answer", [None, b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"]
)
async def test_a_connection_that_ends_amid_the_body_is_known_to_have_sent_no_request(
    answer: bytes | None,
) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1_000)
        if answer is not None:
            writer.write(answer)
            await writer.drain()

    async with reading(leave) as port:
        outcome = await create_heavy(port)

    assert isinstance(outcome, NotSent)
    # An answer of trouble is the upstream's own.
    assert outcome.is_body is (answer is None)


async def test_once_the_last_byte_has_left_silence_is_no_proof() -> None:
    async def take_all(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(get_length(head))
        await asyncio.sleep(PATIENCE_SECONDS)

    async with reading(take_all) as port:
        outcome = await create_heavy(port, timeout_seconds=SOON)

    assert isinstance(outcome, OutcomeUnknown)


async def test_a_refusal_amid_the_body_is_heard() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1_000)
        writer.write(reply("413 Payload Too Large", b'{"code":"BadRequest.TooLarge"}'))
        await writer.drain()
        writer.write_eof()
        with suppress(ConnectionError):
            while await reader.read(1 << 20):
                pass

    async with reading(refuse) as port:
        outcome = await create_heavy(port)

    assert isinstance(outcome, Refused)
    assert outcome.code == "BadRequest.TooLarge"


def get_length(head: bytes) -> int:
    return int(head.lower().split(b"content-length: ")[1].split()[0])


async def say_and_close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What was sent and not read makes the close a reset."""
    writer.write(REFUSAL)
    await writer.drain()


async def say_and_read_no_more(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(REFUSAL)
    await writer.drain()
    await asyncio.sleep(PATIENCE_SECONDS)


async def say_bit_by_bit(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for start in range(0, len(REFUSAL), 40):
        writer.write(REFUSAL[start : start + 40])
        await writer.drain()
        await asyncio.sleep(SOON / 50)
    await asyncio.sleep(PATIENCE_SECONDS)


EARLY = [say_and_close, say_and_read_no_more, say_bit_by_bit]


def after(seen_bytes: int, then: Reader) -> Reader:
    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(seen_bytes)
        await then(reader, writer)

    return read


@pytest.mark.parametrize("then", EARLY)
@pytest.mark.parametrize("seen_bytes", [100, 100_000])
async def test_a_refusal_that_comes_amid_the_body_is_that_refusal(
    then: Reader, seen_bytes: int
) -> None:
    async with reading(after(seen_bytes, then)) as port, asyncio.timeout(PATIENCE_SECONDS / 2):
        outcome = await create_heavy(port)

    assert isinstance(outcome, Refused)
    assert (outcome.http_status, outcome.code) == (429, "Throttling.RateQuota")


@pytest.mark.parametrize("then", EARLY)
def test_it_is_heard_on_the_event_loop_of_earnest_as_well(then: Reader) -> None:
    async def ask() -> CreateOutcome:
        async with reading(after(100_000, then)) as port, asyncio.timeout(PATIENCE_SECONDS / 2):
            return await create_heavy(port)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(ask())

    assert isinstance(outcome, Refused)


async def test_an_interim_answer_amid_the_body_stops_nothing() -> None:
    async def go_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(get_length(head) // 2)
        writer.write(b"HTTP/1.1 102 Processing\r\nA: b\r\n\r\n")
        await reader.readexactly(get_length(head) - get_length(head) // 2)
        writer.write(reply("200 OK", TASK))
        await writer.drain()

    async with reading(go_on) as port:
        outcome = await create_heavy(port)

    assert outcome == Accepted("t-1", "r-1")


async def test_an_upstream_that_only_ceases_to_speak_is_still_written_to() -> None:
    taken = 0

    async def fall_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        writer.write_eof()
        while piece := await reader.read(1 << 16):
            taken += len(piece)

    async with reading(fall_silent) as port:
        outcome = await create_heavy(port)
        await wait_until(lambda: taken > len(HEAVY) / 2)

    assert isinstance(outcome, OutcomeUnknown)


class TestTls:
    """The handshake's own messages come in while the body goes out, and are no answer."""

    @pytest.fixture(autouse=True)
    def trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
        certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        certificate.write_bytes(make_host_certificate(private))
        key.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        monkeypatch.setattr(line, "_trusted", httpx.create_ssl_context)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        return context

    async def test_a_large_body_goes_through(self, trusted: ssl.SSLContext) -> None:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(get_length(await reader.readuntil(b"\r\n\r\n")))
            writer.write(reply("200 OK", TASK))
            await writer.drain()

        async with reading(take, tls=trusted) as port:
            outcome = await create_heavy(port, scheme="https")

        assert outcome == Accepted("t-1", "r-1")

    @pytest.mark.parametrize("then", EARLY)
    async def test_an_early_refusal_is_heard(self, trusted: ssl.SSLContext, then: Reader) -> None:
        async with reading(after(100_000, then), tls=trusted) as port:
            outcome = await create_heavy(port, scheme="https")

        assert isinstance(outcome, Refused)


def make_host_certificate(key: rsa.RSAPrivateKey) -> bytes:
    """Of 127.0.0.1, signed by itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)
