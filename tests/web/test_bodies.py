"""Bodies within their limits: too large, cut short, and waiting for memory."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
from starlette.requests import Request
from starlette.types import Message

from app.kit.postgres.database import Sessions
from app.media.data_uri import to_data_uri
from app.web.bodies import WORKING_COPIES, BodyBudget, BodyCutShort, BodyTooLarge
from tests.api.factories import edit
from tests.api.server import make_settings, make_vault, running_api
from tests.factories import make_key, make_price, make_team
from tests.media.images import make_noise

LIMIT = 1000
CLIENTS_COUNT = 8
ADMITTED_COUNT = 2


def make_request(*chunks: bytes | None, announced: int | None = None) -> Request:
    """A request whose body comes in these chunks; None is a client that left."""
    left = list(chunks)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        chunk = left.pop(0)
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": chunk != b""}

    headers = [] if announced is None else [(b"content-length", str(announced).encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def make_budget(bodies_count: float = 1.0) -> BodyBudget:
    """Room for that many bodies of the highest length."""
    budget_bytes = int(LIMIT * WORKING_COPIES * bodies_count)
    return BodyBudget(
        limit_bytes=LIMIT, budget_bytes=budget_bytes, silence_seconds=0.05, small_bytes=0
    )


async def test_a_body_comes_whole_from_its_chunks() -> None:
    async with make_budget().read(make_request(b"ab", b"cd", b"")) as body:
        assert body == b"abcd"


async def test_a_body_that_announces_too_much_is_not_read() -> None:
    request = make_request(announced=LIMIT + 1)

    with pytest.raises(BodyTooLarge, match=r"1000 bytes; it has 1001"):
        async with make_budget().read(request):
            pass


async def test_a_body_that_drips_is_given_up_though_it_never_falls_silent() -> None:
    async def drip() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    headers = [(b"content-length", b"900")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}

    with pytest.raises(BodyCutShort, match="not complete"):
        async with make_budget().read(Request(scope, drip)):
            pass


async def test_a_small_body_does_not_wait_for_large_ones() -> None:
    budget = BodyBudget(limit_bytes=LIMIT, budget_bytes=0, small_bytes=10)

    async with (
        budget.read(make_request(b"x" * LIMIT, b"", announced=LIMIT)),
        asyncio.timeout(1),
        budget.read(make_request(b"small", b"", announced=5)) as body,
    ):
        assert body == b"small"


async def test_a_body_is_cut_where_it_passes_the_limit() -> None:
    request = make_request(b"x" * LIMIT, b"x", b"never read")

    with pytest.raises(BodyTooLarge):
        async with make_budget().read(request):
            pass


@pytest.mark.parametrize("ending", [(), (None,)], ids=["silence", "gone"])
async def test_a_client_that_stops_within_its_body_gives_its_memory_back(
    ending: tuple[None, ...],
) -> None:
    budget = make_budget()

    with pytest.raises(BodyCutShort, match="after 2 bytes"):
        async with budget.read(make_request(b"ab", *ending)):
            pass

    async with budget.read(make_request(b"cd", b"")) as body:
        assert body == b"cd"


async def test_a_body_waits_unread_until_there_is_room() -> None:
    budget = make_budget()
    first = make_request(b"", announced=LIMIT)
    second = make_request(b"ab", b"", announced=LIMIT)

    async with budget.read(first):
        waiting = asyncio.create_task(_read(budget, second))
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await waiting == b"ab"


async def test_small_bodies_fit_beside_a_large_one() -> None:
    budget = make_budget(1.1)

    async with budget.read(make_request(b"", announced=LIMIT)):
        small = make_request(b"ab", b"", announced=50)
        assert await asyncio.wait_for(_read(budget, small), 10) == b"ab"


async def test_a_body_of_unknown_length_is_booked_as_the_largest() -> None:
    budget = make_budget(1.5)

    async with budget.read(make_request(b"a", b"")):
        second = asyncio.create_task(_read(budget, make_request(b"b", b"", announced=LIMIT)))
        await asyncio.sleep(0)
        assert not second.done()
    assert await second == b"b"


async def test_of_eight_clients_two_send_their_pictures_while_six_wait(
    database: str, sessions: Sessions, tmp_path: Path
) -> None:
    """`100 Continue` comes when the gateway begins to read: it shows who was admitted."""
    await make_price(sessions)
    key = await make_key(sessions, make_vault(), owner=await make_team(sessions))
    body = orjson.dumps(edit(images=[to_data_uri(make_noise("PNG", 400, 400), "image/png")]))
    settings = make_settings(
        database,
        tmp_path,
        max_body_bytes=len(body),
        body_memory_bytes=len(body) * WORKING_COPIES * ADMITTED_COUNT,
    )
    admitted: asyncio.Queue[int] = asyncio.Queue()
    go = asyncio.Event()
    async with running_api(settings) as url:
        posts = [
            asyncio.create_task(_post_when_admitted(url, key.text, body, admitted, go))
            for _ in range(CLIENTS_COUNT)
        ]
        for _ in range(ADMITTED_COUNT):
            assert await asyncio.wait_for(admitted.get(), 20) == 100
        await asyncio.wait(posts, timeout=0.2)
        assert admitted.empty()

        go.set()
        statuses = await asyncio.gather(*posts)

    assert statuses == [202] * CLIENTS_COUNT


async def _post_when_admitted(
    url: str, key: str, body: bytes, admitted: asyncio.Queue[int], go: asyncio.Event
) -> int:
    """Send the head, wait to be asked for the body, and with that for `go`; returns the status."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(
        b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
        + f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    admitted.put_nowait(int((await reader.readuntil(b"\r\n\r\n")).split()[1]))
    await go.wait()
    writer.write(body)
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


async def _read(budget: BodyBudget, request: Request) -> bytes:
    async with budget.read(request) as body:
        return body
