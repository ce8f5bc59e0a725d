"""What the list means for a create in doubt: adopt, give back, or call a person."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.core.doubts import REVIEW_CODE
from app.jobs.core.state import Listed, ListProof, Match
from app.jobs.lifecycle import NoteUnlisted, Orphan, Requeue, Review, Run
from tests.jobs.news import NOON, RULES, SECOND, SUBMITTING, candidate, hear, look

LOOKED = replace(SUBMITTING, unlisted_at=NOON)
"""One look has shown before that there is no task of it."""


def test_a_single_unattached_task_is_ours_at_once() -> None:
    for match in (Match.UNSEEN, Match.SAME):
        actions = look(candidate("t-1", match))
        assert actions == (Run("t-1", "request-of-t-1", adopted=True),)


@pytest.mark.parametrize("match", [Match.OTHER, Match.NOTHING])
def test_a_task_that_proved_to_be_no_bodys_or_anothers_is_not_adopted(match: Match) -> None:
    assert look(candidate("t-1", match)) == ()
    (decision,) = look(candidate("t-1", match), age=RULES.settle, run=LOOKED)
    assert isinstance(decision, Requeue)


def test_without_one_the_create_may_still_come() -> None:
    assert look(age=RULES.settle - SECOND) == ()
    assert look(age=RULES.settle - SECOND, run=LOOKED) == ()


def test_the_first_look_that_proves_itself_is_noted_and_the_next_one_settles_it() -> None:
    looked_at = NOON + RULES.settle
    assert look(age=RULES.settle) == (NoteUnlisted(looked_at),)

    once = replace(SUBMITTING, unlisted_at=looked_at)
    next_at = RULES.settle + RULES.looks_apart
    assert look(age=next_at - SECOND, run=once) == ()
    (decision,) = look(age=next_at, run=once)

    assert isinstance(decision, Requeue)
    assert (decision.outcome, decision.code) == ("absent", "not_created")
    assert decision.delay_seconds == 2.0
    assert not decision.is_failure


def test_a_look_from_before_the_settle_time_proves_nothing_however_late_it_is_heard() -> None:
    """The database was away between the look and its news."""
    early = Listed(1, (), NOON + RULES.settle - SECOND, ListProof.FRESH)

    assert hear(SUBMITTING, early, NOON + RULES.review_after) == ()
    assert hear(LOOKED, early, NOON + RULES.review_after) == ()


@pytest.mark.parametrize("age", [RULES.settle, RULES.review_after - SECOND])
def test_a_list_that_proves_nothing_gives_no_job_back(age: timedelta) -> None:
    for run in (SUBMITTING, LOOKED):
        assert look(age=age, run=run, proof=ListProof.NONE) == ()


def test_a_list_that_shows_no_younger_task_is_believed_late() -> None:
    """It may be a copy from before the task was made."""
    late = RULES.settle + RULES.stale_after
    for run in (SUBMITTING, LOOKED):
        assert look(age=late - SECOND, run=run, proof=ListProof.KNOWN) == ()

    (decision,) = look(age=late, run=LOOKED, proof=ListProof.KNOWN)
    assert isinstance(decision, Requeue)


def test_what_the_list_cannot_tell_is_for_a_person_who_is_told_what_to_do() -> None:
    (decision,) = look(age=RULES.review_after, proof=ListProof.NONE)

    assert isinstance(decision, Review)
    assert decision.code == REVIEW_CODE
    assert "could not be read whole" in decision.detail
    assert "job requeue" in decision.detail


def test_of_several_none_is_taken_before_all_have_ended() -> None:
    found = candidate("t-1", Match.SAME), candidate("t-2")

    assert look(*found) == look(*found, age=RULES.settle) == ()


def test_of_several_the_first_that_is_ours_is_adopted_and_the_others_are_surplus() -> None:
    found = (
        candidate("t-0", Match.OTHER),
        candidate("t-1", Match.SAME),
        candidate("t-2", Match.NOTHING),
        candidate("t-3", Match.SAME),
        candidate("t-4", Match.SAME, is_contested=True),
    )

    run, *orphans = look(*found)

    assert run == Run("t-1", "request-of-t-1", adopted=True)
    assert [(one.task_id, one.is_ours) for one in orphans if isinstance(one, Orphan)] == [
        ("t-3", False)
    ]


@pytest.mark.parametrize("match", [Match.UNSEEN, Match.SAME])
def test_a_task_that_another_open_create_may_have_made_is_not_taken_from_it(match: Match) -> None:
    contested = candidate("t-1", match, is_contested=True)

    assert look(contested) == look(contested, age=RULES.review_after - SECOND) == ()


def test_what_cannot_be_told_apart_is_for_a_person_who_is_told_what_is_known() -> None:
    found = [candidate(f"t-{name}", Match.SAME, is_contested=True) for name in (1, 2)]

    (decision,) = look(*found, age=RULES.review_after)

    assert isinstance(decision, Review)
    assert decision.code == REVIEW_CODE
    assert "t-1, t-2" in decision.detail


def test_a_create_in_review_is_looked_for_on_and_adopted_when_its_task_is_clear() -> None:
    reviewed = replace(
        SUBMITTING,
        holds_lane=False,
        holds_slot=False,
        attention_code=REVIEW_CODE,
        attention_since=NOON,
    )
    age = RULES.review_after + SECOND

    assert look(candidate("t-1", is_contested=True), age=age, run=reviewed) == ()
    actions = look(candidate("t-1"), age=age, run=reviewed)
    assert actions == (Run("t-1", "request-of-t-1", adopted=True),)


def test_a_create_that_the_list_no_longer_reaches_is_never_sent_again() -> None:
    (decision,) = look(age=RULES.list_reach + SECOND)

    assert isinstance(decision, Review)
    assert decision.code == REVIEW_CODE


@given(
    st.lists(st.tuples(st.sampled_from(Match), st.booleans()), max_size=3),
    st.timedeltas(timedelta(0), timedelta(days=9)),
    st.sampled_from(ListProof),
)
def test_a_job_goes_back_only_when_a_list_that_proves_itself_has_none(
    found: list[tuple[Match, bool]], age: timedelta, proof: ListProof
) -> None:
    tasks = [
        candidate(f"t-{number}", match, is_contested=is_contested)
        for number, (match, is_contested) in enumerate(found)
    ]

    actions = look(*tasks, age=age, run=LOOKED, proof=proof)

    is_there = (Match.UNSEEN, Match.SAME, Match.UNCLEAR)
    has_possible = any(match in is_there for match, _ in found)
    is_settled = {
        ListProof.NONE: False,
        ListProof.KNOWN: age >= RULES.settle + RULES.stale_after,
        ListProof.FRESH: age >= RULES.settle,
    }[proof]
    goes_back = not has_possible and is_settled and age <= RULES.list_reach
    assert any(isinstance(action, Requeue) for action in actions) == goes_back
    adopted = [action.task_id for action in actions if isinstance(action, Run)]
    contested = {task.task_id for task in tasks if task.is_contested}
    assert not contested & set(adopted)


def test_a_task_that_cannot_be_told_is_adopted_by_nobody_and_proves_no_absence() -> None:
    unclear = candidate("t-1", Match.UNCLEAR)

    assert look(unclear, age=RULES.settle, run=LOOKED) == ()
    (decision,) = look(unclear, age=RULES.review_after, run=LOOKED)
    assert isinstance(decision, Review)
    assert "t-1" in decision.detail
