"""Whatever is wrong with a request or its answer is an outcome that the client declares."""

import asyncio
import json
from collections.abc import Mapping

import httpx
import pytest
from pydantic import SecretStr

from app.dashscope.client import DashScope
from app.dashscope.line import make_query_http
from app.dashscope.outcomes import Accepted, CreateOutcome, NotSent, read_create
from tests.dashscope.upstreams import MODEL, calling
from tests.media.wire import Answer, Request, reply, serve

POLICY = {"policy": "p", "signature": "s", "upload_dir": "d", "oss_access_key_id": "k"}


async def create(upstream: DashScope) -> CreateOutcome:
    return await upstream.create_task(MODEL, input_fields={}, parameters={}, timeout_seconds=1)


@pytest.mark.parametrize(
    "odd",
    [
        {"expire_in_seconds": None},
        {"expire_in_seconds": 1.5},
        {"max_file_size_mb": "1 GB"},
        {"x_oss_object_acl": None},
        {"x_oss_forbid_overwrite": True},
    ],
)
async def test_what_an_upload_needs_not_know_may_be_odd(odd: dict[str, object]) -> None:
    async with serve(answer_upload(odd)) as wire, calling(f"http://{wire.host}") as upstream:
        assert await upstream.upload(b"x", model=MODEL, name="a.png") == "oss://d/a.png"


def answer_upload(odd: Mapping[str, object]) -> Answer:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        host = f"http://{request.headers['host']}/form"
        body = {"data": {**POLICY, "upload_host": host, **odd}}
        writer.write(reply("200 OK", json.dumps(body).encode()))

    return answer


class NoLine(httpx.AsyncBaseTransport):
    """Fails before it asks for the body, and not as for want of a connection."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise TimeoutError


@pytest.mark.parametrize("task_id", [10**18, 2**63 - 1, 2**64, 10**40])
def test_a_task_that_is_named_by_a_long_number_is_that_task(task_id: int) -> None:
    outcome = read_create(200, {}, json.dumps({"output": {"task_id": task_id}}).encode())

    assert outcome == Accepted(str(task_id), "")


async def test_a_large_create_of_which_nothing_was_sent_is_not_at_fault_itself() -> None:
    failing = httpx.AsyncClient(transport=NoLine())
    async with failing, make_query_http() as queries:
        upstream = DashScope("http://h", SecretStr("sk-1"), queries, failing)
        outcome = await upstream.create_task(
            MODEL, input_fields={"prompt": "x" * 1_000_000}, parameters={}, timeout_seconds=1
        )

    assert isinstance(outcome, NotSent)
    assert not outcome.is_body
