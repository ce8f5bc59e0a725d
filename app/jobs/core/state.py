"""What the rules look at: a job's state, the news about it, and the limits they apply (pure)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from random import random

from app.accounts.evidence.suspicion import NO_VERDICT, Verdict
from app.dashscope.outcomes import CreateOutcome
from app.dashscope.payloads import TaskAnswer, TaskStatus
from app.jobs.lifecycle import UPSTREAM_MEMORY, JobStatus

Dice = Callable[[], float]
"""Randomness, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How patient the engine is."""

    settle: timedelta
    """How long after an intent its task may still appear at the upstream."""
    review_after: timedelta = timedelta(hours=1)
    """How long a create may stay in doubt before its lane and slot are given back."""
    unknown_patience: timedelta = timedelta(minutes=2)
    """How long a task that the upstream does not know keeps its slot."""
    lost_after: timedelta = timedelta(hours=1)
    """How long the upstream may deny a task before its job is given up."""
    retries: int = 2
    """How often a job whose create or task failed for no fault of its own is tried anew."""
    dice: Dice = random
    list_reach: timedelta = UPSTREAM_MEMORY - timedelta(minutes=10)
    """How far back the upstream's list is sure to tell of every task."""
    stale_after: timedelta = timedelta(minutes=10)
    """How long the list may lag behind while nothing newer than the create shows that it does."""
    looks_apart: timedelta = timedelta(seconds=5)
    """Between the two looks that prove together that a create made no task."""
    overdue_after: timedelta = timedelta(hours=1)
    """How long a task may run before a person is called; most take one or two minutes."""
    slot_held_for: timedelta = timedelta(hours=3, minutes=10)
    """How long a task that does not end holds its slot: the upstream ends each within 3 hours."""
    start_within: timedelta = timedelta(hours=1)
    """How long the first job of a team's queue may wait before a person is called."""


@dataclass(frozen=True, slots=True)
class RunState:
    """An active job as the rules see it."""

    status: JobStatus
    attempt: int
    n: int
    prompt: str = field(repr=False)
    expires_at: datetime
    intended_at: datetime | None = None
    """When the current attempt was begun."""
    task_id: str | None = None
    is_adopted: bool = False
    """The task was found in the list rather than handed to us."""
    holds_lane: bool = False
    holds_slot: bool = False
    task_failures: int = 0
    fruitless_tries: int = 0
    """Attempts that made no task although nobody refused them."""
    refusals: int = 0
    """Attempts that the upstream refused."""
    is_cancel_asked: bool = False
    is_awaited: bool = False
    """A worker may still be sending the create, or waiting for its answer."""
    is_restored: bool = False
    """The current attempt was under way in a backup that the database was restored from."""
    unlisted_at: datetime | None = None
    """When a list that proves itself first showed no task of the current attempt."""
    attention_code: str | None = None
    attention_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Unprepared:
    """The create was not sent for the job's own sake: its inputs could not be brought along."""

    reason: str
    is_input_lost: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    """What is known of a create."""

    attempt: int
    outcome: CreateOutcome | Unprepared
    verdict: Verdict = NO_VERDICT
    """What the account's other jobs tell of a refusal."""


class Match(Enum):
    """What a listed task's own content says about whose it is."""

    UNSEEN = "unseen"
    """It has not ended: nothing can be read from it."""
    SAME = "same"
    """It was asked for with these words and that number of pictures."""
    UNCLEAR = "unclear"
    """What it answers neither shows nor rules out that: it is adopted by nobody."""
    OTHER = "other"
    NOTHING = "nothing"
    """It ended without a picture: nobody pays for it, whosever it was."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A task of the list that belongs to no attempt that we know."""

    task_id: str
    request_id: str
    match: Match
    is_contested: bool = False
    """Whether another create whose outcome is open may have made it."""


class ListProof(Enum):
    """What a look at the list is worth as proof that a task is not there."""

    NONE = "none"
    """It was not read whole, or nothing that must be there was found in it."""
    KNOWN = "known"
    """It shows every task that is known to be of its time; it may still lag behind."""
    FRESH = "fresh"
    """It also shows a task that was made after the create could make one."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the upstream's list shows for a create in doubt, in the order the tasks were made."""

    attempt: int
    candidates: tuple[Candidate, ...] = ()
    looked_at: datetime | None = None
    """When the list was asked for, if that is not now: what has come since, it cannot show."""
    proof: ListProof = ListProof.NONE


@dataclass(frozen=True, slots=True)
class Answered:
    """What the upstream says of the job's task."""

    attempt: int
    answer: TaskAnswer
    is_listed: bool = False
    """Whether the list tells of the task, whatever the answer to the query is."""


@dataclass(frozen=True, slots=True)
class Spotted:
    """The list shows the job's task as it goes on."""

    attempt: int
    status: TaskStatus


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody wants the job to stop; perhaps only as long as nobody has begun to submit it."""

    only_queued: bool = False


@dataclass(frozen=True, slots=True)
class RequeueAsked:
    """A person has found that the job's create made no task, or that its task is gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""

    is_next: bool = False
    """The job is the first of its team's queue, and has waited for longer than it should."""


Event = Created | Listed | Answered | Spotted | CancelAsked | RequeueAsked | Ticked
