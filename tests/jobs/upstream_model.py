"""What the upstream and the gateway know, for the engine's rules to be tried on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from app.dashscope.payloads import (
    ListedTask,
    ResultItem,
    TaskAnswer,
    TaskOutput,
    TaskStatus,
    TaskUsage,
)
from app.jobs.core.state import RunState
from app.jobs.lifecycle import JobStatus

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
    status: JobStatus = JobStatus.QUEUED
    delivered: str | None = None
    charged: int = 0
    left_out: set[str] = field(default_factory=set)
    given_up: set[int] = field(default_factory=set)
    """Attempts that were settled as having made nothing."""
    lost: set[str] = field(default_factory=set)
    """Its own tasks that the upstream denied for too long."""
    intents: dict[int, tuple[int, datetime]] = field(default_factory=dict)


def choose(among: Sequence[T], pick: int) -> T:
    return among[pick % len(among)]


class Upstream:
    """Tasks by id, in the order they were made."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}

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
        return [
            ListedTask(
                task_id=task.task_id,
                status=task.status,
                gmt_create=task.made_at,
                api_key_id=f"key-{task.lane}" if key_is_told else None,
            )
            for task in self.tasks.values()
        ]
