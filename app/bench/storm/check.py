"""The checker: the upstream's ledger against our books and what clients heard (pure)."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from app.bench.storm.ledgers import BookedAttempt, BookedJob, Books, Hearsay, UpstreamTask

FINAL_EVENTS = frozenset({"job.succeeded", "job.failed", "job.canceled", "job.expired"})
DISOWNED = "job.disowned"
STATUS_EVENTS = FINAL_EVENTS | {
    "job.submitting", "job.running", "job.requeued", DISOWNED, "job.finalizing",
}  # fmt: skip
SENT_OUTCOMES = frozenset({"accepted", "refused"})


class Kind(StrEnum):
    """What can be wrong after a storm."""

    NOT_ACCEPTED = "not accepted"
    DUPLICATE = "duplicate"
    LOST = "lost"
    WRONG_PICTURE = "wrong picture"
    LEDGER = "ledger"
    CROWDED = "crowded"
    MOVED_BACK = "moved back"
    SILENT = "silent"
    UNBOOKED = "unbooked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and with what."""

    kind: Kind
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker says; `duplicate_count` includes those that are booked as waste."""

    duplicate_count: int
    findings: tuple[Finding, ...]
    booked: tuple[Finding, ...] = ()
    """Duplicates that our books know of: paid for nothing, though not lost sight of."""

    def count(self, kind: Kind) -> int:
        return sum(finding.kind is kind for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The two ledgers side by side, with the ways from one to the other."""

    tasks: Mapping[str, UpstreamTask]
    books: Books
    heard: Hearsay
    in_flight_limits: Mapping[str, int]
    """Per upstream account how many tasks of jobs may be unfinished at once."""
    refused_prompts: frozenset[str] = frozenset()
    """Of orders that the upstream never takes: they fail, and make no task."""
    attended: frozenset[str] = frozenset()
    """Jobs that have not ended and call a person: they wait, and are not lost."""

    def surplus(self) -> tuple[UpstreamTask, ...]:
        """Billed tasks that no job has handed on."""
        delivering = {job.delivering_task_id for job in self.books.jobs}
        return tuple(
            task
            for task in self.tasks.values()
            if task.image_count and task.task_id not in delivering
        )


def check(evidence: Evidence) -> Verdict:
    """Everything that is wrong; nothing, after a storm that was ridden out."""
    findings = (
        *_check_acceptance(evidence),
        *_check_surplus(evidence),
        *_check_losses(evidence),
        *_check_pictures(evidence),
        *_check_money(evidence),
        *_check_crowding(evidence),
        *_check_order(evidence),
    )
    return Verdict(len(evidence.surplus()), findings, tuple(_list_booked(evidence)))


def _check_acceptance(evidence: Evidence) -> Iterator[Finding]:
    """I1: every id that was given out exists, and an order that was sent twice is one job."""
    known = {job.job_id for job in evidence.books.jobs}
    for order, job_ids in evidence.heard.answers.items():
        for job_id in set(job_ids) - known:
            yield Finding(Kind.NOT_ACCEPTED, job_id, f"order {order} got this id: no such job")
        if len(set(job_ids)) > 1:
            yield Finding(Kind.NOT_ACCEPTED, f"order {order}", f"became {len(set(job_ids))} jobs")
    for order in evidence.heard.unheard:
        yield Finding(Kind.NOT_ACCEPTED, f"order {order}", "was never accepted, in calm neither")


def _check_surplus(evidence: Evidence) -> Iterator[Finding]:
    """I3: what was billed beyond one task a job is booked as waste."""
    owners = {task_id: job for job in evidence.books.jobs for task_id in job.task_ids}
    for task in evidence.surplus():
        if task.task_id in evidence.books.wasted:
            continue
        owner = owners.get(task.task_id)
        if owner is None or owner.status == "succeeded":
            detail = f"billed {task.image_count} images for {task.prompt!r}, in no job's name"
            yield Finding(Kind.DUPLICATE, task.task_id, detail)
        elif owner.status is not None and not evidence.books.wasted_by_job.get(owner.job_id):
            detail = f"{owner.status}, and its task {task.task_id} has made pictures"
            yield Finding(Kind.LOST, owner.job_id, detail)


