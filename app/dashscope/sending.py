"""A create's body on its way: written in pieces, by a deadline, known to be whole or not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from app.dashscope.payloads import DATA_URI_BYTES_LIMIT, IMAGES_LIMIT
from app.kit.clock import elapsed_seconds

SLOWEST_BYTES_PER_SECOND = 1_000_000.0
CREATE_BYTES_LIMIT = IMAGES_LIMIT * DATA_URI_BYTES_LIMIT + 64 * 1024
"""Three images as text, and the words."""
SMALL_BODY_BYTES = 256 * 1024
"""Up to there it is no body's fault that it cannot be written, but the connection's."""
PIECE_BYTES = 64 * 1024
"""Written at a time."""
UNSENT_BYTES = 256 * 1024
"""What the system may hold of a body that is written but not sent; Linux doubles it. By default it
takes some megabytes, and the time for the answer would begin while they wait."""
HELD_BYTES = 2 * UNSENT_BYTES + 2 * PIECE_BYTES
"""What is at most written but not sent, with what the event loop holds."""

# Headers without the body that they announce are no request yet.
_SENDING = ("send_request_headers.started", "send_request_body.started")


class TooLateToSend(Exception):
    """The deadline of a create passed before its body was on the wire: nothing was asked."""


@dataclass(slots=True)
class Body:
    """A request's body in pieces, the very last byte by itself.

    As long as that one was not handed over, the upstream cannot have the request whole.
    """

    content: bytes = field(repr=False)
    when_whole: Callable[[], None] | None = None
    sent_bytes: int = 0
    is_whole: bool = False

    @property
    def is_at_fault(self) -> bool:
        """Whether it may be its size that keeps it from being written; not if nothing was."""
        return self.sent_bytes > 0 and len(self.content) > SMALL_BODY_BYTES

    async def __aiter__(self) -> AsyncIterator[bytes]:
        last = len(self.content) - 1
        for start in range(0, last, PIECE_BYTES):
            piece = self.content[start : min(start + PIECE_BYTES, last)]
            yield piece
            self.sent_bytes += len(piece)
        self.is_whole = True
        if self.when_whole is not None:
            self.when_whole()
        yield self.content[last:]


def allow(limit: asyncio.Timeout, unsent_seconds: float, answer_seconds: float) -> None:
    """Give the answer its time, once what the system still holds of the body has had its own.

    That is over by the limit there was: until then the whole body may have taken.
    """
    sent_at = asyncio.get_running_loop().time() + unsent_seconds
    written_by = limit.when()
    limit.reschedule(
        answer_seconds + (sent_at if written_by is None else min(sent_at, written_by))
    )


@dataclass(frozen=True, slots=True)
class Deadline:
    """Asked by the transport at each of its steps; lets no request begin too late."""

    send_before: float

    async def __call__(self, step: str, _: object) -> None:
        if step.endswith(_SENDING) and elapsed_seconds() > self.send_before:
            raise TooLateToSend
