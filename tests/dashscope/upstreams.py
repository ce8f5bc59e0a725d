"""Upstreams that answer a create in every way a network knows."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr

from app.dashscope.client import DashScope
from app.dashscope.line import make_create_http, make_query_http
from app.dashscope.outcomes import CreateOutcome
from tests.media.wire import Answer, Request

API_KEY = "sk-never-shown-4711"
MODEL = "wan2.5-i2i-preview"
TASK = b'{"request_id":"r-1","output":{"task_id":"t-1","task_status":"PENDING"}}'
PATIENCE_SECONDS = 5.0

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@asynccontextmanager
async def calling(base_url: str, api_key: str = API_KEY) -> AsyncIterator[DashScope]:
    """The client over the connections that it has in earnest."""
    async with make_query_http() as queries, make_create_http() as creates:
        yield DashScope(base_url, SecretStr(api_key), queries, creates)


async def create(base_url: str, *, timeout_seconds: float = PATIENCE_SECONDS) -> CreateOutcome:
    async with calling(base_url) as upstream:
        return await upstream.create_task(
            MODEL,
            input_fields={"prompt": "make it blue", "images": ["https://img.example/a.png"]},
            parameters={"n": 1},
            timeout_seconds=timeout_seconds,
        )


async def reset(_: Request, writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


async def close(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def stay_silent(_: Request, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


def begin(answer: bytes) -> Answer:
    """Write the beginning of an answer and never its end."""

    async def write(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await stay_silent(request, writer)

    return write


@asynccontextmanager
async def resetting_on_connect() -> AsyncIterator[str]:
    """A host whose connections are reset before a byte of the request is read."""

    async def drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()

    server = await asyncio.start_server(drop, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