def _list_booked(evidence: Evidence) -> Iterator[Finding]:
    for task in evidence.surplus():
        if task.task_id in evidence.books.wasted:
            detail = f"billed {task.image_count} images for {task.prompt!r}, booked as waste"
            yield Finding(Kind.DUPLICATE, task.task_id, detail)


def _check_losses(evidence: Evidence) -> Iterator[Finding]:
    """I6, I8: every job has ended, for a reason, and with all that was paid for."""
    failed_prompts = {task.prompt for task in evidence.tasks.values() if task.status == "FAILED"}
    failed_prompts |= evidence.refused_prompts
    for job in evidence.books.jobs:
        match job.status:
            case None if job.job_id not in evidence.attended:
                yield Finding(Kind.LOST, job.job_id, f"has not ended: {_tell_last(job)}")
            case "failed" if job.prompt not in failed_prompts:
                yield Finding(Kind.LOST, job.job_id, "failed, and no task of its kind did")
            case "canceled" if job.job_id not in evidence.heard.cancels:
                yield Finding(Kind.LOST, job.job_id, "canceled, and nobody had asked for it")
            case "expired":
                yield Finding(Kind.LOST, job.job_id, "expired")
        task = evidence.tasks.get(job.delivering_task_id or "")
        if task is not None and min(task.image_count, job.n) > job.image_count:
            detail = f"{task.image_count} images were made, {job.image_count} kept"
            yield Finding(Kind.LOST, job.job_id, detail)


def _check_pictures(evidence: Evidence) -> Iterator[Finding]:
    """I4: a task belongs to one job, asked for the same, and its bytes are what was handed out."""
    owners = Counter(task_id for job in evidence.books.jobs for task_id in job.task_ids)
    for job in evidence.books.jobs:
        if job.status != "succeeded":
            continue
        task = evidence.tasks.get(job.delivering_task_id or "")
        if task is None:
            yield Finding(Kind.WRONG_PICTURE, job.job_id, "delivered, and of no task of the bill")
            continue
        if owners[task.task_id] > 1:
            detail = f"shares task {task.task_id} with another job"
            yield Finding(Kind.WRONG_PICTURE, job.job_id, detail)
        if (task.prompt, task.n) != (job.prompt, job.n):
            detail = f"was given task {task.task_id} of {task.prompt!r}, n={task.n}"
            yield Finding(Kind.WRONG_PICTURE, job.job_id, detail)
        shown = evidence.heard.picture_sha256.get(job.job_id, ())
        if len(shown) != job.image_count:
            detail = f"{job.image_count} pictures are kept, {len(shown)} were handed out"
            yield Finding(Kind.LOST, job.job_id, detail)
        if not set(shown) <= task.picture_sha256:
            detail = f"bytes that task {task.task_id} has not made"
            yield Finding(Kind.WRONG_PICTURE, job.job_id, detail)


def _check_money(evidence: Evidence) -> Iterator[Finding]:
    """I7: spent and wasted are what was billed, image for image."""
    books = evidence.books
    billed = sum(task.image_count for task in evidence.tasks.values())
    if billed != books.spent_images + books.wasted_images:
        detail = f"billed {billed}, spent {books.spent_images}, wasted {books.wasted_images}"
        yield Finding(Kind.LEDGER, "images", detail)
    for job in books.jobs:
        task = evidence.tasks.get(job.delivering_task_id or "")
        if task is not None and task.image_count < job.image_count:
            detail = f"charged {job.image_count} images, billed {task.image_count}"
            yield Finding(Kind.LEDGER, job.job_id, detail)
    yield from _check_waste(evidence)
    for disagreement in books.disagreements:
        yield Finding(Kind.LEDGER, "books", disagreement)


