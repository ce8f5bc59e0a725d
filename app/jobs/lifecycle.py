"""A job's life: its statuses, the moves between them, and what a step may decide (pure).

queued ──> submitting <──> running ──> finalizing ──> succeeded | failed
  │  ^          │             │
  │  └──────────┴─────────────┘  (no task was made for it, or the task failed)
  └──> canceled | expired
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

UPSTREAM_MEMORY = timedelta(hours=24)
"""How long the upstream answers for a task and keeps its pictures."""


class JobStatus(StrEnum):
    """`queued`, `submitting`, `running` and `finalizing`, then one of the ends."""

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
    JobStatus.SUBMITTING: frozenset(
        {JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELED}
    ),
    JobStatus.RUNNING: frozenset(
        {
            JobStatus.QUEUED,
            JobStatus.SUBMITTING,
            JobStatus.FINALIZING,
            JobStatus.FAILED,
            JobStatus.CANCELED,
        }
    ),
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
    """The job waits its turn again, after its own delay, and pays nothing for the attempt."""

    outcome: str
    """Of the attempt; `accepted` and `adopted` when it made the task that failed."""
    code: str
    message: str
    delay_seconds: float = 0.0
    http_status: int | None = None
    request_id: str | None = None
    task: TaskFacts | None = None
    is_failure: bool = False
    """Whether it counts against the job's tries."""
    is_refunded: bool = True
    """Whether its team gets its turn back: not for what may be the job's own trouble."""
    keeps_attention: bool = False
    """Whether what a person was called for still stands."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Whether a task was made is unknown: the lane stays closed until the list tells."""

    reason: str
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Disown:
    """The adopted task was another's: the create is in doubt again, and that task left out."""

    task_id: str
    reason: str
    unclaimed: int = 0
    """Images it was billed and that nobody is shown to have asked for: waste until one is."""


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
class Stop:
    """The job ends free, before anything was made for it: canceled, or its time was over."""

    status: JobStatus
    task: TaskFacts | None = None
    instead_of: Requeue | None = None
    """What is known of the attempt that it ends."""


@dataclass(frozen=True, slots=True)
class NoteCancel:
    """It is too late to stop the job for sure; it stops if it can."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A person must look; the job keeps its status."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Unflag:
    """What a person was to look at has passed."""


@dataclass(frozen=True, slots=True)
class Review:
    """A person must decide; meanwhile the job holds neither lane nor slot."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class NoteUnlisted:
    """A list that proves itself shows no task of the create: one more such look settles it."""

    looked_at: datetime


@dataclass(frozen=True, slots=True)
class ReleaseLane:
    """The create in doubt can make no task any more: its API key may send the next one."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A task beyond the job's own: watched, and booked as waste if it is billed."""

    task_id: str
    reason: str
    is_ours: bool
    """Whether the upstream itself gave us its id; only then may it be canceled."""


@dataclass(frozen=True, slots=True)
class CancelTask:
    """The upstream is to be asked to cancel the job's task, which still waits there."""

    task_id: str


Decision = (
    Run
    | Requeue
    | Doubt
    | Disown
    | Collect
    | Fail
    | Stop
    | NoteCancel
    | Flag
    | Unflag
    | Review
    | NoteUnlisted
    | ReleaseLane
    | Orphan
)
"""What `record` writes."""

Action = Decision | CancelTask
"""What `decide` asks for."""
