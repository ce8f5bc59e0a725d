"""Acceptance of one request: its key first, then its inputs, then the job through the intake."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never
from uuid import UUID

from app.jobs.accepting.keys import find_earlier
from app.jobs.accepting.outcomes import Acceptance, Idempotency, NewJob
from app.jobs.intake import ACCEPT_SECONDS, Intake
from app.jobs.requests.edit import (
    EditRequest,
    FileImage,
    ImageInput,
    InlineImage,
    OssImage,
    UrlImage,
    to_file_ref,
)
from app.kit.deadlines import DeadlinePassed, within
from app.kit.errors import FieldProblem, GatewayError, InvalidRequest, Unavailable
from app.kit.ids import make_uuid7
from app.kit.postgres.database import Pool
from app.media.files.keeping import StoredFile, find_file, find_upload, keep_input
from app.media.files.quota import InputQuota
from app.media.store import PictureStore


@dataclass(frozen=True, slots=True)
class AcceptDesk:
    """What acceptance needs."""

    pool: Pool
    store: PictureStore
    intake: Intake
    job_ttl_seconds: int
    quota: InputQuota | None = None
    accept_seconds: float = ACCEPT_SECONDS


@dataclass(frozen=True, slots=True)
class Asker:
    """For whom a job is accepted, and through which door."""

    team_id: UUID
    key_id: UUID
    door: str


async def accept_job(
    desk: AcceptDesk,
    asker: Asker,
    request: EditRequest,
    *,
    idempotency: Idempotency | None = None,
    job_id: UUID | None = None,
    images_loc: tuple[str, ...] = ("images",),
) -> Acceptance:
    """Accept a checked request; once this returns, the job survives any crash.

    It takes `accept_seconds` at most. Raises InvalidRequest for an input that is not there, and
    what `Intake.accept` raises.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + desk.accept_seconds
    try:
        found = await within(
            desk.accept_seconds, _prepare(desk, asker, request, idempotency, images_loc)
        )
    except DeadlinePassed:
        raise Unavailable(
            f"the request was not prepared within {desk.accept_seconds:g} seconds, for the "
            "database or the store did not answer; nothing was accepted: send the request again",
            code="acceptance_slow",
        ) from None
    if isinstance(found, Acceptance):
        return found
    job = _make_job(desk, asker, request, job_id or make_uuid7(), found, idempotency)
    return await desk.intake.accept(job, within_seconds=until - loop.time())


Inputs = list[StoredFile | UrlImage]


async def _prepare(
    desk: AcceptDesk,
    asker: Asker,
    request: EditRequest,
    idempotency: Idempotency | None,
    images_loc: tuple[str, ...],
) -> Acceptance | Inputs:
    """The inputs, found or stored; or the job that the key made before, and then none of them."""
    brings_files = not all(isinstance(image, UrlImage) for image in request.images)
    is_own_key = idempotency is not None and idempotency.guard_owner is None
    if idempotency is not None and is_own_key and brings_files:
        earlier = await find_earlier(desk.pool, asker.team_id, idempotency)
        if isinstance(earlier, GatewayError):
            raise earlier
        if earlier is not None:
            return earlier
    return await _gather_inputs(desk, asker, request.images, images_loc)


async def _gather_inputs(
    desk: AcceptDesk, asker: Asker, images: Sequence[ImageInput], loc: tuple[str, ...]
) -> Inputs:
    """In the order of the request; content is stored once all references hold."""
    found = iter(
        [
            await _find(desk.pool, asker.team_id, image, (*loc, index))
            for index, image in enumerate(images)
            if isinstance(image, FileImage | OssImage)
        ]
    )
    inputs: Inputs = []
    for image in images:
        match image:
            case UrlImage():
                inputs.append(image)
            case FileImage() | OssImage():
                inputs.append(next(found))
            case InlineImage(content, facts):
                inputs.append(
                    await keep_input(
                        desk.pool, desk.store, asker.team_id, content, facts, desk.quota
                    )
                )
            case _:
                assert_never(image)
    return inputs


async def _find(
    pool: Pool, team_id: UUID, image: FileImage | OssImage, loc: tuple[str | int, ...]
) -> StoredFile:
    match image:
        case FileImage(file_id):
            name = to_file_ref(file_id)
            file = await find_file(pool, team_id, file_id)
        case OssImage(key):
            name = f"oss://{key}"
            file = await find_upload(pool, team_id, key)
    if file is None:
        message = f"{name} is not a file of yours, or it has expired: upload it again"
        raise InvalidRequest.from_problems((FieldProblem(loc, "file_not_found", message),))
    return file


def _make_job(
    desk: AcceptDesk,
    asker: Asker,
    request: EditRequest,
    job_id: UUID,
    inputs: Inputs,
    idempotency: Idempotency | None,
) -> NewJob:
    row = {
        "id": str(job_id),
        "team_id": str(asker.team_id),
        "key_id": str(asker.key_id),
        "door": asker.door,
        "model": request.model,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "images": [_to_reference(image) for image in inputs],
        "n": request.n,
        "size": request.size,
        "seed": request.seed,
        "watermark": request.watermark,
        "prompt_extend": request.prompt_extend,
        "metadata": request.metadata,
        "priority": request.priority,
        "ttl_seconds": min(
            request.expires_in_seconds or desk.job_ttl_seconds, desk.job_ttl_seconds
        ),
    }
    input_ids = tuple({image.id for image in inputs if isinstance(image, StoredFile)})
    return NewJob(job_id, asker.team_id, request.model, row, idempotency, input_ids)


def _to_reference(image: StoredFile | UrlImage) -> dict[str, Any]:
    """What the job keeps of an input: its URL, or where its content lies in the store."""
    if isinstance(image, UrlImage):
        return {"url": image.url}
    return {
        "file_id": to_file_ref(image.id),
        "store_key": image.store_key,
        "content_type": image.content_type,
        "sha256": image.sha256,
        "width": image.width,
        "height": image.height,
    }
