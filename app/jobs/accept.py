"""Acceptance of one request: its inputs into the store, then the job through the intake."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_never
from uuid import UUID

from app.jobs.acceptance import Acceptance, Idempotency, NewJob
from app.jobs.intake import Intake
from app.jobs.requests.edit import (
    EditRequest,
    FileImage,
    ImageInput,
    InlineImage,
    OssImage,
    UrlImage,
    to_file_ref,
)
from app.kit.clock import Clock
from app.kit.database import Pool
from app.kit.errors import FieldProblem, InvalidRequest
from app.kit.ids import make_uuid7
from app.media.files import (
    FileOrigin,
    StoredFile,
    find_file,
    find_upload,
    insert_file,
    keep_content,
)
from app.media.store import PictureStore

INPUT_GRACE = timedelta(days=2)
"""Inputs outlive their job's last chance to be submitted by that much."""


@dataclass(frozen=True, slots=True)
class AcceptDesk:
    """What acceptance needs."""

    pool: Pool
    store: PictureStore
    intake: Intake
    clock: Clock
    job_ttl_seconds: int


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
    images_loc: tuple[str, ...] = ("images",),
) -> Acceptance:
    """Accept a checked request; once this returns, the job survives any crash.

    Raises InvalidRequest for an input that is not there, and what `Intake.accept` raises.
    """
    ttl_seconds = min(request.expires_in_seconds or desk.job_ttl_seconds, desk.job_ttl_seconds)
    images = [
        await _keep_input(desk, asker, image, loc=(*images_loc, index), ttl_seconds=ttl_seconds)
        for index, image in enumerate(request.images)
    ]
    job_id = make_uuid7()
    row = {
        "id": str(job_id),
        "team_id": str(asker.team_id),
        "key_id": str(asker.key_id),
        "door": asker.door,
        "model": request.model,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "images": images,
        "n": request.n,
        "size": request.size,
        "seed": request.seed,
        "watermark": request.watermark,
        "prompt_extend": request.prompt_extend,
        "metadata": request.metadata,
        "priority": request.priority,
        "ttl_seconds": ttl_seconds,
    }
    return await desk.intake.accept(NewJob(job_id, asker.team_id, request.model, row, idempotency))


async def _keep_input(
    desk: AcceptDesk,
    asker: Asker,
    image: ImageInput,
    *,
    loc: tuple[str | int, ...],
    ttl_seconds: int,
) -> dict[str, Any]:
    """The reference that the job keeps: a URL, or where the content lies in the store."""
    match image:
        case UrlImage(url):
            return {"url": url}
        case InlineImage(content, facts):
            store_key = await keep_content(desk.store, content, facts)
            expires_at = desk.clock() + timedelta(seconds=ttl_seconds) + INPUT_GRACE
            origin = FileOrigin(asker.team_id, expires_at)
            file = await insert_file(desk.pool, origin, facts, store_key=store_key)
            return _to_reference(file)
        case FileImage(file_id):
            found = await find_file(desk.pool, asker.team_id, file_id)
            return await _borrow(desk, found, loc, to_file_ref(file_id), ttl_seconds)
        case OssImage(key):
            found = await find_upload(desk.pool, asker.team_id, key)
            return await _borrow(desk, found, loc, f"oss://{key}", ttl_seconds)
    assert_never(image)


async def _borrow(
    desk: AcceptDesk,
    file: StoredFile | None,
    loc: tuple[str | int, ...],
    name: str,
    ttl_seconds: int,
) -> dict[str, Any]:
    """Keep a file for as long as the job may need it."""
    if file is None:
        raise InvalidRequest.from_problems(
            (
                FieldProblem(
                    loc,
                    "file_not_found",
                    f"{name} is not a file of yours, or it has expired: upload it again",
                ),
            )
        )
    needed_until = desk.clock() + timedelta(seconds=ttl_seconds) + INPUT_GRACE
    await desk.pool.execute(
        "update files set expires_at = $2 where id = $1 and expires_at < $2", file.id, needed_until
    )
    return _to_reference(file)


def _to_reference(file: StoredFile) -> dict[str, Any]:
    return {
        "file_id": to_file_ref(file.id),
        "store_key": file.store_key,
        "content_type": file.content_type,
        "sha256": file.sha256,
        "width": file.width,
        "height": file.height,
    }
