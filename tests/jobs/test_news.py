"""What a create's outcome, or a task's failure, tells of its account."""

from uuid import UUID

import pytest

from app.accounts.evidence.suspicion import Source
from app.accounts.news import Barred, Crowded, News, Reach, Taken, Throttled, Troubled, Unforeseen
from app.dashscope.outcomes import Accepted, CreateOutcome, NotSent, OutcomeUnknown, Refused
from app.jobs.core.news import to_news, to_task_news
from app.jobs.core.state import Unprepared

SOURCE = Source(UUID(int=1), UUID(int=2))


def refused(code: str, status: int = 400, seconds: float | None = None) -> Refused:
    return Refused(status, code, "no", "r-1", seconds)


@pytest.mark.parametrize(
    ("outcome", "news"),
    [
        (Accepted("t-1", "r-1"), Taken(3)),
        (refused("Throttling.RateQuota", 429, 7.0), Throttled("Throttling.RateQuota", 7.0)),
        (refused("Throttling.Concurrency", 429, 7.0), Crowded("Throttling.Concurrency", 3)),
        (refused("Arrearage"), Barred("Arrearage", Reach.ACCOUNT)),
        (refused("InvalidApiKey", 401), Barred("InvalidApiKey", Reach.KEY)),
        (refused("Model.AccessDenied", 403), Barred("Model.AccessDenied", Reach.MODEL)),
        (refused("InvalidParameter"), None),
        (refused("InvalidURL.Timeout"), None),
        (refused("InternalError"), Troubled("InternalError")),
        (refused("HTTP405", 405), Troubled("HTTP405")),
        (refused("Brand.NewCode", 422), Unforeseen("Brand.NewCode")),
        (NotSent("no connection"), Troubled("not_sent")),
        (NotSent("its body was not written whole", is_body=True), None),
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
    ("outcome", "is_suspected"),
    [
        (refused("AccessDenied", 403), True),
        (refused("Model.AccessDenied", 403), True),
        (refused("Brand.NewCode", 403), True),
        (refused("ModelNotFound", 404), True),
        (refused("NotFound", 404), True),
        (refused("Workspace.AccessDenied", 403), True),
        (Refused(400, "InvalidParameter", "url error, please check url!", "r-1"), True),
        (refused("InvalidApiKey", 401), False),
        (refused("Arrearage"), False),
        (refused("Throttling.AllocationQuota", 429), False),
    ],
)
def test_what_one_request_may_draw_comes_with_whose_it_was(
    outcome: Refused, is_suspected: bool
) -> None:
    news = to_news(outcome, 1, source=SOURCE)

    assert isinstance(news, Barred)
    assert news.source == (SOURCE if is_suspected else None)


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
