"""Bringing results home, over real sockets."""

import asyncio
import logging
import struct
from collections.abc import AsyncIterator
from socket import SO_LINGER, SOL_SOCKET, socket
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.media.fetch import (
    OSS_RESULT_HOSTS,
    DownloadFailed,
    HostNotAllowed,
    PictureGone,
    ResultHosts,
    download_picture,
    make_http_client,
)
from app.media.inspect import CorruptImage, verify_picture
from tests.media.images import make_noise
from tests.media.wire import Request, always, reply, serve

PICTURE = make_noise("PNG", 200, 150)
SECRET = "Signature=c2VjcmV0%2Fsig%2B%3D"
BEIJING = "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with make_http_client(read_seconds=5) as client:
        yield client


def allow(host: str) -> ResultHosts:
    return ResultHosts().plus(host)


def url_at(host: str, name: str = "a-1.png") -> str:
    return f"http://{host}/1d/20260101/{name}?Expires=1&{SECRET}"


async def test_picture_arrives_byte_for_byte(client: httpx.AsyncClient) -> None:
    answer = reply("200 OK", PICTURE, "Content-Type: image/png")
    async with serve(always(answer)) as wire:
        got = await download_picture(url_at(wire.host), client=client, allowed=allow(wire.host))

    assert wire.requests[0].headers["accept-encoding"] == "identity"
    assert got.content == PICTURE
    assert got.announced_bytes == len(PICTURE)
    assert verify_picture(got.content, got.announced_bytes).width == 200


async def test_signed_url_keeps_its_meaning_on_the_wire(client: httpx.AsyncClient) -> None:
    query = f"Expires=1&OSSAccessKeyId=LTAI%2Fx&{SECRET}&x=%E4%B8%AD"
    async with serve(always(reply("200 OK", PICTURE))) as wire:
        url = f"http://{wire.host}/a%2Fb/c%20d.png?{query}"
        await download_picture(url, client=client, allowed=allow(wire.host))

    seen = urlsplit(wire.requests[0].target)
    assert seen.path == "/a%2Fb/c%20d.png"
    assert parse_qs(seen.query) == parse_qs(query)


async def test_body_without_length_arrives(client: httpx.AsyncClient) -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + PICTURE
    async with serve(always(answer)) as wire:
        got = await download_picture(url_at(wire.host), client=client, allowed=allow(wire.host))

    assert (got.content, got.announced_bytes) == (PICTURE, None)


async def test_page_instead_of_a_picture_is_corrupt(client: httpx.AsyncClient) -> None:
    answer = reply("200 OK", b"<html>maintenance</html>", "Content-Type: text/html")
    async with serve(always(answer)) as wire:
        got = await download_picture(url_at(wire.host), client=client, allowed=allow(wire.host))

    with pytest.raises(CorruptImage, match="HTML"):
        verify_picture(got.content, got.announced_bytes)


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "410 Gone"])
async def test_expired_picture_is_gone(client: httpx.AsyncClient, status: str) -> None:
    async with serve(always(reply(status, b"<Error/>"))) as wire:
        with pytest.raises(PictureGone, match=f"answered {status[:3]}"):
            await download_picture(url_at(wire.host), client=client, allowed=allow(wire.host))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply("500 Oops"), "answered 500"),
        (reply("503 Busy"), "answered 503"),
        (reply("429 Slow down"), "answered 429"),
        (reply("400 Bad"), "answered 400"),
        (reply("206 Partial", b"x"), "answered 206"),
        (reply("200 OK", PICTURE[:500], announced=len(PICTURE)), "connection failed"),
        (b"", "connection failed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "connection failed"),
        (reply("200 OK", b"", announced=10_000_000), "above the limit of 1000000"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1_000_001), "above the limit of 1000000"),
    ],
)
async def test_a_failure_says_why(client: httpx.AsyncClient, answer: bytes, reason: str) -> None:
    async with serve(always(answer)) as wire:
        with pytest.raises(DownloadFailed, match=reason):
            await download_picture(
                url_at(wire.host), client=client, allowed=allow(wire.host), limit_bytes=1_000_000
            )


async def test_reset_connection_may_be_tried_again(client: httpx.AsyncClient) -> None:
    async def reset(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("200 OK", PICTURE[:100], announced=len(PICTURE)))
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, linger)

    async with serve(reset) as wire:
        with pytest.raises(DownloadFailed, match="connection failed"):
            await download_picture(url_at(wire.host), client=client, allowed=allow(wire.host))


async def test_nobody_listening_may_be_tried_again(client: httpx.AsyncClient) -> None:
    with socket() as bound:
        bound.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{bound.getsockname()[1]}"

        with pytest.raises(DownloadFailed, match="connection failed"):
            await download_picture(url_at(host), client=client, allowed=allow(host))


async def test_trickle_is_cut_at_the_deadline(client: httpx.AsyncClient) -> None:
    finished = asyncio.Event()

    async def trickle(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("200 OK", PICTURE[:100], announced=len(PICTURE)))
        await finished.wait()

    async with serve(trickle) as wire:
        with pytest.raises(DownloadFailed, match=r"not complete after 0\.2 s"):
            await download_picture(
                url_at(wire.host), client=client, allowed=allow(wire.host), deadline_seconds=0.2
            )
        finished.set()


