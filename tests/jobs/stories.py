"""What rows may tell of a job, as its story takes them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.jobs.explain.facts import AttemptFacts, Event, Facts, JobFacts
from app.jobs.lifecycle import JobStatus

START = datetime(2026, 11, 23, 8, 31, tzinfo=UTC)
JOB_ID = UUID("0198c0f2-0000-7000-8000-000000000001")
SECRET_URL = "https://dashscope-result.oss.example/7d/a.png?Signature=abc&Expires=1"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def event(seconds: float, kind: str, **detail: Any) -> Event:
    return Event(at(seconds), kind, detail)


def make_job(**changes: Any) -> JobFacts:
    job = JobFacts(
        id=JOB_ID,
        team="ads",
        team_max_running=None,
        key="ci",
        door="native",
        model="wan2.5-i2i-preview",
        priority="interactive",
        n=2,
        unit_price=Decimal("0.20"),
        currency="CNY",
        created_at=START,
        expires_at=at(3_600),
        status=JobStatus.QUEUED,
    )
    return replace(job, **changes)


def make_attempt(**changes: Any) -> AttemptFacts:
    attempt = AttemptFacts(
        number=1, account="default", key_hint="ghij", intended_at=at(93), outcome="intended"
    )
    return replace(attempt, **changes)


def make_facts(*events: Event, now: float = 100, **changes: Any) -> Facts:
    story = (event(0, "job.queued", door="native"), *events)
    return replace(Facts(now=at(now), job=make_job(), events=story), **changes)


CLAIMED = event(93, "job.submitting", attempt=1, account="default", lane="ghij", slot=0)
