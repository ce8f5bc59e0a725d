"""What a create's outcome says of its account (pure)."""

from datetime import datetime
from typing import assert_never

from app.accounts.evidence.suspicion import Source
from app.accounts.news import (
    NOT_SENT_CODE,
    Barred,
    Crowded,
    News,
    Reach,
    Taken,
    Throttled,
    Troubled,
    Unforeseen,
    to_trouble_code,
)
from app.dashscope.errors import CROWDED_CODE, Policy, Remedy, Scope, find_policy
from app.dashscope.outcomes import Accepted, CreateOutcome, NotSent, OutcomeUnknown, Refused
from app.jobs.core.state import Unprepared

CODES_OF_ACCOUNTS = (
    "Arrearage",
    "PrepaidBillOverdue",
    "PostpaidBillOverdue",
    "CommodityNotPurchased",
    "Throttling.AllocationQuota",
    "AllocationQuota",
    "insufficient_quota",
    "InvalidApiKey",
    "invalid_api_key",
    "NOT AUTHORIZED",
)
"""With their sub-codes: about key, bill or quota, which nothing in a request brings about."""


def to_news(
    outcome: CreateOutcome | Unprepared,
    in_flight: int,
    *,
    source: Source | None = None,
    sent_at: datetime | None = None,
) -> News | None:
    """None when it speaks of the job alone; `in_flight` counts this create's task as well.

    A body that could not be written is the job's own trouble: another's may be smaller.
    """
    match outcome:
        case Accepted():
            return Taken(in_flight, sent_at)
        case Refused():
            return _read_refusal(outcome, in_flight, source)
        case NotSent(is_body=is_body):
            return None if is_body else Troubled(NOT_SENT_CODE)
        case OutcomeUnknown(_, http_status):
            return Troubled(to_trouble_code(http_status))
        case Unprepared():
            return None
    assert_never(outcome)


def to_task_news(code: str, message: str, *, source: Source | None = None) -> News | None:
    """What the failure of a task says of its account; None when it speaks of the job alone."""
    news = _read(code, find_policy(code, message=message), 0, source)
    return None if isinstance(news, Troubled) else news


def is_of_account(code: str) -> bool:
    """Whether a refusal with that code can be no single request's doing."""
    return any(code == known or code.startswith(f"{known}.") for known in CODES_OF_ACCOUNTS)


def _read_refusal(refused: Refused, in_flight: int, source: Source | None) -> News | None:
    policy = find_policy(refused.code, refused.http_status, refused.message)
    news = _read(refused.code, policy, in_flight, source)
    if isinstance(news, Throttled):
        return Throttled(news.code, refused.retry_after_seconds)
    return news


def _read(code: str, policy: Policy, in_flight: int, source: Source | None) -> News | None:
    match policy:
        case Policy(Remedy.WAIT):
            return Crowded(code, in_flight) if code == CROWDED_CODE else Throttled(code)
        case Policy(Remedy.BAR, scope):
            return Barred(code, Reach(scope), None if is_of_account(code) else source)
        case Policy(Remedy.PAGE, Scope.JOB):
            return Unforeseen(code)
        case Policy(Remedy.PAGE | Remedy.RETRY, Scope.MODEL):
            return Troubled(code)
    return None
