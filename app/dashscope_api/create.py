"""Create a task: routed by model, accepted once, answered only after it is durable."""

from collections.abc import Mapping
from functools import partial

from fastapi import APIRouter, Request

from app.dashscope.payloads import (
    ASYNC_HEADER,
    IMAGE_TO_IMAGE_PATH,
    TEXT_TO_IMAGE_PATH,
    TaskStatus,
)
from app.dashscope_api.answers import WireResponse, to_created
from app.dashscope_api.errors import WireError
from app.dashscope_api.sendings import SendingHere
from app.jobs.accept import Asker, accept_job
from app.jobs.accepting.outcomes import Idempotency
from app.jobs.requests.edit import EditRequest, fingerprint
from app.jobs.requests.parse_dashscope import parse_dashscope
from app.web.bodies import parse_body
from app.web.context import Bodies, DoorsHere, Reader, Writer
from app.web.idempotency import read_idempotency_key
from app.web.json_bodies import MalformedBody, UnsupportedBody, parse_json
from app.web.request_ids import request_id_of

DOOR = "dashscope"
IMAGES_LOC = ("input", "images")

router = APIRouter()


@router.post(IMAGE_TO_IMAGE_PATH)
@router.post(TEXT_TO_IMAGE_PATH)
async def create_task(
    request: Request, doors: DoorsHere, bodies: Bodies, caller: Writer, sending: SendingHere
) -> WireResponse:
    """Both paths serve every model: SDKs choose the path, the model says what is meant."""
    if request.headers.get(ASYNC_HEADER, "").lower() != "enable":
        message = "current user api does not support synchronous calls"
        raise WireError(403, "AccessDenied", message)
    key = read_idempotency_key(request)
    assert caller.team_id is not None
    asker = Asker(caller.team_id, caller.key_id, DOOR)
    async with bodies.read(request, caller.team_id) as body:
        asked = await parse_body(body, partial(_parse, headers=request.headers))
        once = (
            sending.guard(caller.team_id, body)
            if key is None
            else Idempotency(f"key:{key}", fingerprint(asked))
        )
        acceptance = await accept_job(
            doors.accept,
            asker,
            asked,
            idempotency=once,
            job_id=sending.job_id,
            images_loc=IMAGES_LOC,
        )
    await sending.note_accepted(acceptance)
    answer = to_created(str(acceptance.job_id), TaskStatus.PENDING, request_id_of(request))
    return WireResponse(answer)


@router.get("/public-keys/latest")
async def refuse_encryption(_: Reader) -> None:
    """What an SDK asks for before it sends an encrypted create."""
    message = "this gateway does not take encrypted requests: call it without enableEncrypt"
    raise WireError(400, "InvalidParameter", message)


def _parse(body: bytes, headers: Mapping[str, str]) -> EditRequest:
    try:
        return parse_dashscope(parse_json(body, headers))
    except MalformedBody as error:
        status = 415 if isinstance(error, UnsupportedBody) else 400
        message = f"Required body invalid, please check the request body format. {error.message}"
        raise WireError(status, "InvalidParameter", message) from None
