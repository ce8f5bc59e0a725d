"""The upstream's word that a task has ended: a hint to look, never a result."""

from collections import OrderedDict
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import SecretStr

from app.dashscope.certificates import Certificates
from app.dashscope.eventbridge import (
    CERTIFICATE_HEADER,
    EventRejected,
    Push,
    check_claim,
    find_finished_task,
    verify_push,
)
from app.jobs.events import hint_task
from app.kit.postgres.database import Pool
from app.web.bodies import BodyBudget
from app.web.context import DoorsHere
from app.wiring import Doors

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

EVENT_BYTES_LIMIT = 256 * 1024
REMEMBERED_COUNT = 10_000

router = APIRouter(include_in_schema=False)


class EventDesk:
    """What hearing events takes: the token of the target, the keys, and who was heard of."""

    def __init__(self, token: SecretStr, certificates: Certificates) -> None:
        self.token = token
        self.certificates = certificates
        self.bodies = BodyBudget(limit_bytes=EVENT_BYTES_LIMIT, budget_bytes=EVENT_BYTES_LIMIT)
        self._hinted: OrderedDict[str, None] = OrderedDict()

    async def hint(self, pool: Pool, task_id: str) -> None:
        """Wake the engine once for a running task: whatever else comes of it is a repetition."""
        if task_id in self._hinted or not await hint_task(pool, task_id):
            return
        self._hinted[task_id] = None
        if len(self._hinted) > REMEMBERED_COUNT:
            self._hinted.popitem(last=False)


async def get_event_desk(request: Request) -> EventDesk:
    desk: EventDesk = request.app.state.event_desk
    return desk


EventDeskHere = Annotated[EventDesk, Depends(get_event_desk)]


@router.post("/hooks/eventbridge")
async def hear_event(request: Request, doors: DoorsHere, desk: EventDeskHere) -> Response:
    """Wake the engine for a running task; 200 tells nobody whether we know the task."""
    check_claim(request.headers, token=desk.token.get_secret_value(), now=doors.base.clock())
    async with desk.bodies.read(request) as body:
        await _verify(Push(_find_address(request, doors), request.headers, body), desk)
        task_id = find_finished_task(body)
    if task_id is not None:
        await desk.hint(doors.base.pool, task_id)
    return Response()


async def _verify(push: Push, desk: EventDesk) -> None:
    key = await desk.certificates.get_key(push.headers.get(CERTIFICATE_HEADER, ""))
    try:
        verify_push(push, key)
    except EventRejected:
        # Whoever knows the token is most likely EventBridge, pushing to another address.
        log.warning("hook.signature_rejected", address=push.url.partition("?")[0])
        raise


def _find_address(request: Request, doors: Doors) -> str:
    """Our address as the event target has it, which a proxy may have changed on the way."""
    public_url = doors.base.settings.public_url
    if public_url is None:
        return str(request.url)
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{public_url.rstrip('/')}{request.url.path}{query}"
