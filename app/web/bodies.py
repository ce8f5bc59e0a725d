"""Request bodies: each within a limit, all together within a memory budget."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from app.kit.errors import GatewayError, InvalidRequest, Unavailable

Parsed = TypeVar("Parsed")

WORKING_COPIES = 3
"""A body in base64 is held as bytes, as text and decoded, for a moment all at once."""
SILENCE_LIMIT_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 256 * 1024
"""A slower client gives its memory back: a drip must not keep the others out."""
ROOM_LIMIT_SECONDS = 30.0
SMALL_BYTES = 256 * 1024
"""Bodies up to that size, nearly all of them, never wait for large ones."""


class BodyTooLarge(GatewayError):
    code = "body_too_large"

    def __init__(self, limit_bytes: int, actual_bytes: int | None) -> None:
        had = "" if actual_bytes is None else f"; it has {actual_bytes}"
        super().__init__(
            f"the request body may have {limit_bytes} bytes{had}: send images as URLs or upload "
            "them as files first"
        )


class BodyCutShort(InvalidRequest):
    """The client fell silent or left within its body."""

    code = "body_cut_short"


class BodyBudget:
    """Admits large bodies while their memory fits into the budget; the others wait unread.

    A client that falls silent for `silence_seconds` within its body, or takes longer than that
    and the slowest rate allow, gives its memory back.
    """

    def __init__(
        self,
        *,
        limit_bytes: int,
        budget_bytes: int,
        silence_seconds: float = SILENCE_LIMIT_SECONDS,
        small_bytes: int = SMALL_BYTES,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._free_bytes = max(budget_bytes, limit_bytes * WORKING_COPIES)
        self._silence_seconds = silence_seconds
        self._small_bytes = small_bytes
        self._room = asyncio.Condition()

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body, whose memory stays booked until the block ends.

        Raises BodyTooLarge, BodyCutShort, or Unavailable when no memory became free.
        """
        announced = _announced_bytes(request)
        if announced is not None and announced > self._limit_bytes:
            raise BodyTooLarge(self._limit_bytes, announced)
        expected = self._limit_bytes if announced is None else announced
        async with self._booked(expected * WORKING_COPIES if expected > self._small_bytes else 0):
            limit_seconds = self._silence_seconds + expected / SLOWEST_BYTES_PER_SECOND
            try:
                async with asyncio.timeout(limit_seconds):
                    body = await self._receive(request)
            except TimeoutError:
                raise BodyCutShort(
                    f"the request body was not complete after {limit_seconds:.0f} seconds: send "
                    "it faster, or send images as URLs"
                ) from None
            yield body

    @asynccontextmanager
    async def _booked(self, share_bytes: int) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(ROOM_LIMIT_SECONDS), self._room:
                await self._room.wait_for(lambda: self._free_bytes >= share_bytes)
                self._free_bytes -= share_bytes
        except TimeoutError:
            raise Unavailable(
                "too many large request bodies are being read: send this one again in a moment",
                code="bodies_full",
            ) from None
        try:
            yield
        finally:
            async with self._room:
                self._free_bytes += share_bytes
                self._room.notify_all()

    async def _receive(self, request: Request) -> bytes:
        body = bytearray()
        chunks = aiter(request.stream())
        try:
            while True:
                async with asyncio.timeout(self._silence_seconds):
                    body += await anext(chunks)
                if len(body) > self._limit_bytes:
                    raise BodyTooLarge(self._limit_bytes, None)
        except StopAsyncIteration:
            return bytes(body)
        except (TimeoutError, ClientDisconnect):
            raise BodyCutShort(
                f"the request body ended after {len(body)} bytes, then nothing came for "
                f"{self._silence_seconds:g} seconds: send the request again"
            ) from None


def _announced_bytes(request: Request) -> int | None:
    value = request.headers.get("content-length", "")
    return int(value) if value.isdecimal() else None


async def parse_body(body: bytes, parse: Callable[[bytes], Parsed]) -> Parsed:
    """Parse beside the event loop when the body is large enough to hold it up."""
    if len(body) <= SMALL_BYTES:
        return parse(body)
    return await asyncio.to_thread(parse, body)


def with_body(request: Request, body: bytes) -> Request:
    """The request again, with a body that has been read."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)
