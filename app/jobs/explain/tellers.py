"""Each event of a job in words, with what its attempt and pictures know of it (pure)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from app.billing.money import format_amount
from app.jobs.explain.facts import AttemptFacts, Event, Facts
from app.jobs.explain.phrases import say_seconds, say_trouble
from app.jobs.moves.pictures import LOST_CODE
from app.jobs.requeue import HASTENED

Teller = Callable[[Facts, Event], str]


def say_event(facts: Facts, event: Event) -> str:
    """One sentence; an event that nobody put into words tells its type and detail."""
    teller = _TELLERS.get(event.type)
    if teller is not None:
        return teller(facts, event)
    told = ", ".join(f"{name} {value}" for name, value in event.detail.items())
    return f"{event.type.replace('.', ' ').replace('_', ' ')}: {told}" if told else event.type


def find_last(facts: Facts) -> AttemptFacts | None:
    return max(facts.attempts, key=lambda one: one.number, default=None)


def _say_queued(facts: Facts, event: Event) -> str:
    job = facts.job
    price = f"{format_amount(job.unit_price * job.n)} {job.currency}"
    pictures = "1 picture" if job.n == 1 else f"{job.n} pictures"
    return (
        f"accepted by the {job.door} door, key {job.key} of team {job.team}: {job.priority}, "
        f"{pictures} asked, {price} reserved"
    )


def _say_submitting(facts: Facts, event: Event) -> str:
    detail = event.detail
    attempt = facts.find_attempt(detail.get("attempt"))
    account = detail.get("account") or (attempt.account if attempt else "unknown")
    hint = detail.get("lane") or (attempt.key_hint if attempt else "")
    return (
        f"attempt {detail.get('attempt')} goes out on account {account}, key ...{hint}, "
        f"slot {detail.get('slot')}"
    )


def _say_running(facts: Facts, event: Event) -> str:
    detail = event.detail
    number, task = detail.get("attempt"), detail.get("task_id")
    traced = _say_request(detail.get("request_id"))
    if detail.get("outcome") != "adopted":
        return f"attempt {number}: its create was answered with task {task}{traced}"
    was_in_doubt = any(
        one.type == "job.submission_unknown" and one.detail.get("attempt") == number
        for one in facts.events
    )
    lost = "" if was_in_doubt else "nobody heard the answer of its create; "
    return (
        f"attempt {number}: {lost}task {task} was found in the upstream's list and adopted{traced}"
    )


def _say_requeued(facts: Facts, event: Event) -> str:
    detail = event.detail
    attempt = facts.find_attempt(detail.get("attempt"))
    trouble = say_trouble(detail.get("code"), detail.get("message"))
    match detail.get("outcome"), detail.get("code"):
        case _, "given_up":
            what = f"was given up by a person ({detail.get('message')})"
        case (("accepted" | "adopted"), _):
            what = f"came to nothing: its task failed, {trouble}{_say_task(attempt, event.at)}"
        case "refused", _:
            status = attempt.http_status if attempt else None
            http = f"HTTP {status}, " if status else ""
            traced = _say_request(detail.get("request_id"))
            what = f"was refused: {http}{trouble}{traced}"
        case _:
            what = f"made no task: {trouble}"
    delay = float(detail.get("delay_seconds") or 0)
    own = f", due again {delay:.1f} s later" if delay else ""
    return f"attempt {detail.get('attempt')} {what}; the job is queued again{own}"


def _say_doubt(facts: Facts, event: Event) -> str:
    attempt = facts.find_attempt(event.detail.get("attempt"))
    http = f"HTTP {attempt.http_status}, " if attempt and attempt.http_status else ""
    return (
        f"attempt {event.detail.get('attempt')}: the answer of its create was lost "
        f"({http}{event.detail.get('reason')}); the upstream's list is asked for its task"
    )


def _say_finalizing(facts: Facts, event: Event) -> str:
    attempt = find_last(facts)
    count = event.detail.get("image_count")
    never = [
        f"; picture {one.index} was not made: {say_trouble(one.error_code, one.error_message)}"
        for one in facts.pictures
        if one.status == "failed" and one.error_code != LOST_CODE
    ]
    task = attempt.task_id if attempt else "unknown"
    return (
        f"task {task} succeeded, {count} of {facts.job.n} pictures made"
        f"{_say_task(attempt, event.at)}{''.join(never)}"
    )


def _say_kept(facts: Facts, event: Event) -> str:
    attempt = find_last(facts)
    ended_at = attempt.task_ended_at if attempt else None
    after = (
        "" if ended_at is None else f", {say_seconds(event.at - ended_at)} after its task's end"
    )
    size = event.detail.get("bytes")
    told = f" ({size:,} bytes{after})" if isinstance(size, int) else ""
    return f"picture {event.detail.get('index')} is kept{told}"


def _say_risk(facts: Facts, event: Event) -> str:
    left = say_seconds(timedelta(seconds=float(event.detail.get("left_seconds") or 0)))
    return f"its pictures are at risk, {event.detail.get('level')}: they die upstream in {left}"


def _say_disowned(_: Facts, event: Event) -> str:
    detail = event.detail
    return (
        f"attempt {detail.get('attempt')}: task {detail.get('task_id')} is given back "
        f"({detail.get('reason')}){_say_unclaimed(event)}; the upstream's list is asked again"
    )


def _say_unclaimed(event: Event) -> str:
    images = event.detail.get("image_count")
    if not images:
        return ""
    return f"; its {images} pictures are the company's waste until the create that made it is told"


def _say_orphan_settled(facts: Facts, event: Event) -> str:
    detail = event.detail
    images = detail.get("image_count") or 0
    ends = {
        "wasted": f"it was billed: {images} pictures are booked as the company's waste",
        "canceled": "it was canceled before it cost anything",
        "free": "it failed, and cost nothing",
        "foreign": "it is another request's" + _say_unclaimed(event),
        "lost": "the upstream has forgotten it",
    }
    state = str(detail.get("state"))
    return f"the task too many {detail.get('task_id')} has ended: {ends.get(state, state)}"


def _say_end(facts: Facts, event: Event) -> str:
    status, job = event.type.removeprefix("job."), facts.job
    trouble = ""
    if event.detail.get("code"):
        trouble = f": {say_trouble(event.detail.get('code'), event.detail.get('message'))}"
    last = find_last(facts)
    if last is not None and status in ("failed", "canceled") and not _is_told(facts, last):
        trouble += _say_last(last, event.at)
    count = event.detail.get("image_count") or 0
    took = say_seconds(event.at - job.created_at)
    return f"{status} after {took}{trouble}; {count} of {job.n} pictures delivered"


def _is_told(facts: Facts, attempt: AttemptFacts) -> bool:
    """Whether an event before the end has told what became of the attempt."""
    return attempt.task_status == "SUCCEEDED" or any(
        one.type == "job.requeued" and one.detail.get("attempt") == attempt.number
        for one in facts.events
    )


def _say_last(attempt: AttemptFacts, seen_at: datetime) -> str:
    """What became of the attempt with which the job has ended."""
    if attempt.error_code == "given_up":
        return f"; attempt {attempt.number} was given up by a person ({attempt.error_message})"
    if attempt.outcome == "refused":
        http = f", HTTP {attempt.http_status}" if attempt.http_status else ""
        return f"{http}{_say_request(attempt.request_id)}"
    return _say_task(attempt, seen_at)


def _say_task(attempt: AttemptFacts | None, seen_at: datetime) -> str:
    """How long its task stood and ran upstream, and how late we saw its end, by both clocks."""
    if attempt is None or attempt.task_ended_at is None:
        return ""
    begun, ended = attempt.task_scheduled_at, attempt.task_ended_at
    parts = []
    if begun is not None and attempt.task_submitted_at is not None:
        parts.append(f"{say_seconds(begun - attempt.task_submitted_at)} queued upstream")
    if begun is not None:
        parts.append(f"{say_seconds(ended - begun)} at work")
    parts.append(f"its end seen {say_seconds(seen_at - ended)} later")
    return f" ({', '.join(parts)})"


def _say_request(request_id: Any) -> str:
    return f" (upstream request {request_id})" if request_id else ""


def _fill(text: str) -> Teller:
    """For an event that says all itself; what an older version did not write shows as '-'."""

    def say(_: Facts, event: Event) -> str:
        return text.format_map(_Told(event.detail))

    return say


class _Told(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "-"


_TELLERS: dict[str, Teller] = {
    "job.queued": _say_queued,
    "job.submitting": _say_submitting,
    "job.running": _say_running,
    "job.requeued": _say_requeued,
    "job.submission_unknown": _say_doubt,
    "job.finalizing": _say_finalizing,
    "picture.kept": _say_kept,
    "picture.lost": _fill("picture {index} is lost: {reason}"),
    "pictures.at_risk": _say_risk,
    "job.disowned": _say_disowned,
    "job.attention": _fill("a person must look: {code} ({detail})"),
    "job.attention_over": _fill("{code} has passed: nobody needs to look"),
    "job.slot_released": _fill("its lane and slot are given back until that is settled"),
    "job.cancel_asked": _fill("somebody asks it to stop: it stops if it still can"),
    HASTENED: _fill("a person asks for it at once, while it is {status} ({reason})"),
    "job.orphan_found": _fill("task {task_id} is one too many: {reason}; it is watched"),
    "job.orphan_settled": _say_orphan_settled,
    "job.succeeded": _say_end,
    "job.failed": _say_end,
    "job.canceled": _say_end,
    "job.expired": _say_end,
}
