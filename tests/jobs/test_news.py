"""What a create's outcome, or a task's failure, tells of its account."""

import pytest

from app.accounts.news import Barred, Crowded, News, Reach, Taken, Throttled, Troubled, Unforeseen
from app.dashscope.outcomes import Accepted, CreateOutcome, NotSent, OutcomeUnknown, Refused
from app.jobs.core.news import to_news, to_task_news
from app.jobs.core.state import Unprepared


def refused(code: str, status: int = 400, seconds: float | None = None) -> Refused:
    return Refused(status, code, "no", "r-1", seconds)


@pytest.mark.parametrize(
    ("outcome", "news"),
    [
        (Accepted("t-1", "r-1"), Taken(3)),
        (refused("Throttling.RateQuota", 429, 7.0), Throttled("Throttling.RateQuota", 7.0)),
        (refused("Throttling.Concurrency", 429, 7.0), Crowded("Throttling.Concurrency")),
        (refused("Arrearage"), Barred("Arrearage", Reach.ACCOUNT)),
        (refused("InvalidApiKey", 401), Barred("InvalidApiKey", Reach.KEY)),
        (refused("Model.AccessDenied", 403), Barred("Model.AccessDenied", Reach.MODEL)),
        (refused("InvalidParameter"), None),
        (refused("InvalidURL.Timeout"), None),
        (refused("InternalError"), Troubled("InternalError")),
        (refused("HTTP405", 405), Troubled("HTTP405")),
        (refused("Brand.NewCode", 422), Unforeseen("Brand.NewCode")),
        (NotSent("no connection"), Troubled("not_sent")),
        (OutcomeUnknown("no answer"), Troubled("no_answer")),
        (OutcomeUnknown("a create answered with HTTP 502", 502), Troubled("HTTP502")),
        (Unprepared("the inputs could not be prepared"), None),
        (Unprepared("gone", is_input_lost=True), None),
    ],
)
def test_an_outcome_tells_of_the_account_what_is_the_accounts(
    outcome: CreateOutcome | Unprepared, news: News | None
) -> None:
    assert to_news(outcome, 3) == news


@pytest.mark.parametrize(
    ("code", "news"),
    [
        ("InternalError", None),
        ("DataInspectionFailed", None),
        ("Throttling", Throttled("Throttling")),
        ("ModelServingError", Throttled("ModelServingError")),
        ("Arrearage", Barred("Arrearage", Reach.ACCOUNT)),
        ("Brand.NewCode", Unforeseen("Brand.NewCode")),
    ],
)
def test_a_failed_task_tells_of_a_limit_or_a_fault_and_not_of_trouble(
    code: str, news: News | None
) -> None:
    assert to_task_news(code, "no") == news
