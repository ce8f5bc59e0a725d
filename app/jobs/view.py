"""The job as the native door shows it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainSerializer

from app.billing.money import format_amount
from app.jobs.lifecycle import JobStatus
from app.jobs.links import Links
from app.jobs.queue.forecast import Hold
from app.jobs.queue.standing import Place
from app.jobs.requests.edit import Priority
from app.jobs.store import JobRecord, PictureRecord
from app.kit.times import to_rfc3339

Time = Annotated[datetime, PlainSerializer(to_rfc3339, return_type=str)]


class ErrorView(BaseModel):
    code: str
    message: str


class PictureView(BaseModel):
    """A kept picture with its link, or the reason why this slot has none."""

    index: int
    url: str | None = None
    content_type: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    actual_prompt: str | None = None
    error: ErrorView | None = None


class UsageView(BaseModel):
    """What the job has cost its team: pictures that were delivered, times the price."""

    image_count: int
    amount: Annotated[str, Field(examples=["0.20"])]
    currency: str


class EtaView(BaseModel):
    """Seconds until the job's task may have ended: as likely as not, and nine times in ten."""

    p50: int
    p90: int


class QueueView(BaseModel):
    """Where a waiting job stands: how many go before it, what holds it, when it may end.

    The position is exact for a team that waits alone and counted to 10,000; beyond that, and
    while the team is paused, there is no ETA.
    """

    position: int
    held_by: Hold
    eta_seconds: EtaView | None


class AttentionView(BaseModel):
    """A person must look at this job; it keeps its status meanwhile."""

    code: str
    since: Time
    detail: str | None


class JobView(BaseModel):
    """One edit, from acceptance to its kept pictures."""

    id: str
    object: Literal["job"] = "job"
    status: JobStatus
    model: str
    prompt: str
    negative_prompt: str | None
    n: int
    size: str | None
    seed: int | None
    watermark: bool
    prompt_extend: bool
    priority: Priority
    created_at: Time
    expires_at: Time
    submitted_at: Time | None
    finished_at: Time | None
    pictures: list[PictureView]
    usage: UsageView
    error: ErrorView | None
    queue: QueueView | None
    attention: AttentionView | None
    metadata: dict[str, str]
    team: str
    key: str


def to_job_view(
    job: JobRecord, links: Links, *, now: datetime, place: Place | None = None
) -> JobView:
    """The job with fresh links to its pictures."""
    return JobView(
        id=str(job.id),
        status=job.status,
        model=job.model,
        prompt=job.prompt,
        negative_prompt=job.negative_prompt,
        n=job.n,
        size=job.size,
        seed=job.seed,
        watermark=job.watermark,
        prompt_extend=job.prompt_extend,
        priority=Priority(job.priority),
        created_at=job.created_at,
        expires_at=job.expires_at,
        submitted_at=job.submitted_at,
        finished_at=job.finished_at,
        pictures=[_to_picture(job, picture, links, now) for picture in shown_pictures(job)],
        usage=UsageView(
            image_count=job.image_count or 0,
            amount=format_amount(job.amount or 0 * job.unit_price),
            currency=job.currency,
        ),
        error=_to_error(job.error_code, job.error_message),
        queue=None if place is None else to_queue_view(place),
        attention=None if job.attention is None else AttentionView(**job.attention),
        metadata=job.metadata,
        team=job.team,
        key=job.key,
    )


def shown_pictures(job: JobRecord) -> tuple[PictureRecord, ...]:
    """The pictures of a finished job; before that none, for any of them may still change."""
    return job.pictures if job.status.is_final else ()


def _to_picture(
    job: JobRecord, picture: PictureRecord, links: Links, now: datetime
) -> PictureView:
    if picture.content_type is None:
        error = _to_error(picture.error_code, picture.error_message)
        return PictureView(index=picture.index, error=error)
    return PictureView(
        index=picture.index,
        url=links.picture_url(job.id, picture.index, content_type=picture.content_type, now=now),
        content_type=picture.content_type,
        width=picture.width,
        height=picture.height,
        bytes=picture.byte_count,
        sha256=picture.sha256,
        actual_prompt=picture.actual_prompt,
    )


def to_queue_view(place: Place) -> QueueView:
    eta = None if place.eta is None else EtaView(p50=place.eta.p50, p90=place.eta.p90)
    return QueueView(position=place.position, held_by=place.held_by, eta_seconds=eta)


def _to_error(code: str | None, message: str | None) -> ErrorView | None:
    return None if code is None else ErrorView(code=code, message=message or "")


def to_public(view: JobView) -> dict[str, Any]:
    """The view as JSON values; a picture shows only what it has."""
    public = view.model_dump(mode="json")
    public["pictures"] = [
        {name: value for name, value in picture.items() if value is not None}
        for picture in public["pictures"]
    ]
    return public
