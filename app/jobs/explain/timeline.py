"""A job's story in the order of time, and what held it up wherever it waited (pure)."""

from dataclasses import dataclass
from datetime import datetime

from app.jobs.explain.facts import Facts
from app.jobs.explain.phrases import say_before, say_hold, say_seconds, veil
from app.jobs.explain.tellers import find_last, say_event
from app.jobs.explain.waits import ENDS, Reason, explain_wait, find_waits
from app.jobs.lifecycle import JobStatus


@dataclass(frozen=True, slots=True)
class Line:
    """A moment of the story, and the wait that it has ended."""

    at: datetime
    after_seconds: float
    """Since the job was accepted."""
    text: str
    waited_seconds: float | None = None
    because: tuple[Reason, ...] = ()


def tell(facts: Facts) -> tuple[Line, ...]:
    """Every event, and how the job stands now if it has not ended."""
    told = [(one.at, say_event(facts, one), one.type in ENDS) for one in facts.events]
    if not facts.job.status.is_final:
        told.append((facts.now, _say_now(facts), facts.job.status is JobStatus.QUEUED))
    waits = {wait.until: wait for wait in find_waits(facts.events, facts.now)}
    lines = []
    for at, text, ends_wait in told:
        wait = waits.get(at) if ends_wait else None
        lines.append(
            Line(
                at,
                round((at - facts.job.created_at).total_seconds(), 3),
                veil(text),
                None if wait is None else round(wait.lasted.total_seconds(), 3),
                () if wait is None else explain_wait(wait, facts),
            )
        )
    return tuple(lines)


def _say_now(facts: Facts) -> str:
    job, last = facts.job, find_last(facts)
    match job.status:
        case JobStatus.QUEUED:
            place = facts.place
            if place is None:
                return "now: still in the queue"
            before, hold = say_before(place.position), say_hold(place.held_by)
            return f"now: still in the queue, {before}: {hold}"
        case JobStatus.SUBMITTING if last is not None:
            known = {"unknown": "is in doubt", "intended": "has not been answered"}
            state = known.get(last.outcome, last.outcome)
            age = say_seconds(facts.now - last.intended_at)
            return f"now: attempt {last.number}, begun {age} ago, {state}"
        case JobStatus.RUNNING if last is not None:
            age = say_seconds(facts.now - last.intended_at)
            return f"now: task {last.task_id} is upstream, sent {age} ago"
        case JobStatus.FINALIZING:
            left = sum(one.status == "upstream" for one in facts.pictures)
            return f"now: {left} of its pictures are still to be kept"
    return f"now: {job.status}"
