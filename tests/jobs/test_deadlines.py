"""Nothing waits in silence: what time alone does to each status."""

from dataclasses import replace

import pytest

from app.jobs.core.deadlines import NOT_STARTED_CODE, OVERDUE_CODE, REVIEW_GRACE
from app.jobs.core.doubts import REVIEW_CODE
from app.jobs.core.state import RunState, Ticked
from app.jobs.core.tasks import UNKNOWN_CODE
from app.jobs.lifecycle import Flag, JobStatus, ReleaseLane, Review, Stop
from tests.jobs.news import FINALIZING, NOON, QUEUED, RULES, RUNNING, SECOND, SUBMITTING, hear

REVIEWED_AFTER = RULES.review_after + REVIEW_GRACE
REVIEWED = replace(
    SUBMITTING,
    holds_lane=False,
    holds_slot=False,
    attention_code=REVIEW_CODE,
    attention_since=NOON,
)


def test_a_queued_job_expires_when_its_time_is_over() -> None:
    assert hear(QUEUED, Ticked(), QUEUED.expires_at - SECOND) == ()
    assert hear(QUEUED, Ticked(), QUEUED.expires_at) == (Stop(JobStatus.EXPIRED),)
    assert hear(QUEUED, Ticked(is_next=True), QUEUED.expires_at) == (Stop(JobStatus.EXPIRED),)


@pytest.mark.parametrize("run", [SUBMITTING, REVIEWED, RUNNING, FINALIZING, None])
def test_a_job_that_has_gone_out_does_not_expire(run: RunState | None) -> None:
    actions = hear(run, Ticked(), QUEUED.expires_at)
    assert not any(isinstance(action, Stop) for action in actions)


def test_the_first_job_of_a_team_that_does_not_start_calls_a_person_once() -> None:
    (flag,) = hear(QUEUED, Ticked(is_next=True))
    assert isinstance(flag, Flag)
    assert flag.code == NOT_STARTED_CODE
    assert "job explain" in flag.detail

    flagged = replace(QUEUED, attention_code=NOT_STARTED_CODE)
    assert hear(flagged, Ticked(is_next=True)) == ()


def test_a_create_in_doubt_gives_its_key_back_and_later_its_slot() -> None:
    assert hear(SUBMITTING, Ticked(), NOON + RULES.settle - SECOND) == ()
    assert hear(SUBMITTING, Ticked(), NOON + RULES.settle) == (ReleaseLane(),)
    released = replace(SUBMITTING, holds_lane=False)
    assert hear(released, Ticked(), NOON + REVIEWED_AFTER - SECOND) == ()

    (review,) = hear(released, Ticked(), NOON + REVIEWED_AFTER)

    assert isinstance(review, Review)
    assert review.code == REVIEW_CODE
    assert "job requeue" in review.detail
    assert hear(REVIEWED, Ticked(), NOON + REVIEWED_AFTER) == ()


def test_a_create_that_somebody_waits_for_is_left_alone() -> None:
    awaited = replace(SUBMITTING, is_awaited=True)

    assert hear(awaited, Ticked(), NOON + REVIEWED_AFTER) == ()


def test_a_task_that_does_not_end_calls_a_person_and_later_gives_its_slot_back() -> None:
    assert hear(RUNNING, Ticked(), NOON + RULES.overdue_after - SECOND) == ()
    (flag,) = hear(RUNNING, Ticked(), NOON + RULES.overdue_after)
    assert isinstance(flag, Flag)
    assert flag.code == OVERDUE_CODE
    assert "t-1" in flag.detail
    assert "job requeue" in flag.detail

    flagged = replace(RUNNING, attention_code=OVERDUE_CODE)
    assert hear(flagged, Ticked(), NOON + RULES.slot_held_for - SECOND) == ()
    (review,) = hear(flagged, Ticked(), NOON + RULES.slot_held_for)
    assert isinstance(review, Review)
    assert hear(replace(flagged, holds_slot=False), Ticked(), NOON + RULES.slot_held_for) == ()


def test_what_a_person_was_called_for_before_stays_the_reason() -> None:
    denied = replace(RUNNING, attention_code=UNKNOWN_CODE)

    (review,) = hear(denied, Ticked(), NOON + RULES.slot_held_for)

    assert isinstance(review, Review)
    assert review.code == UNKNOWN_CODE
