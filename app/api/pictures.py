"""The bytes of kept pictures: with the team's key, or by a signed link and nothing else."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.api.documents import PICTURE_ANSWERS
from app.jobs.links import is_signed, parse_picture_index, picture_name
from app.jobs.store import PictureRecord, find_picture
from app.kit.errors import NAME_CHARACTERS_TOLD, NotFound, NotPermitted, shorten
from app.web.context import DoorsHere, authenticate_reader
from app.web.etags import has_current, make_etag
from app.wiring import Doors

SIGNED_AGE_SECONDS = 3_600

router = APIRouter(prefix="/v1/jobs", tags=["pictures"])


@router.head("/{job_id}/pictures/{name}", include_in_schema=False)
@router.get(
    "/{job_id}/pictures/{name}",
    response_class=Response,
    responses=PICTURE_ANSWERS,
    summary="Fetch a picture",
)
async def read_picture(
    job_id: Annotated[UUID, Path(description="the job's id")],
    name: Annotated[str, Path(description="its index, or the file name of a link")],
    request: Request,
    doors: DoorsHere,
    *,
    expires: Annotated[int | None, Query(ge=0, le=2**40, description="of a signed link")] = None,
    signature: Annotated[str | None, Query(max_length=64, description="of a signed link")] = None,
) -> Response:
    """`name` is the picture's index, or the file name that a link carries."""
    team_id = None
    if signature is not None and expires is not None:
        _check_link(doors, job_id, name, expires=expires, signature=signature)
    else:
        team_id = (await authenticate_reader(request)).team_id
    index = parse_picture_index(job_id, name)
    picture = (
        None
        if index is None
        else await find_picture(doors.base.reads, job_id, index, team_id=team_id)
    )
    if picture is None or picture.store_key is None:
        asked = shorten(name, NAME_CHARACTERS_TOLD)
        raise NotFound(f"job {job_id} has no picture {asked} among yours", code="no_picture")
    return await _answer(request, doors, job_id, picture)


def _check_link(doors: Doors, job_id: UUID, name: str, *, expires: int, signature: str) -> None:
    base = doors.base
    if not is_signed(
        base.vault, job_id, name, expires=expires, signature=signature, now=base.clock()
    ):
        raise NotPermitted(
            "the link has expired or was altered: read the job again for a fresh one",
            code="link_invalid",
        )


async def _answer(
    request: Request, doors: Doors, job_id: UUID, picture: PictureRecord
) -> Response:
    assert picture.store_key is not None
    assert picture.content_type is not None
    headers = {
        "ETag": make_etag(str(picture.sha256)),
        "Cache-Control": f"private, max-age={SIGNED_AGE_SECONDS}, immutable",
        "Content-Disposition": (
            f'inline; filename="{picture_name(job_id, picture.index, picture.content_type)}"'
        ),
        "X-Content-Type-Options": "nosniff",
    }
    if has_current(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(picture.byte_count)
    if request.method == "HEAD":
        return Response(media_type=picture.content_type, headers=headers)
    chunks: AsyncIterator[bytes] = await doors.base.store.stream(picture.store_key)
    return StreamingResponse(chunks, media_type=picture.content_type, headers=headers)
