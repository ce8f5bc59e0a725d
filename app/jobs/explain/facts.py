"""What the rows tell of a job and of its surroundings: all that its story is made of (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.jobs.lifecycle import JobStatus
from app.jobs.queue.standing import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """The job and, while it is active, its run; never its prompt."""

    id: UUID
    team: str
    team_max_running: int | None
    key: str
    door: str
    model: str
    priority: str
    n: int
    unit_price: Decimal
    currency: str
    created_at: datetime
    expires_at: datetime
    status: JobStatus
    finished_at: datetime | None = None
    error_code: str | None = None
    error_message: str | None = None
    due_at: datetime | None = None
    attention_code: str | None = None
    attention_since: datetime | None = None
    attention_detail: str | None = None
    cancel_requested_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    at: datetime
    type: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFacts:
    number: int
    account: str
    key_hint: str
    intended_at: datetime
    outcome: str
    settled_at: datetime | None = None
    task_id: str | None = None
    request_id: str | None = None
    http_status: int | None = None
    task_status: str | None = None
    task_submitted_at: datetime | None = None
    task_scheduled_at: datetime | None = None
    task_ended_at: datetime | None = None
    image_count: int | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """A result slot; where its URL leads is a secret and stays in the database."""

    index: int
    status: str
    byte_count: int | None = None
    kept_at: datetime | None = None
    source_expires_at: datetime | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One transfer in the ledger."""

    kind: str
    amount: Decimal
    currency: str
    image_count: int


@dataclass(frozen=True, slots=True)
class OrphanFacts:
    """A task too many."""

    task_id: str
    attempt: int
    state: str
    reason: str
    image_count: int | None = None


@dataclass(frozen=True, slots=True)
class Setback:
    """Something in an account's story that held up its creates, or ended that."""

    at: datetime
    account: str
    type: str
    code: str | None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Spell:
    """Another job's stay in one of an account's places."""

    since: datetime
    until: datetime
    account: str
    is_of_team: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What went on around a job while it waited."""

    setbacks: Sequence[Setback] = ()
    spells: Sequence[Spell] = ()
    places: tuple[tuple[str, int], ...] = ()
    """Accounts and how many tasks each may run, as set now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    now: datetime
    job: JobFacts
    events: Sequence[Event]
    attempts: Sequence[AttemptFacts] = ()
    pictures: Sequence[PictureFacts] = ()
    entries: Sequence[Entry] = ()
    orphans: Sequence[OrphanFacts] = ()
    around: Surroundings = Surroundings()
    place: Place | None = None
    """In the queue, while it is there."""

    def find_attempt(self, number: int | None) -> AttemptFacts | None:
        return next((one for one in self.attempts if one.number == number), None)
