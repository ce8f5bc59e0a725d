"""Where a team or the upstream would have the gateway go: nowhere but to the upstream's own."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.dashscope.client import DashScope, TaskWindow
from app.dashscope.outcomes import UpstreamTrouble
from app.kit.clock import utc_now
from app.media.fetch import (
    OSS_RESULT_HOSTS,
    DownloadFailed,
    ResultHosts,
    download_picture,
    make_http_client,
)
from tests.adversary.addresses import HOSTILE
from tests.adversary.hostile import (
    MOVED,
    RESULT,
    Bait,
    Trap,
    fill_addresses,
    laying_bait,
    make_policy,
    setting_trap,
)
from tests.dashscope.events import make_certificate
from tests.dashscope.upstreams import MODEL, calling
from tests.databases import cloned_database
from tests.media.wire import always, reply, serve

NUMBERS = range(len(HOSTILE))
NO_INPUT = {
    *("a user", "a user and a word", "a user of the upstream's name", "percents for a slash"),
    *("a port of the upstream's and ours", "a name below the upstream's", "no port that exists"),
    *("a port with a plus", "a port of others' digits", "port nothing"),
    *("a backslash", "a backslash behind the upstream", "backslashes for slashes"),
    *("a tab in the host", "a line feed in the host", "a line feed in the scheme"),
    *("a control character in front", "a soft hyphen"),
    *("a header in the path", "a header behind the upstream"),
    *(
        "brackets around v4",
        "a bracket that stays open",
        "brackets within brackets",
        "letters behind a bracket",
    ),
    *("a file", "a file on a host", "FTP", "gopher", "a socket", "a jar"),
    *("no slashes", "one slash", "three slashes", "no scheme"),
}
"""What is no address of a picture, whoever would fetch it."""

IN_SMALL_LETTERS = {"localhost in other letters", "a space in front", "another scheme's letters"}
"""What goes upstream cleaned: the upstream reads no other spelling."""

OF_THE_UPSTREAM = {
    *("a fragment behind the upstream", "a query behind the upstream"),
    *("a backslash", "percents for a slash"),
}
"""By the book these name the upstream's own host, some of them with a user."""

RELATIVE = {"no slashes", "one slash", "three slashes"}
"""To who is sent there from the upstream's host these are paths on it."""

REFUSALS = (
    "is not on an allowed result host",
    "is not a plain http(s) address",
    "redirects to what is no address",
)
UNREADABLE = tuple(
    f"the connection failed ({name})"
    for name in ("RemoteProtocolError", "InvalidURL", "IDNAError")
)
"""What is no address to the client itself, which looks at where it is sent."""

CASES = [pytest.param(number, name, id=name) for number, name in enumerate(HOSTILE)]


@pytest.fixture(scope="module")
async def trap(server_url: str, template: str) -> AsyncIterator[Trap]:
    async with (
        cloned_database(server_url, template) as database_url,
        setting_trap(database_url) as trap,
    ):
        yield trap


@pytest.fixture
async def bait() -> AsyncIterator[Bait]:
    async with laying_bait() as bait:
        yield bait


@pytest.mark.parametrize(("number", "name"), list(enumerate(HOSTILE)), ids=HOSTILE)
def test_an_input_is_refused_or_goes_upstream_as_it_is(trap: Trap, number: int, name: str) -> None:
    """To fetch it is the upstream's business, at the upstream's place."""
    statuses = trap.answers[number].status_code, trap.wire_answers[number].status_code

    assert statuses == ((422, 400) if name in NO_INPUT else (200, 200))
    address = trap.evil.addresses[number]
    sent = address.strip().lower() if name in IN_SMALL_LETTERS else address
    assert (sent in trap.list_sent()) is (name not in NO_INPUT)


@pytest.mark.parametrize("number", NUMBERS, ids=HOSTILE)
def test_a_result_elsewhere_is_not_fetched(trap: Trap, number: int) -> None:
    reason = trap.reasons[RESULT][number]

    assert any(known in reason for known in REFUSALS), reason