def _check_waste(evidence: Evidence) -> Iterator[Finding]:
    """Of each job: what its tasks were billed is delivered or booked as waste."""
    books = evidence.books
    tasks: defaultdict[str, set[str]] = defaultdict(set)
    for task_id, job_id in books.wasted.items():
        tasks[job_id].add(task_id)
    for job in books.jobs:
        if job.status is None:
            continue
        own = (tasks[job.job_id] | set(job.task_ids)) & evidence.tasks.keys()
        billed = sum(evidence.tasks[task_id].image_count for task_id in own)
        wasted = books.wasted_by_job.get(job.job_id, 0)
        if billed != job.image_count + wasted:
            detail = f"billed {billed}, delivered {job.image_count}, wasted {wasted}"
            yield Finding(Kind.UNBOOKED, job.job_id, detail)


def _check_crowding(evidence: Evidence) -> Iterator[Finding]:
    """I2, I5: one create at a time on a lane, no more tasks at once than an account has slots."""
    for account, peak in count_in_flight_peaks(evidence).items():
        limit = evidence.in_flight_limits.get(account)
        if limit is not None and peak > limit:
            yield Finding(Kind.CROWDED, account, f"{peak} tasks at once, of {limit}")
    lanes: defaultdict[str, list[tuple[BookedAttempt, BookedJob]]] = defaultdict(list)
    for job in evidence.books.jobs:
        for attempt in job.attempts:
            if attempt.outcome in SENT_OUTCOMES:
                lanes[attempt.lane].append((attempt, job))
    for sent in lanes.values():
        sent.sort(key=lambda each: each[0].intended_at)
        for (earlier, job), (later, next_job) in pairwise(sent):
            if _was_open(earlier, job, later.intended_at):
                detail = f"{next_job.job_id} was sent beside it at {later.intended_at}"
                yield Finding(Kind.CROWDED, job.job_id, detail)


def _was_open(attempt: BookedAttempt, job: BookedJob, moment: datetime) -> bool:
    """Whether the lane was the attempt's; one that lost its task again had given it up before."""
    if attempt.settled_at is None:
        return True
    return attempt.settled_at > moment and DISOWNED not in job.events


def count_in_flight_peaks(evidence: Evidence) -> dict[str, int]:
    """Per upstream account the most tasks of jobs that were unfinished at one time."""
    moments: defaultdict[str, list[tuple[datetime, int]]] = defaultdict(list)
    owned = {task_id for job in evidence.books.jobs for task_id in job.task_ids}
    for task_id in owned & evidence.tasks.keys():
        task = evidence.tasks[task_id]
        moments[task.account].append((task.created_at, 1))
        if task.ended_at is not None:
            moments[task.account].append((task.ended_at, -1))
    peaks = {}
    for account, changes in moments.items():
        count = peak = 0
        for _, change in sorted(changes):
            count += change
            peak = max(peak, count)
        peaks[account] = peak
    return peaks


def _check_order(evidence: Evidence) -> Iterator[Finding]:
    """I5: nothing follows an end, and nobody is shown two of them."""
    for job in evidence.books.jobs:
        story = [event for event in job.events if event in STATUS_EVENTS]
        if any(event in FINAL_EVENTS for event in story[:-1]):
            yield Finding(Kind.MOVED_BACK, job.job_id, " > ".join(story))
        shown = evidence.heard.final_statuses.get(job.job_id, frozenset())
        if shown - {job.status}:
            detail = f"was shown {', '.join(sorted(shown))} and is {job.status}"
            yield Finding(Kind.MOVED_BACK, job.job_id, detail)


def _tell_last(job: BookedJob) -> str:
    return f"{len(job.attempts)} attempts, last {' > '.join(job.events[-3:])}"
