"""Request bodies: each within a limit, all together within a memory budget."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from app.kit.errors import GatewayError

WORKING_COPIES = 3
"""A body in base64 is held as bytes, as text and decoded, for a moment all at once."""


class BodyTooLarge(GatewayError):
    code = "body_too_large"

    def __init__(self, limit_bytes: int, actual_bytes: int | None) -> None:
        had = "" if actual_bytes is None else f"; it has {actual_bytes}"
        super().__init__(
            f"the request body may have {limit_bytes} bytes{had}: send images as URLs or upload "
            "them as files first"
        )


class BodyBudget:
    """Admits bodies in the order they come while their memory fits; the others wait unread."""

    def __init__(self, *, limit_bytes: int, budget_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._free_bytes = max(budget_bytes, limit_bytes * WORKING_COPIES)
        self._room = asyncio.Condition()

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body, whose memory stays booked until the block ends. Raises BodyTooLarge."""
        announced = _announced_bytes(request)
        if announced is not None and announced > self._limit_bytes:
            raise BodyTooLarge(self._limit_bytes, announced)
        share = (self._limit_bytes if announced is None else announced) * WORKING_COPIES
        async with self._room:
            await self._room.wait_for(lambda: self._free_bytes >= share)
            self._free_bytes -= share
        try:
            yield await self._receive(request)
        finally:
            async with self._room:
                self._free_bytes += share
                self._room.notify_all()

    async def _receive(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limit_bytes:
                raise BodyTooLarge(self._limit_bytes, None)
        return bytes(body)


def _announced_bytes(request: Request) -> int | None:
    value = request.headers.get("content-length", "")
    return int(value) if value.isdecimal() else None