@pytest.mark.parametrize(("number", "name"), CASES)
def test_a_result_that_moved_elsewhere_is_not_followed(trap: Trap, number: int, name: str) -> None:
    reason = trap.reasons[MOVED][number]

    back = ("answered 404",) if name in RELATIVE else ()
    assert any(known in reason for known in (*REFUSALS, *UNREADABLE, *back)), reason


def test_nobody_came_to_the_bait(trap: Trap) -> None:
    assert trap.bait.caught == []


@pytest.mark.parametrize(("number", "name"), CASES)
async def test_a_picture_is_not_uploaded_elsewhere(bait: Bait, number: int, name: str) -> None:
    policies: list[bytes] = []

    async def answer(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("200 OK", policies[0]))

    async with serve(answer) as wire, calling(f"http://{wire.host}/api/v1") as upstream:
        policies.append(make_policy(fill_addresses(bait, wire)[number]))
        if name in OF_THE_UPSTREAM:
            with suppress(UpstreamTrouble):
                await upload(upstream)
        else:
            with pytest.raises(UpstreamTrouble, match="no store of the upstream"):
                await upload(upstream)
            assert [request.method for request in wire.requests] == ["GET"]

    assert bait.caught == []


async def upload(upstream: DashScope) -> object:
    return await upstream.upload(b"a picture", model=MODEL, name="a.png")


async def list_tasks(upstream: DashScope) -> object:
    now = utc_now()
    return await upstream.list_tasks(TaskWindow(MODEL, now - timedelta(hours=1), now), page=1)


async def ask_task(upstream: DashScope) -> object:
    return await upstream.get_task("t-1")


async def cancel(upstream: DashScope) -> object:
    return await upstream.cancel_task("t-1")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", [upload, list_tasks, ask_task, cancel])
async def test_a_call_that_is_sent_elsewhere_does_not_go(
    bait: Bait, status: int, call: Callable[[DashScope], Awaitable[object]]
) -> None:
    moved = reply(f"{status} Moved", b"", f"Location: http://127.0.0.1:{bait.port}/api/v1/tasks")
    async with serve(always(moved)) as wire, calling(f"http://{wire.host}/api/v1") as upstream:
        with pytest.raises(UpstreamTrouble):
            await call(upstream)

    assert bait.caught == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_create_that_is_sent_elsewhere_does_not_go(bait: Bait, status: int) -> None:
    moved = reply(f"{status} Moved", b"", f"Location: http://127.0.0.1:{bait.port}/api/v1/tasks")
    async with serve(always(moved)) as wire, calling(f"http://{wire.host}/api/v1") as upstream:
        await upstream.create_task(MODEL, input_fields={}, parameters={}, timeout_seconds=5)

    assert bait.caught == []


async def test_a_name_of_the_upstreams_that_leads_home_is_told_by_its_certificate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever answers for the name system: checked by name, connected by address."""
    heard: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(4_096))
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=make_tls(tmp_path))
    lead_to(server.sockets[0].getsockname(), monkeypatch)
    async with server, make_http_client() as client:
        with pytest.raises(DownloadFailed, match="connection failed"):
            await download_picture(
                f"https://{min(OSS_RESULT_HOSTS)}/a.png?Signature=s",
                client=client,
                allowed=ResultHosts(),
            )

    assert heard == []


def lead_to(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name leads to one address of this machine."""
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def mislead(host: Any, port: Any, **options: Any) -> Any:
        return await resolve(*address, **options)

    monkeypatch.setattr(loop, "getaddrinfo", mislead)


def make_tls(folder: Path) -> ssl.SSLContext:
    """A server's, with a certificate that nobody has signed."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "tls.pem").write_bytes(make_certificate(key) + key.private_bytes(*form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    return context


async def test_the_bait_is_worth_something(bait: Bait) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bait.port)
    writer.write(b"here")
    await reader.read()
    writer.close()

    assert bait.caught == [b"here"]
