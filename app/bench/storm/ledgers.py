"""What is compared after a storm: the upstream's ledger, our books, and what clients heard."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class UpstreamTask:
    """One line of the upstream's bill; a delivered picture counts one image."""

    task_id: str
    account: str
    prompt: str
    n: int
    status: str
    image_count: int
    created_at: datetime
    ended_at: datetime | None
    picture_sha256: frozenset[str]
    """Of the pictures it has handed out so far."""


@dataclass(frozen=True, slots=True)
class BookedAttempt:
    """One try of ours to create a task."""

    lane: str
    outcome: str
    intended_at: datetime
    settled_at: datetime | None
    task_id: str | None


@dataclass(frozen=True, slots=True)
class BookedJob:
    """A job as our tables have it; `status` is None until it has ended."""

    job_id: str
    team: int
    prompt: str
    n: int
    status: str | None
    image_count: int
    attempts: tuple[BookedAttempt, ...] = ()
    events: tuple[str, ...] = ()
    """Types of its events, oldest first."""

    @property
    def task_ids(self) -> tuple[str, ...]:
        return tuple(attempt.task_id for attempt in self.attempts if attempt.task_id is not None)

    @property
    def delivering_task_id(self) -> str | None:
        """The task whose pictures the job has handed on."""
        if self.status != "succeeded" or not self.task_ids:
            return None
        return self.task_ids[-1]


@dataclass(frozen=True, slots=True)
class Books:
    """All of our side."""

    jobs: tuple[BookedJob, ...]
    spent_images: int
    """What the ledger has charged teams for."""
    wasted_images: int
    """What the ledger has booked as paid for nothing."""
    wasted: Mapping[str, str] = field(default_factory=dict)
    """The job of each task that is booked as waste."""
    wasted_by_job: Mapping[str, int] = field(default_factory=dict)
    """Images that are booked as waste in a job's name."""
    disagreements: tuple[str, ...] = ()
    """What the ledger's and the daily usage's own audits found."""


@dataclass(frozen=True, slots=True)
class Hearsay:
    """What clients were told."""

    answers: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Per order the job ids of its 2xx answers: several when it was sent again."""
    unheard: frozenset[int] = frozenset()
    """Orders that could be sent again safely, and yet were never accepted."""
    final_statuses: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Per job the final statuses it was ever shown with."""
    cancels: frozenset[str] = frozenset()
    """Jobs that somebody asked to cancel."""
    picture_sha256: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Per job the pictures that were handed out in the end, by their bytes."""


def read_bill(lines: Iterable[Mapping[str, Any]]) -> dict[str, UpstreamTask]:
    """The tasks of the emulator's bill by their ids."""
    return {
        line["task_id"]: UpstreamTask(
            task_id=line["task_id"],
            account=line["account"],
            prompt=line["prompt"],
            n=line["n"],
            status=line["status"],
            image_count=line["image_count"],
            created_at=datetime.fromisoformat(line["created_at"]),
            ended_at=line["ended_at"] and datetime.fromisoformat(line["ended_at"]),
            picture_sha256=frozenset(filter(None, line["picture_sha256"])),
        )
        for line in lines
    }
