"""The connections of creates: the answer is listened for while the request is still written.

Source: RFC 9110, 7.5 and RFC 9112, 9.3 (a server may answer and close before it has read the
request; a client that sends a body should watch for that). A server that closes with bytes unread
resets the connection, and what it said is lost to who has not read it by then.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Iterable
from functools import cache
from typing import Any

import httpcore
import httpx
from httpx_aiohttp import AiohttpTransport

from app.dashscope.sending import UNSENT_BYTES
from app.kit.cookies import refuse_cookies

READ_BYTES = 64 * 1024
HEARD_BYTES_LIMIT = 64 * 1024
"""Interim answers are shorter: who says more and answers nothing is not listened to."""

# An interim answer (1xx) has no body, so that the next one begins after its empty line.
_ANSWER = re.compile(rb"(?:\A|\r?\n\r?\n)HTTP/\d\.\d [2-9]")


class Line(httpcore.AsyncNetworkStream):
    """One connection. Timeouts are its caller's own: none of a single step is kept here."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._listening: asyncio.Task[bytes] | None = None
        self._heard = bytearray()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Raises WriteError once there is an answer: then httpcore goes on to read it."""
        writing = asyncio.create_task(self._stream.write(buffer))
        try:
            while not writing.done():
                listening = self._listen()
                # One that has failed or found the end has nothing more to tell.
                waited = {writing} if listening.done() else {writing, listening}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                self._take_heard()
                if _ANSWER.search(self._heard):
                    raise httpcore.WriteError("answered before the request was whole")
                if len(self._heard) > HEARD_BYTES_LIMIT:
                    raise httpcore.WriteError("talked to without an answer")
        finally:
            await _end(writing)
        writing.result()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if not self._heard:
            if self._listening is None:
                return await self._stream.read(max_bytes)
            listening, self._listening = self._listening, None
            self._heard += await listening
        told = bytes(self._heard[:max_bytes])
        del self._heard[:max_bytes]
        return told

    async def aclose(self) -> None:
        if self._listening is not None:
            await _end(self._listening)
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return Line(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def _listen(self) -> asyncio.Task[bytes]:
        if self._listening is None:
            self._listening = asyncio.create_task(self._stream.read(READ_BYTES))
        return self._listening

    def _take_heard(self) -> None:
        """An end and a failure stay where they are, for `read`."""
        listening = self._listening
        if listening is None or not listening.done() or listening.exception() is not None:
            return
        if listening.result():
            self._heard += listening.result()
            self._listening = None


class LineBackend(httpcore.AsyncNetworkBackend):
    """Makes connections as httpcore does."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return Line(
            await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        )


_trusted = cache(httpx.create_ssl_context)
"""The certificates that are believed, read once."""


class LineTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over such connections, each for one request."""

    def __init__(self, *, max_connections: int, socket_options: Iterable[Any]) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_trusted(),
            max_connections=max_connections,
            max_keepalive_connections=0,
            retries=0,
            socket_options=socket_options,
            network_backend=LineBackend(),
        )


async def _end(task: asyncio.Task[Any]) -> None:
    """Let a task be over, whatever becomes of it; what it had to tell stays with it."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def make_query_http() -> httpx.AsyncClient:
    """Connections for queries, kept alive: they may be repeated, so a stale one does no harm."""
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=15)
    return httpx.AsyncClient(
        transport=AiohttpTransport(limits=limits),
        cookies=refuse_cookies(),
        follow_redirects=False,
        trust_env=False,
    )


def make_create_http() -> httpx.AsyncClient:
    """A fresh connection for each create: no stale one can eat it.

    Over httpx's own transport, because the other one reports a reset after the request was
    written as a failure to connect, which would be taken for `NotSent`.
    """
    transport = LineTransport(
        max_connections=64,
        socket_options=[(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT_BYTES)],
    )
    return httpx.AsyncClient(
        transport=transport, cookies=refuse_cookies(), follow_redirects=False, trust_env=False
    )
