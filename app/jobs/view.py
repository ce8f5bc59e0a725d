"""The job as the native door shows it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from app.billing.money import format_amount
from app.jobs.lifecycle import JobStatus
from app.jobs.links import Links
from app.jobs.queue.forecast import Hold
from app.jobs.queue.standing import Place
from app.jobs.requests.edit import Priority
from app.jobs.store import JobRecord, PictureRecord
from app.kit.times import to_rfc3339

Time = Annotated[datetime, PlainSerializer(to_rfc3339, return_type=str)]


class View(BaseModel):
    """What is said below a field is in the OpenAPI document."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class ErrorView(View):
    """What went wrong."""

    code: str
    """Stable; the upstream's own where it refused."""
    message: str
    """In words, with what to do where that is known."""


class PictureView(View):
    """A kept picture with its link, or the reason why this slot has none."""

    index: int
    """From 0; a job of n pictures has n of them once it has ended."""
    url: str | None = None
    """A signed link that works without a key, fresh with every answer."""
    content_type: str | None = None
    """As the bytes show, not as they were announced."""
    width: int | None = None
    """In pixels."""
    height: int | None = None
    """In pixels."""
    bytes: int | None = None
    """Size of the file."""
    sha256: str | None = None
    """Of the file, in hexadecimal."""
    actual_prompt: str | None = None
    """The prompt as the model rewrote it, if it did."""
    error: ErrorView | None = None
    """Why this picture is not there."""


class UsageView(View):
    """What the job has cost its team: pictures that were delivered, times the price."""

    image_count: int
    """Pictures that were delivered, and nothing else, are paid for."""
    amount: Annotated[str, Field(examples=["0.20"])]
    """A decimal, exact."""
    currency: str
    """ISO 4217."""


class EtaView(View):
    """Seconds until the job's task may have ended: as likely as not, and nine times in ten."""

    p50: int
    """As likely as not."""
    p90: int
    """Nine times in ten."""


class QueueView(View):
    """Where a waiting job stands: how many go before it, what holds it, when it may end.

    The position is exact for a team that waits alone and counted to 10,000; beyond that, and
    while the team is paused, there is no ETA.
    """

    position: int
    """Jobs that go before it; 0 is the next."""
    held_by: Hold
    """What it waits for."""
    eta_seconds: EtaView | None
    """When it may have ended, where that can be told."""


class AttentionView(View):
    """A person must look at this job; it keeps its status meanwhile."""

    code: str
    """What a person must look at."""
    since: Time
    """When it was found."""
    detail: str | None
    """In words."""


class JobView(View):
    """One edit, from acceptance to its kept pictures."""

    id: str
    """A UUID, version 7; the same on every door."""
    object: Literal["job"] = "job"
    """Always `job`."""
    status: JobStatus
    """`queued`, `submitting`, `running`, `finalizing`, then one of the ends."""
    model: str
    """The upstream's model."""
    prompt: str
    """As it was sent."""
    negative_prompt: str | None
    """What to avoid."""
    n: int
    """How many pictures were asked for."""
    size: str | None
    """width*height; null is as the last image."""
    seed: int | None
    """Picture k is drawn with seed + k."""
    watermark: bool
    """Whether the upstream marks its pictures."""
    prompt_extend: bool
    """Whether the model may rewrite the prompt."""
    priority: Priority
    """Within the team only."""
    created_at: Time
    """When it was accepted."""
    expires_at: Time
    """If it was not started by then, it expires, free."""
    submitted_at: Time | None
    """When it was sent upstream."""
    finished_at: Time | None
    """When it ended, its pictures kept."""
    pictures: list[PictureView]
    """Of a job that has ended; empty before."""
    usage: UsageView
    """What it has cost so far."""
    error: ErrorView | None
    """Why it failed."""
    queue: QueueView | None
    """While it waits."""
    attention: AttentionView | None
    """While a person must look at it."""
    metadata: dict[str, str]
    """As it was sent."""
    team: str
    """Who pays."""
    key: str
    """Name of the key that it was sent with."""


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
