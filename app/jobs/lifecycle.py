"""A job's life: its statuses, the moves between them, and what a step may decide (pure).

queued ──> submitting ──> running ──> finalizing ──> succeeded | failed
  │  ^          │            │
  │  └──────────┴────────────┘  (no task was made for it)
  └──> canceled | expired
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

UPSTREAM_MEMORY = timedelta(hours=24)
"""How long the upstream answers for a task and keeps its pictures."""


class JobStatus(StrEnum):
    QUEUED = "queued"
    SUBMITTING = "submitting"
    RUNNING = "running"
    FINALIZING = "finalizing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        return self in FINAL


FINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED})

MOVES: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.SUBMITTING, JobStatus.CANCELED, JobStatus.EXPIRED}),
    JobStatus.SUBMITTING: frozenset({JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset({JobStatus.QUEUED, JobStatus.FINALIZING, JobStatus.FAILED}),
    JobStatus.FINALIZING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELED: frozenset(),
    JobStatus.EXPIRED: frozenset(),
}


def sources_of(target: JobStatus) -> tuple[JobStatus, ...]:
    """The statuses from which a job may move to that one."""
    return tuple(status for status, targets in MOVES.items() if target in targets)


@dataclass(frozen=True, slots=True)
class Fence:
    """Which try of which job a piece of news belongs to."""

    job_id: UUID
    attempt: int


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What the upstream told of a task at its end."""

    status: str
    submitted_at: datetime | None
    scheduled_at: datetime | None
    ended_at: datetime | None
    image_count: int


@dataclass(frozen=True, slots=True)
class UpstreamPicture:
    """One result slot of a succeeded task: where the picture is, or why there is none."""

    index: int
    url: str | None
    actual_prompt: str | None
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """The task exists: the job runs upstream."""

    task_id: str
    request_id: str
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class Requeue:
    """No task was made: the job waits its turn again, after its own delay.

    The account pauses for what holds up all its jobs, the job alone for what is its own.
    """

    outcome: str
    code: str
    message: str
    pause_seconds: float = 0.0
    delay_seconds: float = 0.0
    http_status: int | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """Whether a task was made is unknown: the lane stays closed until the list tells."""

    reason: str
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Disown:
    """The adopted task was another's, and none was made for the job: it waits its turn again."""

    task_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Collect:
    """The task has succeeded: its pictures are to be kept."""

    task: TaskFacts
    pictures: tuple[UpstreamPicture, ...]


@dataclass(frozen=True, slots=True)
class Fail:
    """The job ends without a picture and costs nothing."""

    code: str
    message: str
    http_status: int | None = None
    request_id: str | None = None
    task: TaskFacts | None = None
    outcome: str = "refused"
    """Of the attempt, when it has made no task."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A person must look; the job keeps its status."""

    code: str
    detail: str


Decision = Run | Requeue | Doubt | Disown | Collect | Fail | Flag
