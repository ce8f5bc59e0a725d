"""The whole story of a job, safe to show: no prompt, no address of a result, no secret (pure)."""

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.billing.ledger import CAPTURE, RELEASE, RESERVE, WASTE
from app.billing.money import format_amount
from app.jobs.explain.advice import find_next_steps
from app.jobs.explain.facts import AttemptFacts, Facts, OrphanFacts, PictureFacts
from app.jobs.explain.phrases import veil
from app.jobs.explain.tellers import find_last
from app.jobs.explain.timeline import Line, tell
from app.jobs.keeping.risk import RiskLevel, find_risk
from app.jobs.lifecycle import UPSTREAM_MEMORY, JobStatus


@dataclass(frozen=True, slots=True)
class PictureStory:
    """A result slot: kept, never made or lost, or at risk while it is still upstream."""

    index: int
    status: str
    bytes: int | None
    kept_at: datetime | None
    troubles: int
    """How often the keeping of it met trouble of another kind."""
    dies_at: datetime | None
    risk: RiskLevel | None
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class Money:
    """What the ledger holds of the job, as text; waste is the company's, not the team's."""

    currency: str
    reserved: str
    captured: str
    released: str
    wasted: str
    wasted_image_count: int


@dataclass(frozen=True, slots=True)
class Attention:
    code: str
    since: datetime | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Story:
    """What `job explain` prints; its JSON form has the same fields."""

    id: UUID
    status: JobStatus
    team: str
    key: str
    door: str
    model: str
    priority: str
    n: int
    created_at: datetime
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    attention: Attention | None
    timeline: tuple[Line, ...]
    attempts: tuple[AttemptFacts, ...]
    pictures: tuple[PictureStory, ...]
    orphans: tuple[OrphanFacts, ...]
    money: Money
    next_steps: tuple[str, ...]


def tell_story(facts: Facts) -> Story:
    job = facts.job
    return Story(
        id=job.id,
        status=job.status,
        team=job.team,
        key=job.key,
        door=job.door,
        model=job.model,
        priority=job.priority,
        n=job.n,
        created_at=job.created_at,
        finished_at=job.finished_at,
        cancel_requested_at=job.cancel_requested_at,
        attention=_find_attention(facts),
        timeline=tell(facts),
        attempts=tuple(_veil_attempt(one) for one in facts.attempts),
        pictures=tuple(_to_picture(facts, one) for one in facts.pictures),
        orphans=tuple(replace(one, reason=veil(one.reason)) for one in facts.orphans),
        money=_add_up(facts),
        next_steps=find_next_steps(
            job.id,
            job.status,
            job.attention_code,
            is_cancel_asked=job.cancel_requested_at is not None,
        ),
    )


def _find_attention(facts: Facts) -> Attention | None:
    job = facts.job
    if job.attention_code is None:
        return None
    return Attention(job.attention_code, job.attention_since, _veil(job.attention_detail))


def _to_picture(facts: Facts, picture: PictureFacts) -> PictureStory:
    return PictureStory(
        index=picture.index,
        status=picture.status,
        bytes=picture.byte_count,
        kept_at=picture.kept_at,
        troubles=sum(_is_trouble_of(picture, event.detail) for event in facts.events),
        dies_at=picture.source_expires_at if picture.status == "upstream" else None,
        risk=_find_risk(facts, picture),
        error_code=picture.error_code,
        error_message=_veil(picture.error_message),
    )


def _find_risk(facts: Facts, picture: PictureFacts) -> RiskLevel | None:
    dies_at, last = picture.source_expires_at, find_last(facts)
    if picture.status != "upstream" or dies_at is None:
        return None
    ended_at = last.task_ended_at if last and last.task_ended_at else dies_at - UPSTREAM_MEMORY
    return find_risk(ended_at, dies_at, facts.now)


def _is_trouble_of(picture: PictureFacts, detail: dict[str, Any]) -> bool:
    return str(detail.get("detail", "")).startswith(f"picture {picture.index}: ")


def _add_up(facts: Facts) -> Money:
    amounts: defaultdict[str, Decimal] = defaultdict(Decimal)
    wasted_image_count = 0
    for entry in facts.entries:
        amounts[entry.kind] += entry.amount
        wasted_image_count += entry.image_count if entry.kind == WASTE else 0
    return Money(
        currency=facts.job.currency,
        reserved=format_amount(amounts[RESERVE]),
        captured=format_amount(amounts[CAPTURE]),
        released=format_amount(amounts[RELEASE]),
        wasted=format_amount(amounts[WASTE]),
        wasted_image_count=wasted_image_count,
    )


def _veil_attempt(attempt: AttemptFacts) -> AttemptFacts:
    return replace(attempt, error_message=_veil(attempt.error_message))


def _veil(text: str | None) -> str | None:
    return None if text is None else veil(text)
