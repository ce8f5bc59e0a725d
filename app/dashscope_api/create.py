"""Create a task: routed by model, accepted once, answered only after it is durable."""

import asyncio
from hashlib import sha256
from uuid import UUID

import orjson
from fastapi import APIRouter, Request
from starlette.background import BackgroundTask

from app.dashscope.payloads import (
    ASYNC_HEADER,
    IMAGE_TO_IMAGE_PATH,
    SESSION_HEADER,
    TEXT_TO_IMAGE_PATH,
    TaskStatus,
)
from app.dashscope_api.answers import WireResponse, to_created
from app.dashscope_api.errors import WireError
from app.jobs.accept import Asker, accept_job
from app.jobs.acceptance import Idempotency
from app.jobs.intake import Intake
from app.jobs.requests.edit import EditRequest, fingerprint
from app.jobs.requests.parse_dashscope import parse_dashscope
from app.web.context import Bodies, DoorsHere, Writer
from app.web.idempotency import read_idempotency_key
from app.web.request_ids import request_id_of

DOOR = "dashscope"
IMAGES_LOC = ("input", "images")

router = APIRouter()


@router.post(IMAGE_TO_IMAGE_PATH)
@router.post(TEXT_TO_IMAGE_PATH)
async def create_task(
    request: Request, doors: DoorsHere, bodies: Bodies, caller: Writer
) -> WireResponse:
    """Both paths serve every model: SDKs choose the path, the model says what is meant."""
    if request.headers.get(ASYNC_HEADER, "").lower() != "enable":
        message = "current user api does not support synchronous calls"
        raise WireError(403, "AccessDenied", message)
    assert caller.team_id is not None
    asker = Asker(caller.team_id, caller.key_id, DOOR)
    async with bodies.read(request) as body:
        asked = await asyncio.to_thread(_parse, body)
        idempotency = _make_idempotency(request, body, asked, owner=doors.presence.number)
        acceptance = await accept_job(
            doors.accept, asker, asked, idempotency=idempotency, images_loc=IMAGES_LOC
        )
    answer = to_created(str(acceptance.job_id), TaskStatus.PENDING, request_id_of(request))
    if not acceptance.guarded:
        return WireResponse(answer)
    return await _answer_guarded(
        request, answer, doors.accept.intake, guard=(caller.team_id, idempotency.key)
    )


def _parse(body: bytes) -> EditRequest:
    try:
        return parse_dashscope(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        message = (
            "Required body invalid, please check the request body format. "
            f"It is not JSON: {error.msg} at character {error.pos}."
        )
        raise WireError(400, "InvalidParameter", message) from None


def _make_idempotency(
    request: Request, body: bytes, asked: EditRequest, *, owner: int
) -> Idempotency:
    """The client's key; without one, a guard against the SDK's own second sending.

    An SDK that loses its connection sends the same bytes again. Equal bytes alone say nothing,
    for a loop may ask for the same edit twice: the guard counts only while its answer has not
    been written and its client or this process is gone.
    """
    key = read_idempotency_key(request)
    if key is not None:
        return Idempotency(f"key:{key}", fingerprint(asked))
    session = request.headers.get(SESSION_HEADER, "")
    digest = sha256(session.encode() + b"\0" + body)
    return Idempotency(f"sent:{digest.hexdigest()}", digest.digest(), guard_owner=owner)


async def _answer_guarded(
    request: Request, answer: dict[str, object], intake: Intake, *, guard: tuple[UUID, str]
) -> WireResponse:
    if await request.is_disconnected():
        await intake.arm_guard(*guard)
        return WireResponse(answer)
    return WireResponse(answer, background=BackgroundTask(intake.release_guard, *guard))
