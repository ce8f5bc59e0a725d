"""Request bodies: each within a limit, all together within a memory budget."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import UUID

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
CALLERS_SHARE = 2
"""One caller's bodies may fill one such part of the room for those that arrive."""
SMALL_BYTES = 256 * 1024
"""Bodies up to that size, nearly all of them, never wait for large ones."""
PARSED_AT_ONCE_BYTES = 16 * 1024
_LENGTH_DIGITS = 18


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


class _Body:
    """A large body on its way: whose it is, and what of it is in memory."""

    __slots__ = ("caller", "held_bytes", "is_waiting")

    def __init__(self, caller: UUID | None) -> None:
        self.caller = caller
        self.held_bytes = 0
        self.is_waiting = False


class BodyBudget:
    """Shares the memory for large bodies among those who send them.

    What has arrived is booked, not what was announced; a whole body is booked with its working
    copies. Where there is no room the body is read no further. The oldest body may always go on,
    so that half-read bodies cannot block each other, and no caller's others hold more than half
    of the room. A client that falls silent for `silence_seconds` within its body, or is slower
    than the slowest rate, gives its memory back.
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
        # The oldest body that arrives, and one that is worked on, always fit.
        self._kept_back_bytes = limit_bytes * (1 + WORKING_COPIES)
        self._budget_bytes = max(budget_bytes, self._kept_back_bytes)
        self._silence_seconds = silence_seconds
        self._small_bytes = small_bytes
        self._arriving: dict[_Body, None] = {}
        self._working_bytes = 0
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def read(self, request: Request, caller: UUID | None = None) -> AsyncIterator[bytes]:
        """The body of a caller who is known; its memory stays booked until the block ends.

        Raises BodyTooLarge, BodyCutShort, or Unavailable when no memory became free.
        """
        announced = find_announced_bytes(request)
        if announced is not None and announced > self._limit_bytes:
            raise BodyTooLarge(self._limit_bytes, announced)
        body = _Body(caller)
        working_bytes = 0
        try:
            arrived = await self._receive(request, body)
            if len(arrived) > self._small_bytes:
                working_bytes = await self._begin_work(body, len(arrived))
            content = bytes(arrived)
            del arrived
            yield content
        finally:
            self._working_bytes -= working_bytes
            self._arriving.pop(body, None)
            self._tell_freed()

    async def _receive(self, request: Request, body: _Body) -> bytearray:
        arrived = bytearray()
        chunks = aiter(request.stream())
        client_seconds = 0.0
        loop = asyncio.get_running_loop()
        try:
            while True:
                began_at = loop.time()
                async with asyncio.timeout(self._silence_seconds):
                    arrived += await anext(chunks)
                client_seconds += loop.time() - began_at
                if len(arrived) > self._limit_bytes:
                    raise BodyTooLarge(self._limit_bytes, None)
                self._check_pace(len(arrived), client_seconds)
                if len(arrived) > self._small_bytes:
                    await self._book(body, len(arrived))
        except StopAsyncIteration:
            return arrived
        except (TimeoutError, ClientDisconnect):
            raise BodyCutShort(
                f"the request body ended after {len(arrived)} bytes, then nothing came for "
                f"{self._silence_seconds:g} seconds: send the request again"
            ) from None

    def _check_pace(self, arrived_bytes: int, client_seconds: float) -> None:
        """Time that the body waited for room is not the client's."""
        if client_seconds > self._silence_seconds + arrived_bytes / SLOWEST_BYTES_PER_SECOND:
            raise BodyCutShort(
                f"the request body was not complete: {arrived_bytes} bytes came in "
                f"{client_seconds:.0f} seconds, and {SLOWEST_BYTES_PER_SECOND} a second is the "
                "least: send it faster, or send images as URLs"
            )

    async def _book(self, body: _Body, arrived_bytes: int) -> None:
        more_bytes = arrived_bytes - body.held_bytes
        self._arriving.setdefault(body)
        await self._wait_until(body, lambda: self._may_arrive(body, more_bytes))
        body.held_bytes = arrived_bytes

    async def _begin_work(self, body: _Body, size: int) -> int:
        """Move a whole body from those that arrive to those that are worked on."""
        share_bytes = size * WORKING_COPIES
        await self._wait_until(body, lambda: self._may_work(body, share_bytes))
        self._arriving.pop(body, None)
        self._working_bytes += share_bytes
        self._tell_freed()
        return share_bytes

    def _may_arrive(self, body: _Body, more_bytes: int) -> bool:
        oldest = next(iter(self._arriving))
        if body is oldest:
            return True
        if self._is_behind(body, oldest):
            return False
        held = {other: other.held_bytes for other in self._arriving if other is not oldest}
        theirs = sum(size for other, size in held.items() if other.caller == body.caller)
        room = self._budget_bytes - self._kept_back_bytes
        spare = self._budget_bytes - self._limit_bytes - self._working_bytes
        fits = sum(held.values()) + more_bytes <= min(room, spare)
        return fits and theirs + more_bytes <= room // CALLERS_SHARE

    def _is_behind(self, body: _Body, oldest: _Body) -> bool:
        """Whether an older body of the same caller waits: that one is completed first."""
        for other in self._arriving:
            if other is body:
                return False
            if other is not oldest and other.caller == body.caller and other.is_waiting:
                return True
        return False

    def _may_work(self, body: _Body, share_bytes: int) -> bool:
        oldest = next(iter(self._arriving), None)
        others = sum(other.held_bytes for other in self._arriving if other not in (body, oldest))
        taken = self._working_bytes + others + self._limit_bytes
        return taken + share_bytes <= self._budget_bytes

    async def _wait_until(self, body: _Body, holds: Callable[[], bool]) -> None:
        body.is_waiting = True
        try:
            async with asyncio.timeout(ROOM_LIMIT_SECONDS):
                while not holds():
                    await self._freed.wait()
        except TimeoutError:
            raise Unavailable(
                "too many large request bodies are being read: send this one again in a moment, "
                "or send images as URLs",
                code="bodies_full",
            ) from None
        finally:
            body.is_waiting = False

    def _tell_freed(self) -> None:
        self._freed.set()
        self._freed = asyncio.Event()


def find_announced_bytes(request: Request) -> int | None:
    """What Content-Length says; any number of zeros may stand in front of it (RFC 9110, 8.6)."""
    value = request.headers.get("content-length", "")
    if not (value.isascii() and value.isdecimal()):
        return None
    digits = value.lstrip("0") or "0"
    return int(digits) if len(digits) <= _LENGTH_DIGITS else 10**_LENGTH_DIGITS


async def parse_body(body: bytes, parse: Callable[[bytes], Parsed]) -> Parsed:
    """Parse beside the event loop when the body is large enough to hold it up.

    A picture of some kilobytes can be made to take longer than any text of that size.
    """
    if len(body) <= PARSED_AT_ONCE_BYTES:
        return parse(body)
    return await asyncio.to_thread(parse, body)


def with_head(request: Request, head: bytes, *, is_whole: bool) -> Request:
    """The request again, after the beginning of its body has been read."""
    is_head_due = True

    async def receive() -> Message:
        nonlocal is_head_due
        if is_head_due:
            is_head_due = False
            return {"type": "http.request", "body": head, "more_body": not is_whole}
        return await request.receive()

    return Request(request.scope, receive)
