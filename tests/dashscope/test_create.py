"""What is known after a create, over real sockets: a task may never be made twice."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress

import orjson
import pytest

from app.dashscope import sending
from app.dashscope.capped import ANSWER_BYTES_LIMIT
from app.dashscope.outcomes import Accepted, NotSent, OutcomeUnknown, Refused
from app.dashscope.sending import TooLateToSend
from app.kit.ports import find_free_port
from tests.dashscope.upstreams import (
    API_KEY,
    MODEL,
    TASK,
    begin,
    calling,
    close,
    create,
    reset,
    resetting_on_connect,
    stay_silent,
)
from tests.media.wire import Answer, always, reply, serve

ERROR = b'{"code":"InvalidParameter","message":"Model not exist.","request_id":"r-9"}'
SOON = 0.3


async def test_an_answer_with_a_task_is_accepted_and_carries_what_the_wire_asks() -> None:
    async with serve(always(reply("200 OK", TASK))) as wire:
        outcome = await create(f"http://{wire.host}/api/v1")

    assert outcome == Accepted("t-1", "r-1")
    (sent,) = wire.requests
    assert (sent.method, sent.target) == (
        "POST",
        "/api/v1/services/aigc/image2image/image-synthesis",
    )
    assert sent.headers["authorization"] == f"Bearer {API_KEY}"
    assert sent.headers["x-dashscope-async"] == "enable"
    assert sent.headers["x-dashscope-ossresourceresolve"] == "enable"
    assert sent.headers["content-type"] == "application/json"
    assert orjson.loads(sent.body) == {
        "model": MODEL,
        "parameters": {"n": 1},
        "input": {"prompt": "make it blue", "images": ["https://img.example/a.png"]},
    }


@pytest.mark.parametrize(
    ("looks", "is_begun"),
    [
        pytest.param([2.0], False, id="while it connected"),
        pytest.param([0.0, 2.0], True, id="between headers and body"),
    ],
)
async def test_a_process_that_was_stopped_sends_no_request_too_late(
    monkeypatch: pytest.MonkeyPatch, looks: list[float], *, is_begun: bool
) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.read())
        writer.close()

    monkeypatch.setattr(sending, "elapsed_seconds", iter(looks).__next__)
    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, calling(f"http://127.0.0.1:{port}/api/v1") as api:
        with pytest.raises(TooLateToSend):
            await api.create_task(
                MODEL, input_fields={}, parameters={}, timeout_seconds=5, send_before=1.0
            )
        head, _, body = (await heard).partition(b"\r\n\r\n")

    assert bool(head) is is_begun
    assert body == b""


async def test_a_refused_connection_is_known_not_to_have_sent() -> None:
    outcome = await create(f"http://127.0.0.1:{find_free_port('127.0.0.1')}/api/v1")

    assert isinstance(outcome, NotSent)


async def test_a_host_without_an_address_is_known_not_to_have_been_reached() -> None:
    outcome = await create("http://upstream.invalid/api/v1")

    assert isinstance(outcome, NotSent)


async def test_a_failed_handshake_is_known_not_to_have_sent() -> None:
    heard = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("400 Bad Request", b"speak plainly"))
        heard.extend(await reader.read())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        outcome = await create(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    assert isinstance(outcome, NotSent)
    assert API_KEY.encode() not in heard


async def test_a_handshake_that_hangs_is_known_not_to_have_sent() -> None:
    async with serve(stay_silent) as wire:
        outcome = await create(f"https://{wire.host}/api/v1", timeout_seconds=SOON)

    assert isinstance(outcome, NotSent)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reset, id="reset after the request"),
        pytest.param(close, id="closed after the request"),
        pytest.param(always(b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n{"), id="cut short"),
        pytest.param(
            always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"), id="cut"
        ),
        pytest.param(always(b"SSH-2.0-OpenSSH_9.2\r\n"), id="another protocol"),
        pytest.param(always(reply("200 OK")), id="empty"),
        pytest.param(always(reply("200 OK", b"<html>502</html>")), id="a page"),
        pytest.param(always(reply("200 OK", b'{"request_id":"r-1"}')), id="no output"),
        pytest.param(always(reply("200 OK", b'{"output":{"task_status":"PENDING"}}')), id="no id"),
        pytest.param(
            always(reply("200 OK", b'{"output":{"task_status":"PENDING","task_id":""}}')),
            id="an empty id",
        ),
        pytest.param(
            always(reply("200 OK", b"\x1f\x8b", "Content-Encoding: gzip")), id="not gzip"
        ),
        pytest.param(always(reply("201 Created", TASK)), id="created"),
        pytest.param(always(reply("307 Temporary", b"", "Location: /elsewhere")), id="redirect"),
        pytest.param(always(reply("408 Request Timeout", ERROR)), id="408"),
        pytest.param(always(reply("500 Internal Server Error", ERROR)), id="500"),
        pytest.param(always(reply("503 Service Unavailable", ERROR)), id="503"),
        pytest.param(always(reply("504 Gateway Timeout")), id="504"),
    ],
)
async def test_without_a_task_or_a_refusal_the_outcome_is_unknown_and_nothing_is_sent_again(
    answer: Answer,
) -> None:
    async with serve(answer) as wire:
        outcome = await create(f"http://{wire.host}/api/v1")

    assert isinstance(outcome, OutcomeUnknown)
    assert len(wire.requests) == 1


async def test_a_connection_that_is_reset_at_once_is_unsent_only_while_a_byte_is_here() -> None:
    async with resetting_on_connect() as host:
        outcome = await create(f"http://{host}/api/v1")

    assert isinstance(outcome, OutcomeUnknown | NotSent)
    assert not isinstance(outcome, NotSent) or "written whole in" in outcome.reason


@pytest.mark.parametrize(
    "answer",
    [stay_silent, begin(b"HTTP/1.1 200 OK\r\n"), begin(reply("200 OK", b"{", announced=99))],
)
async def test_an_answer_that_does_not_come_in_time_is_unknown(answer: Answer) -> None:
    async with serve(answer) as wire:
        outcome = await create(f"http://{wire.host}/api/v1", timeout_seconds=SOON)

    assert isinstance(outcome, OutcomeUnknown)
    assert len(wire.requests) == 1


async def test_an_answer_that_trickles_does_not_outlast_the_timeout() -> None:
    async def trickle(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(SOON / 10)

    async with serve(trickle) as wire, asyncio.timeout(SOON * 5):
        outcome = await create(f"http://{wire.host}/api/v1", timeout_seconds=SOON)

    assert isinstance(outcome, OutcomeUnknown)


@pytest.mark.parametrize(
    "pack",
    [lambda body: (body, ()), lambda body: (zlib.compress(body), ("Content-Encoding: deflate",))],
)
async def test_an_answer_beyond_the_limit_is_not_read_to_its_end(
    pack: Callable[[bytes], tuple[bytes, tuple[str, ...]]],
) -> None:
    body, headers = pack(TASK.ljust(ANSWER_BYTES_LIMIT + 1))
    async with serve(always(reply("200 OK", body, *headers))) as wire:
        outcome = await create(f"http://{wire.host}/api/v1")

    assert outcome == OutcomeUnknown("no answer to the create: AnswerTooLarge")


async def test_a_refusal_is_told_with_its_code_message_and_request() -> None:
    async with serve(always(reply("400 Bad Request", ERROR))) as wire:
        outcome = await create(f"http://{wire.host}/api/v1")

    assert outcome == Refused(400, "InvalidParameter", "Model not exist.", "r-9")


async def test_a_refusal_without_a_code_is_named_by_its_status() -> None:
    async with serve(always(reply("403 Forbidden", b"<html>no</html>"))) as wire:
        outcome = await create(f"http://{wire.host}/api/v1")

    assert isinstance(outcome, Refused)
    assert (outcome.http_status, outcome.code) == (403, "HTTP403")
    assert outcome.message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("17", 17.0), ("1849295", 1_849_295.0), ("soon", None), ("-3", None), ("²", None)],
)
async def test_the_wait_that_a_refusal_asks_for_is_read_when_it_is_one(
    header: str, seconds: float | None
) -> None:
    plain = reply("429 Too Many Requests", b"{}", "Retry-After: ?")
    answer = plain.replace(b"?", header.encode("latin-1"))
    async with serve(always(answer)) as wire:
        outcome = await create(f"http://{wire.host}/api/v1")

    assert isinstance(outcome, Refused)
    assert outcome.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Mon, 23 Nov 2026 09:00:00 GMT", 30.0),
        ("Mon, 23 Nov 2026 09:00:30 GMT", 0.0),
        ("Mon, 23 Nov 2026 09:05:00 GMT", 0.0),
        ("yesterday", None),
    ],
)
async def test_a_moment_to_wait_for_is_measured_by_the_upstreams_own_clock(
    date: str, seconds: float | None
) -> None:
    answer = reply(
        "429 Too Many Requests",
        b"{}",
        f"Retry-After: Mon, 23 Nov 2026 09:00:30 GMT\r\nDate: {date}",
    )
    async with serve(always(answer)) as wire:
        outcome = await create(f"http://{wire.host}/api/v1")

    assert isinstance(outcome, Refused)
    assert outcome.retry_after_seconds == seconds


async def test_a_refusal_that_comes_before_the_whole_request_was_read_is_heard() -> None:
    async def refuse_early(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("413 Payload Too Large", b'{"code":"BadRequest.TooLarge"}'))
        await writer.drain()
        await asyncio.sleep(SOON)
        writer.close()

    server = await asyncio.start_server(refuse_early, "127.0.0.1", 0)
    async with server:
        outcome = await create(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    assert isinstance(outcome, Refused)
    assert outcome.code == "BadRequest.TooLarge"


async def test_each_create_has_a_connection_of_its_own() -> None:
    """One that the upstream has closed meanwhile would swallow the next create."""
    ports: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports.append(writer.get_extra_info("peername")[1])
        with suppress(asyncio.IncompleteReadError), closing(writer):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split()[0])
                await reader.readexactly(length)
                length = len(TASK)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (length, TASK))
                await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, calling(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as api:
        for _ in range(3):
            await api.create_task(MODEL, input_fields={}, parameters={}, timeout_seconds=5)

    assert len(set(ports)) == 3


async def test_a_proxy_of_the_environment_gets_neither_key_nor_create(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{find_free_port('127.0.0.1')}")
    async with serve(always(reply("200 OK", TASK))) as wire:
        outcome = await create(f"http://{wire.host}/api/v1")

    assert isinstance(outcome, Accepted)


@pytest.mark.parametrize("answer", [reset, always(reply("200 OK", b"no")), stay_silent])
async def test_no_outcome_and_no_repr_shows_the_api_key(answer: Answer) -> None:
    async with serve(answer) as wire, calling(f"http://{wire.host}") as upstream:
        attempt: Awaitable[object] = upstream.create_task(
            MODEL, input_fields={}, parameters={}, timeout_seconds=SOON
        )
        shown = repr(await attempt) + repr(upstream)

    assert API_KEY not in shown
