"""Telling a create that an SDK sends again by itself from an equal one that is meant.

An SDK that loses its connection sends the same bytes again. Equal bytes alone say nothing, for a
loop may ask for the same edit twice: the second sending is the first one's only when the first
could not be answered, because its client or its process was gone.
"""

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import Depends, Request

from app.dashscope.payloads import SESSION_HEADER
from app.jobs.accepting.outcomes import Acceptance, Idempotency
from app.jobs.intake import Unconfirmed
from app.kit.errors import GatewayError
from app.kit.ids import make_uuid7
from app.web.context import DoorsHere
from app.wiring import Doors

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Guard = tuple[UUID, str]
"""The team that sends, and the key that its equal creates share."""


class Sending:
    """One request that creates a task, guarded against a second sending until it is answered."""

    def __init__(self, request: Request, doors: Doors) -> None:
        self._request = request
        self._doors = doors
        self._guard: Guard | None = None
        self._accepted_id: UUID | None = None
        self._was_lost = False
        self.job_id = make_uuid7()
        """Of the job that this request makes, if it makes one."""

    def guard(self, team_id: UUID, body: bytes) -> Idempotency:
        """The guard that acceptance is to store; it waits for the end of equal creates."""
        session = self._request.headers.get(SESSION_HEADER, "")
        digest = sha256(session.encode() + b"\0" + body)
        self._guard = (team_id, f"sent:{digest.hexdigest()}")
        return Idempotency(
            self._guard[1],
            digest.digest(),
            guard_owner=self._doors.presence.number,
            is_abandoned=self._request.is_disconnected,
        )

    async def note_accepted(self, acceptance: Acceptance) -> None:
        """Just before the answer goes out: is there anyone to read it?"""
        self._accepted_id = acceptance.job_id
        try:
            self._was_lost = await self._request.is_disconnected()
        except Exception:
            log.exception("create.client_unknown")

    async def end(self) -> None:
        """The answer was written, as far as it could be."""
        if self._guard is None or self._accepted_id is None:
            return
        guards = self._doors.accept.intake.guards
        settle = guards.arm if self._was_lost else guards.release
        await settle(*self._guard, self._accepted_id)

    def fail(self, error: BaseException) -> None:
        """No answer: a repeat is the same create, unless nothing was stored for certain."""
        if self._guard is None:
            return
        if isinstance(error, GatewayError) and not isinstance(error, Unconfirmed):
            return
        job_id = self._accepted_id or self.job_id
        self._doors.accept.intake.guards.arm_when_found(*self._guard, job_id)


async def open_sending(request: Request, doors: DoorsHere) -> AsyncIterator[Sending]:
    """Ends the sending after its answer has been written, or has failed."""
    sending = Sending(request, doors)
    try:
        yield sending
    except BaseException as error:
        sending.fail(error)
        raise
    await sending.end()


SendingHere = Annotated[Sending, Depends(open_sending)]
