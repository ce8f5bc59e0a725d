"""What a look at the list proves: nothing, unless it shows what is known to be there."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from app.dashscope.payloads import ListedTask, TaskStatus
from app.jobs.core.candidates import CLOCK_MARGIN, ClockSkew, OpenCreate, Period
from app.jobs.core.proof import KnownTask, Look, measure_skew, weigh_list
from app.jobs.core.state import ListProof
from tests.jobs.news import NOON, PROMPT, SECOND

SETTLE = timedelta(seconds=70)
HOUR = timedelta(hours=1)
CREATE = OpenCreate(UUID(int=1), 1, PROMPT, 1, NOON, NOON + SETTLE, None)
OLDER = KnownTask("t-older", NOON - SECOND * 9, NOON - SECOND * 8)
YOUNGER = KnownTask("t-younger", CREATE.until, CREATE.until + SECOND)


def shown(*known: KnownTask, ahead: timedelta = timedelta(0)) -> tuple[ListedTask, ...]:
    return tuple(
        ListedTask(
            task_id=one.task_id,
            status=TaskStatus.RUNNING,
            gmt_create=one.intended_at + SECOND / 2 + ahead,
        )
        for one in known
    )


WHOLE = Look(
    Period(NOON - HOUR, NOON + HOUR),
    ClockSkew(),
    shown(OLDER, YOUNGER),
    is_whole=True,
    known=(OLDER, YOUNGER),
)


def test_a_whole_list_that_shows_a_younger_task_is_fresh() -> None:
    assert weigh_list(CREATE, WHOLE) is ListProof.FRESH


def test_without_a_younger_task_the_list_may_lag_behind() -> None:
    only_older = replace(WHOLE, tasks=shown(OLDER), known=(OLDER,))

    assert weigh_list(CREATE, only_older) is ListProof.KNOWN


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(replace(WHOLE, tasks=()), id="empty"),
        pytest.param(replace(WHOLE, tasks=shown(OLDER)), id="stale"),
        pytest.param(replace(WHOLE, tasks=shown(YOUNGER)), id="a known task is missing"),
        pytest.param(replace(WHOLE, known=()), id="nothing is known"),
        pytest.param(replace(WHOLE, is_whole=False), id="a row could not be read"),
        pytest.param(
            replace(WHOLE, period=Period(NOON, NOON + HOUR)), id="it was not asked for all of it"
        ),
        pytest.param(
            replace(WHOLE, tasks=shown(OLDER, YOUNGER, ahead=CLOCK_MARGIN + SECOND * 2)),
            id="the clocks differ by more than was looked for",
        ),
        pytest.param(
            replace(WHOLE, tasks=shown(OLDER, YOUNGER, ahead=timedelta(hours=-8))),
            id="the zone is another",
        ),
    ],
)
def test_a_list_that_does_not_prove_itself_proves_nothing(look: Look) -> None:
    assert weigh_list(CREATE, look) is ListProof.NONE


def test_a_skew_that_was_measured_before_the_look_is_covered() -> None:
    ahead = timedelta(minutes=5)
    skew = ClockSkew(ahead, ahead)
    create = replace(CREATE, skew=skew)

    look = replace(WHOLE, skew=skew, tasks=shown(OLDER, YOUNGER, ahead=ahead))

    assert weigh_list(create, look) is ListProof.FRESH


def test_the_skew_lies_within_what_each_task_allows() -> None:
    ahead = timedelta(minutes=5)

    measured = measure_skew((OLDER, YOUNGER), shown(OLDER, YOUNGER, ahead=ahead))

    assert measured is not None
    assert measured.least <= ahead <= measured.most
    assert measured.most - measured.least == SECOND


def test_where_tasks_contradict_each_other_all_that_they_say_is_kept() -> None:
    tasks = shown(OLDER) + shown(YOUNGER, ahead=timedelta(minutes=5))

    measured = measure_skew((OLDER, YOUNGER), tasks)

    assert measured is not None
    assert measured.least < timedelta(0) < timedelta(minutes=5) < measured.most


def test_nothing_is_measured_without_a_known_task() -> None:
    assert measure_skew((OLDER,), shown(YOUNGER)) is None


@pytest.mark.parametrize("ahead", [timedelta(days=-9_000), timedelta(days=9_000)])
def test_a_row_from_years_away_measures_nothing(ahead: timedelta) -> None:
    good = shown(OLDER)

    assert measure_skew((OLDER, YOUNGER), good + shown(YOUNGER, ahead=ahead)) == measure_skew(
        (OLDER,), good
    )
    assert measure_skew((YOUNGER,), shown(YOUNGER, ahead=ahead)) is None
