"""What the upstream and the gateway know, for the engine's rules to be tried on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from app.dashscope.payloads import (
    UPSTREAM_ZONE,
    ListedTask,
    ResultItem,
    TaskAnswer,
    TaskOutput,
    TaskStatus,
    TaskUsage,
)
from app.jobs.core.state import RunState
from app.jobs.lifecycle import JobStatus

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)

T = TypeVar("T")


@dataclass
class Task:
    """What the upstream knows, and bills when it succeeds."""

    task_id: str
    job_id: UUID
    lane: int
    prompt: str
    n: int
    made_at: datetime
    status: TaskStatus = TaskStatus.PENDING
    denied_until: datetime | None = None


@dataclass
class Post:
    """A create under way: whether it makes a task, and when, is the upstream's affair."""

    job_id: UUID
    attempt: int
    lane: int
    sent_at: datetime
    task: Task | None = None
    is_answered: bool = False


@dataclass
class Job:
    """A job and what has become of it."""

    job_id: UUID
    prompt: str
    n: int
    run: RunState | None
    lane: int | None = None
    queued_at: datetime = EARLIEST
    status: JobStatus = JobStatus.QUEUED
    delivered: str | None = None
    charged: int = 0
    left_out: set[str] = field(default_factory=set)
    given_up: set[int] = field(default_factory=set)
    """Attempts that were settled as having made nothing."""
    lost: set[str] = field(default_factory=set)
    """Its own tasks that the upstream denied for too long."""
    intents: dict[int, tuple[int, datetime]] = field(default_factory=dict)


class Lie(StrEnum):
    """What is wrong with a list."""

    EMPTY = "empty"
    STALE = "stale"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    WRONG_ZONE = "wrong zone"
    OMITS = "omits"


class ListRefused(Exception):
    """There is no list this time."""


@dataclass(frozen=True)
class Look:
    """What one reading of the list shows, and whether every row of it could be read."""

    rows: list[ListedTask]
    is_whole: bool


def choose(among: Sequence[T], pick: int) -> T:
    return among[pick % len(among)]


class Upstream:
    """Tasks by id, in the order they were made; `ahead` is how far its clock is before ours."""

    def __init__(self, *, ahead: timedelta = timedelta(0)) -> None:
        self.tasks: dict[str, Task] = {}
        self.ahead = ahead
        self.lie: Lie | None = None
        self.lag = timedelta(0)
        """How far a stale list is behind."""
        self.hidden: frozenset[str] = frozenset()
        """Tasks that a list omits, or shows in rows that nobody can read."""

    def make(self, post: Post, job: Job, now: datetime) -> Task:
        task = Task(f"task-{len(self.tasks)}", job.job_id, post.lane, job.prompt, job.n, now)
        self.tasks[task.task_id] = task
        return task

    def answer(self, task_id: str, now: datetime) -> TaskAnswer:
        task = self.tasks[task_id]
        is_denied = task.denied_until is not None and now < task.denied_until
        status = TaskStatus.UNKNOWN if is_denied else task.status
        results: tuple[ResultItem, ...] = ()
        usage = None
        if status is TaskStatus.SUCCEEDED:
            results = tuple(
                ResultItem(url=f"https://r/{task_id}/{index}", orig_prompt=task.prompt)
                for index in range(task.n)
            )
            usage = TaskUsage(image_count=task.n)
        output = TaskOutput(task_id=task_id, task_status=status, results=results)
        if status is TaskStatus.FAILED:
            output = output.model_copy(update={"code": "InternalError", "message": "chance"})
        return TaskAnswer(output=output, usage=usage)

    def list(self, key_is_told: bool) -> list[ListedTask]:
        """Every task, whatever the lie of the day."""
        return [self._to_row(task, key_is_told) for task in self.tasks.values()]

    def look(
        self,
        key_is_told: bool,
        now: datetime,
        *,
        since: datetime = EARLIEST,
        until: datetime = LATEST,
    ) -> Look:
        """What the list shows of that time of the upstream's clock; raises ListRefused."""
        if self.lie is Lie.REFUSED:
            raise ListRefused
        misread = UPSTREAM_ZONE.utcoffset(None) if self.lie is Lie.WRONG_ZONE else timedelta(0)
        rows = [
            self._to_row(task, key_is_told)
            for task in self.tasks.values()
            if self._is_shown(task, now) and since <= task.made_at + self.ahead - misread <= until
        ]
        return Look(rows, self.lie is not Lie.UNREADABLE or not self.hidden)

    def _is_shown(self, task: Task, now: datetime) -> bool:
        match self.lie:
            case Lie.EMPTY:
                return False
            case Lie.STALE:
                return task.made_at <= now - self.lag
            case Lie.OMITS | Lie.UNREADABLE:
                return task.task_id not in self.hidden
            case _:
                return True

    def _to_row(self, task: Task, key_is_told: bool) -> ListedTask:
        return ListedTask(
            task_id=task.task_id,
            status=task.status,
            gmt_create=task.made_at + self.ahead,
            api_key_id=f"key-{task.lane}" if key_is_told else None,
        )
