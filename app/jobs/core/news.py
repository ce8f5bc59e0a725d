"""What a create's outcome says of its account (pure)."""

from typing import assert_never

from app.accounts.news import (
    Barred,
    Crowded,
    News,
    Reach,
    Taken,
    Throttled,
    Troubled,
    Unforeseen,
)
from app.dashscope.errors import CROWDED_CODE, Policy, Remedy, Scope, find_policy
from app.dashscope.outcomes import Accepted, CreateOutcome, NotSent, OutcomeUnknown, Refused
from app.jobs.core.state import Unprepared

NOT_SENT_CODE = "not_sent"
NO_ANSWER_CODE = "no_answer"


def to_news(outcome: CreateOutcome | Unprepared, in_flight: int) -> News | None:
    """None when it speaks of the job alone; `in_flight` counts this create's task as well."""
    match outcome:
        case Accepted():
            return Taken(in_flight)
        case Refused():
            return _read_refusal(outcome)
        case NotSent():
            return Troubled(NOT_SENT_CODE)
        case OutcomeUnknown(_, http_status):
            return Troubled(NO_ANSWER_CODE if http_status is None else f"HTTP{http_status}")
        case Unprepared():
            return None
    assert_never(outcome)


def to_task_news(code: str, message: str) -> News | None:
    """What the failure of a task says of its account; None when it speaks of the job alone."""
    news = _read(code, find_policy(code, message=message))
    return None if isinstance(news, Troubled) else news


def _read_refusal(refused: Refused) -> News | None:
    policy = find_policy(refused.code, refused.http_status, refused.message)
    news = _read(refused.code, policy)
    if isinstance(news, Throttled):
        return Throttled(news.code, refused.retry_after_seconds)
    return news


def _read(code: str, policy: Policy) -> News | None:
    match policy:
        case Policy(Remedy.WAIT):
            return Crowded(code) if code == CROWDED_CODE else Throttled(code)
        case Policy(Remedy.BAR, scope):
            return Barred(code, Reach(scope))
        case Policy(Remedy.PAGE, Scope.JOB):
            return Unforeseen(code)
        case Policy(Remedy.PAGE | Remedy.RETRY, Scope.MODEL):
            return Troubled(code)
    return None
