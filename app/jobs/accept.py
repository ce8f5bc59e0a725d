"""Acceptance of one request: its inputs into the store, then the job through the intake."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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
from app.kit.errors import FieldProblem, InvalidRequest
from app.kit.ids import make_uuid7
from app.kit.postgres.database import Pool
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
    keeper = _InputKeeper(desk, asker, needed_until=desk.clock() + timedelta(seconds=ttl_seconds))
    images = await keeper.keep(request.images, images_loc)
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


class _InputKeeper:
    """Brings the inputs of one job together; content is stored once all references hold."""

    def __init__(self, desk: AcceptDesk, asker: Asker, *, needed_until: datetime) -> None:
        self._desk = desk
        self._team_id = asker.team_id
        self._keep_until = needed_until + INPUT_GRACE

    async def keep(
        self, images: Sequence[ImageInput], loc: tuple[str, ...]
    ) -> list[dict[str, Any]]:
        """The references that the job keeps: URLs, or where content lies in the store."""
        found = [
            await self._find(image, (*loc, index))
            for index, image in enumerate(images)
            if isinstance(image, FileImage | OssImage)
        ]
        borrowed = iter([await self._borrow(file) for file in found])
        return [
            next(borrowed)
            if isinstance(image, FileImage | OssImage)
            else await self._bring_in(image)
            for image in images
        ]

    async def _bring_in(self, image: UrlImage | InlineImage) -> dict[str, Any]:
        match image:
            case UrlImage(url):
                return {"url": url}
            case InlineImage(content, facts):
                store_key = await keep_content(self._desk.store, content, facts)
                origin = FileOrigin(self._team_id, self._keep_until)
                return _to_reference(
                    await insert_file(self._desk.pool, origin, facts, store_key=store_key)
                )
        assert_never(image)

    async def _find(self, image: FileImage | OssImage, loc: tuple[str | int, ...]) -> StoredFile:
        match image:
            case FileImage(file_id):
                name = to_file_ref(file_id)
                file = await find_file(self._desk.pool, self._team_id, file_id)
            case OssImage(key):
                name = f"oss://{key}"
                file = await find_upload(self._desk.pool, self._team_id, key)
        if file is None:
            message = f"{name} is not a file of yours, or it has expired: upload it again"
            raise InvalidRequest.from_problems((FieldProblem(loc, "file_not_found", message),))
        return file

    async def _borrow(self, file: StoredFile) -> dict[str, Any]:
        """Have a file kept for as long as the job may need it."""
        await self._desk.pool.execute(
            "update files set expires_at = greatest(expires_at, $2) where id = $1",
            file.id,
            self._keep_until,
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
