"""An upstream, or somebody in its place, that means harm."""

import asyncio
import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from app.dashscope.capped import ANSWER_BYTES_LIMIT
from app.dashscope.outcomes import Accepted, NotSent, OutcomeUnknown, UpstreamTrouble
from app.dashscope.payloads import ROWS_LIMIT, TaskAnswer, TaskPage
from app.dashscope.reading import ITEMS_LIMIT
from app.dashscope.stores import is_store
from app.media.fetch import ResultHosts, download_picture, make_http_client
from tests.adversary.siege import MEGABYTE
from tests.dashscope.test_bodies_on_the_line import reading
from tests.dashscope.upstreams import MODEL, TASK, calling, create
from tests.media.images import make_image
from tests.media.wire import always, reply, serve

OWN = "https://dashscope.aliyuncs.com/api/v1"
GROWTH_LIMIT_BYTES = 48 * MEGABYTE


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Half a megabyte that becomes 128, a few kilobytes when packed again."""
    return gzip.compress(gzip.compress(b"a" * (128 * MEGABYTE), 1), 9)


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip", "br", "zstd", "gzip,deflate"])
async def test_an_answer_that_is_packed_twice_is_not_unpacked(coding: str, bomb: bytes) -> None:
    answer = always(reply("200 OK", bomb, f"Content-Encoding: {coding}"))
    tracemalloc.start()
    try:
        async with serve(answer) as wire, calling(f"http://{wire.host}") as upstream:
            outcome = await create(f"http://{wire.host}")
            with pytest.raises(UpstreamTrouble):
                await upstream.get_task("t-1")
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert isinstance(outcome, OutcomeUnknown)
    assert most_bytes < GROWTH_LIMIT_BYTES


@pytest.mark.parametrize("item", [b"0,", b"{},", b'{"url":"u"},', b"[],"])
async def test_an_answer_of_millions_of_values_holds_nobody_up(item: bytes) -> None:
    head = b'{"output":{"task_id":"t","task_status":"SUCCEEDED","results":['
    answer = head + item * (8 * MEGABYTE // len(item) - 100) + b"{}]}}"
    async with (
        serve(always(reply("200 OK", answer))) as wire,
        calling(f"http://{wire.host}") as upstream,
    ):
        began = time.process_time()
        with pytest.raises(UpstreamTrouble):
            await upstream.get_task("t")

    assert time.process_time() - began < 0.5


def test_more_pictures_than_a_task_has_are_not_read() -> None:
    output = {"task_id": "t", "task_status": "SUCCEEDED"}
    results = [{"url": f"https://x.example/{number}"} for number in range(5_000)]

    answer = TaskAnswer.model_validate({"output": output | {"results": results}})

    assert len(answer.output.results) == answer.image_count == ITEMS_LIMIT
    assert answer.output.results[0].url == "https://x.example/0"


def test_more_rows_than_a_page_has_are_not_read() -> None:
    rows = [{"task_id": f"t-{number}", "status": "RUNNING"} for number in range(5_000)]

    page = TaskPage.model_validate({"data": rows, "total": 5_000, "total_page": 50})

    assert (len(page.data), page.unreadable) == (ROWS_LIMIT, 5_000 - ROWS_LIMIT)


@pytest.mark.parametrize("chatter", [b"x", b"\r\n"])
async def test_one_that_talks_while_a_create_is_written_is_not_listened_to(
    chatter: bytes,
) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _number in range(300):
            writer.write(chatter * MEGABYTE)
            await writer.drain()

    async with reading(talk) as port, calling(f"http://127.0.0.1:{port}") as upstream:
        began = time.process_time()
        outcome = await upstream.create_task(
            MODEL, input_fields={"prompt": "p" * 30 * MEGABYTE}, parameters={}, timeout_seconds=3
        )

    assert isinstance(outcome, NotSent)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_one_that_is_packed_once_is_read(pack: Callable[[bytes], bytes]) -> None:
    coding = "gzip" if pack is gzip.compress else "deflate"
    async with serve(always(reply("200 OK", pack(TASK), f"Content-Encoding: {coding}"))) as wire:
        assert await create(f"http://{wire.host}") == Accepted("t-1", "r-1")
        assert wire.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "content",
    [gzip.compress(TASK)[:-1], gzip.compress(TASK.ljust(ANSWER_BYTES_LIMIT + 1)), b"x"],
    ids=["cut off", "too long", "not packed"],
)
async def test_one_that_cannot_be_unpacked_is_no_answer(content: bytes) -> None:
    async with serve(always(reply("200 OK", content, "Content-Encoding: gzip"))) as wire:
        assert isinstance(await create(f"http://{wire.host}"), OutcomeUnknown)


async def test_no_cookie_is_kept() -> None:
    cookie = "Set-Cookie: session=theirs; Path=/"
    answer = always(reply("200 OK", TASK, cookie))
    async with serve(answer) as wire, calling(f"http://{wire.host}") as upstream:
        for _ in range(2):
            await upstream.create_task(MODEL, input_fields={}, parameters={}, timeout_seconds=5)
    picture = make_image("PNG", 400, 400)
    async with serve(always(reply("200 OK", picture, cookie))) as host, make_http_client() as http:
        for _ in range(2):
            await download_picture(
                f"http://{host.host}/a.png", client=http, allowed=ResultHosts.of([host.host])
            )

    requests = [*wire.requests, *host.requests]
    assert len(requests) == 4
    assert all("cookie" not in request.headers for request in requests)


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("https://dashscope-file-mgr.oss-cn-beijing.aliyuncs.com", True),
        ("https://dashscope-file-mgr.oss-ap-southeast-1.aliyuncs.com/", True),
        ("https://dashscope.aliyuncs.com/api/v1/uploads/form", True),
        ("http://dashscope-file-mgr.oss-cn-beijing.aliyuncs.com", False),
        ("https://dashscope-file-mgr.oss-cn-beijing.aliyuncs.com:8443", False),
        ("https://dashscope-file-mgr.oss-cn-beijing.aliyuncs.com.evil.example", False),
        ("https://dashscope-file-mgr.oss-cn-beijing.aliyuncs.com@evil.example", False),
        ("https://evil.example/dashscope-file-mgr.oss-cn-beijing.aliyuncs.com", False),
        ("https://mine.oss-cn-beijing.aliyuncs.com", False),
        ("http://169.254.169.254/latest", False),
        ("http://127.0.0.1:5432", False),
        ("file:///etc/passwd", False),
        ("https://[::1", False),
        ("", False),
    ],
)
def test_pictures_are_uploaded_to_the_upstreams_own_store_only(
    address: str, is_allowed: bool
) -> None:
    assert is_store(address, OWN) is is_allowed


async def test_a_policy_that_names_another_host_gets_no_picture() -> None:
    policy = (
        b'{"request_id":"r","data":{"policy":"p","signature":"s","upload_dir":"d",'
        b'"upload_host":"http://%s","oss_access_key_id":"k","x_oss_object_acl":"private",'
        b'"x_oss_forbid_overwrite":"true"}}'
    )
    async with serve(always(reply("200 OK"))) as evil:
        answer = always(reply("200 OK", policy % evil.host.encode()))
        async with serve(answer) as wire, calling(f"http://{wire.host}") as upstream:
            with pytest.raises(UpstreamTrouble, match="no store of the upstream"):
                await upstream.upload(b"a picture", model=MODEL, name="a.png")

    assert evil.requests == []
