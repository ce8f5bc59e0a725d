"""Bodies within their limits: too large, cut short, and waiting for memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import orjson
import pytest
from starlette.requests import Request
from starlette.types import Message

from app.dashscope_api.uploads import UPLOAD_PATH
from app.kit.postgres.database import Sessions
from app.media.data_uri import to_data_uri
from app.web.bodies import WORKING_COPIES, BodyBudget, BodyCutShort, BodyTooLarge
from tests.api.factories import edit
from tests.api.server import make_settings, make_vault, open_client, running_api
from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE
from tests.factories import make_key, make_price, make_team
from tests.media.images import make_noise

LIMIT = 1000
CLIENTS_COUNT = 8


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


def make_budget(bodies_count: float = 1.0, *, silence_seconds: float = 0.05) -> BodyBudget:
    """Room for working on that many bodies of the highest length."""
    budget_bytes = int(LIMIT * WORKING_COPIES * bodies_count)
    return BodyBudget(
        limit_bytes=LIMIT,
        budget_bytes=budget_bytes,
        silence_seconds=silence_seconds,
        small_bytes=0,
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


async def test_a_whole_body_waits_until_the_one_at_work_is_done() -> None:
    budget = make_budget()

    async with budget.read(make_request(b"x" * LIMIT, b"")):
        waiting = asyncio.create_task(_read(budget, make_request(b"y" * LIMIT, b"")))
        await _let_run()
        assert not waiting.done()
    assert await waiting == b"y" * LIMIT


async def test_a_small_body_does_not_wait_for_large_ones() -> None:
    budget = BodyBudget(limit_bytes=LIMIT, budget_bytes=0, small_bytes=10)

    async with (
        budget.read(make_request(b"x" * LIMIT, b"", announced=LIMIT)),
        asyncio.timeout(1),
        budget.read(make_request(b"small", b"", announced=5)) as body,
    ):
        assert body == b"small"


async def test_what_was_announced_and_never_came_keeps_nobody_out() -> None:
    budget = make_budget(3, silence_seconds=30)
    silent = [
        asyncio.create_task(_read(budget, make_request(b"x", announced=LIMIT), uuid4()))
        for _ in range(100)
    ]
    await _let_run()

    whole = make_request(b"y" * (LIMIT // 2), b"y" * (LIMIT // 2), b"", announced=LIMIT)
    assert len(await asyncio.wait_for(_read(budget, whole, uuid4()), 10)) == LIMIT

    for task in silent:
        task.cancel()
    await asyncio.gather(*silent, return_exceptions=True)


async def test_half_read_bodies_do_not_block_each_other() -> None:
    budget = make_budget(5)
    halves = [b"x" * (LIMIT // 4)] * 4

    async with asyncio.timeout(10):
        bodies = await asyncio.gather(
            *(_read(budget, make_request(*halves, b""), uuid4()) for _ in range(50))
        )

    assert {len(body) for body in bodies} == {LIMIT}


async def test_one_caller_s_bodies_leave_room_for_another_s() -> None:
    """The other's body is smaller than the half that no caller gets alone."""
    budget = make_budget(6, silence_seconds=30)
    slow = uuid4()
    stuck = [
        asyncio.create_task(_read(budget, make_request(b"x" * (LIMIT - 1)), slow))
        for _ in range(20)
    ]
    await _let_run()

    other = make_request(*[b"y" * 100] * 5, b"")
    assert len(await asyncio.wait_for(_read(budget, other, uuid4()), 10)) == 500

    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)


async def test_memory_is_given_back_whatever_happens() -> None:
    budget = make_budget()
    for ending in (None, b"x" * LIMIT):
        with pytest.raises((BodyCutShort, BodyTooLarge)):
            await _read(budget, make_request(b"x" * LIMIT, ending))
    with pytest.raises(ZeroDivisionError):
        async with budget.read(make_request(b"x" * LIMIT, b"")):
            raise ZeroDivisionError

    assert len(await asyncio.wait_for(_read(budget, make_request(b"x" * LIMIT, b"")), 5)) == LIMIT


@pytest.mark.parametrize("path", ["/v1/jobs", f"/api/v1{IMAGE_TO_IMAGE}", f"/api/v1{UPLOAD_PATH}"])
async def test_strangers_keep_no_team_s_pictures_out(
    database: str, sessions: Sessions, tmp_path: Path, path: str
) -> None:
    """Twelve announce ten megabytes each and drip; a team's 14 MB are taken meanwhile."""
    await make_price(sessions)
    key = await make_key(sessions, make_vault(), owner=await make_team(sessions))
    pictures = [to_data_uri(make_noise("PNG", 1350, 1300), "image/png")] * 2
    async with running_api(make_settings(database, tmp_path)) as url, AsyncExitStack() as stack:
        for _ in range(12):
            await stack.enter_async_context(_dripping(url, path))
        async with open_client(url, key.text) as http:
            answer = await http.post("/v1/jobs", json=edit(images=pictures), timeout=20)

    assert sum(map(len, pictures)) > 14_000_000
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("path", ["/v1/jobs", f"/api/v1{IMAGE_TO_IMAGE}"])
@pytest.mark.parametrize("size", [1_000, 14_000_000])
async def test_a_stranger_sees_its_401_however_large_its_body(
    database: str, tmp_path: Path, path: str, size: int
) -> None:
    async with running_api(make_settings(database, tmp_path)) as url, open_client(url) as http:
        answer = await http.post(path, content=b"x" * size, headers=ASYNC)

    assert answer.status_code == 401, answer.text


@asynccontextmanager
async def _dripping(url: str, path: str) -> AsyncIterator[None]:
    """A client without a key that has sent the head and some kilobytes of its body."""
    place = urlsplit(url)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"X-DashScope-Async: enable\r\nContent-Length: {10_000_000}\r\n\r\n".encode()
        + b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        + b"x" * 12_000
    )
    await writer.drain()
    try:
        yield
    finally:
        writer.close()


async def test_of_eight_clients_all_get_their_pictures_through_a_small_budget(
    database: str, sessions: Sessions, tmp_path: Path
) -> None:
    await make_price(sessions)
    key = await make_key(sessions, make_vault(), owner=await make_team(sessions))
    body = orjson.dumps(edit(images=[to_data_uri(make_noise("PNG", 400, 400), "image/png")]))
    settings = make_settings(
        database, tmp_path, max_body_bytes=len(body), body_memory_bytes=len(body) * WORKING_COPIES
    )
    async with running_api(settings) as url, open_client(url, key.text) as http:
        answers = await asyncio.gather(
            *(http.post("/v1/jobs", content=body) for _ in range(CLIENTS_COUNT))
        )

    assert [answer.status_code for answer in answers] == [202] * CLIENTS_COUNT


async def _let_run() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


async def _read(budget: BodyBudget, request: Request, caller: UUID | None = None) -> bytes:
    async with budget.read(request, caller) as body:
        return body