async def test_silence_is_cut_by_the_read_timeout() -> None:
    finished = asyncio.Event()

    async def silence(_: Request, __: asyncio.StreamWriter) -> None:
        await finished.wait()

    async with serve(silence) as wire, make_http_client(read_seconds=0.1) as client:
        with pytest.raises(DownloadFailed, match="connection failed"):
            await download_picture(url_at(wire.host), client=client, allowed=allow(wire.host))
        finished.set()


async def test_redirect_to_an_allowed_host_is_followed(client: httpx.AsyncClient) -> None:
    async with serve(always(reply("200 OK", PICTURE))) as there:
        moved = reply("302 Found", b"", f"Location: {url_at(there.host)}")
        async with serve(always(moved)) as here:
            hosts = allow(here.host).plus(there.host)
            got = await download_picture(url_at(here.host), client=client, allowed=hosts)

    assert got.content == PICTURE


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/latest/meta-data", "//localhost/x", "file:///etc/passwd", "http://["],
)
async def test_redirect_elsewhere_is_refused(client: httpx.AsyncClient, location: str) -> None:
    async with serve(always(reply("302 Found", b"", f"Location: {location}"))) as wire:
        with pytest.raises(HostNotAllowed):
            await download_picture(url_at(wire.host), client=client, allowed=allow(wire.host))

    assert len(wire.requests) == 1


async def test_redirects_come_to_an_end(client: httpx.AsyncClient) -> None:
    async with serve(always(reply("302 Found", b"", "Location: /again.png"))) as wire:
        with pytest.raises(DownloadFailed, match="redirected more than 3 times"):
            await download_picture(url_at(wire.host), client=client, allowed=allow(wire.host))

    assert len(wire.requests) == 4


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "400 Bad", "500 Oops", "garbage"])
async def test_signature_shows_in_no_error_and_no_log(
    client: httpx.AsyncClient, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serve(always(reply(status, b"x", announced=9))) as wire:
        with pytest.raises((DownloadFailed, PictureGone)) as failure:
            await download_picture(url_at(wire.host), client=client, allowed=allow(wire.host))

    assert f"{wire.host.split(':')[0]}/.../a-1.png" in str(failure.value)
    assert "Signature" not in f"{failure.value!r} {caplog.text}"


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with serve(always(reply("200 OK", PICTURE))) as wire, make_http_client() as client:
        got = await download_picture(url_at(wire.host), client=client, allowed=allow(wire.host))

    assert got.content == PICTURE


@pytest.mark.parametrize("host", sorted(OSS_RESULT_HOSTS))
def test_each_documented_host_is_allowed_by_https(host: str) -> None:
    ResultHosts().check(f"https://{host}/a/b.png?Expires=1")
    ResultHosts().check(f"https://{host}:443/a/b.png")

    assert len(OSS_RESULT_HOSTS) == 10


@pytest.mark.parametrize(
    "url",
    [
        BEIJING.replace("https", "http") + "/a.png",
        f"{BEIJING}:8443/a.png",
        f"{BEIJING}:80/a.png",
        f"{BEIJING}./a.png",
        f"{BEIJING}.evil.example/a.png",
        f"{BEIJING}@evil.example/a.png",
        f"{BEIJING}\\@evil.example/a.png",
        f"{BEIJING}#@evil.example/a.png",
        f"{BEIJING}/a.png\r\nHost: evil.example",
        BEIJING.replace("dashscope", "user:word@dashscope") + "/a.png",
        "https://dashscope-result-zj\u212a.oss-cn-zhangjia\u212aou.aliyuncs.com/a.png",
        "https://evil-oss.oss-cn-beijing.aliyuncs.com/a.png",
        "https://127.0.0.1/a.png",
        "http://2130706433:9000/a.png",
        "http://0x7f.1:9000/a.png",
        "http://127.1:9000/a.png",
        "http://[::ffff:127.0.0.1]:9000/a.png",
        "http://127.0.0.1:9001/a.png",
        "http://127.0.0.1/a.png",
        "https://gate.example:8443/a.png",
        "ftp://gate.example/a.png",
        "gate.example/a.png",
        "",
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    hosts = ResultHosts().plus("127.0.0.1:9000", "gate.example")

    with pytest.raises(HostNotAllowed) as refusal:
        hosts.check(url)

    assert "word" not in refusal.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/a.png",
        "https://127.0.0.1:9000/a.png",
        "http://gate.example/a.png",
        "https://GATE.example/a.png?x=1",
        "http://[::1]:9000/a.png",
    ],
)
def test_configured_host_is_allowed_by_http_too(url: str) -> None:
    ResultHosts().plus("127.0.0.1:9000", "Gate.Example", "[::1]:9000").check(url)


def test_configured_cloud_host_still_needs_https() -> None:
    hosts = ResultHosts.of(["new.oss-cn-beijing.aliyuncs.com"])

    hosts.check("https://new.oss-cn-beijing.aliyuncs.com/a.png")
    with pytest.raises(HostNotAllowed, match="HTTPS"):
        hosts.check("http://new.oss-cn-beijing.aliyuncs.com/a.png")
    with pytest.raises(HostNotAllowed):
        hosts.check(f"{BEIJING}/a.png")


@pytest.mark.parametrize(
    "entry", ["http://gate.example", "gate.example/x", "*.example", "", "a b"]
)
def test_entry_that_is_no_host_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="is not `host` or `host:port`"):
        ResultHosts().plus(entry)
