"""Which tasks a create may have made, and which creates may have made a task."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from app.dashscope.payloads import ListedTask, TaskStatus
from app.jobs.core.candidates import (
    CLOCK_MARGIN,
    OpenCreate,
    group_by_window,
    pick_unattached,
    weigh,
)
from app.jobs.core.state import Match
from tests.jobs.news import NOON, PROMPT, SECOND

SETTLE = timedelta(seconds=70)
CREATE = OpenCreate(UUID(int=1), 1, PROMPT, 1, NOON, NOON + SETTLE, None)
RIVAL = replace(CREATE, job_id=UUID(int=2))


def task(name: str = "t-1", *, later: timedelta = SECOND, key: str | None = None) -> ListedTask:
    return ListedTask(
        task_id=name, status=TaskStatus.SUCCEEDED, gmt_create=NOON + later, api_key_id=key
    )


def begun(later: timedelta) -> OpenCreate:
    return replace(CREATE, intended_at=NOON + later, until=NOON + later + SETTLE)


@pytest.mark.parametrize(
    ("later", "is_possible"),
    [
        (-CLOCK_MARGIN - SECOND, False),
        (-CLOCK_MARGIN, True),
        (SETTLE + CLOCK_MARGIN, True),
        (SETTLE + CLOCK_MARGIN + SECOND, False),
    ],
)
def test_a_task_of_another_time_is_not_the_creates(later: timedelta, is_possible: bool) -> None:
    assert CREATE.may_have_made(task(later=later)) is is_possible


@pytest.mark.parametrize(
    ("create_key", "task_key", "is_possible"),
    [
        ("1", "1", True),
        ("1", "2", False),
        (None, "2", True),
        ("1", None, True),
        (None, None, True),
    ],
)
def test_only_two_known_keys_tell_a_task_from_the_creates(
    create_key: str | None, task_key: str | None, is_possible: bool
) -> None:
    create = replace(CREATE, key_id=create_key)

    assert create.may_have_made(task(key=task_key)) is is_possible


def test_what_another_key_is_known_to_have_made_is_not_an_unnamed_keys() -> None:
    create = replace(CREATE, other_key_ids=frozenset({"2"}))

    assert not create.may_have_made(task(key="2"))
    assert create.may_have_made(task(key="3"))


def test_tasks_with_an_owner_are_left_out_and_the_oldest_is_first() -> None:
    listed = [task("t-3", later=SECOND * 3), task("t-2"), task("t-1")]

    picked = pick_unattached(CREATE, listed, {"t-1"})

    assert [one.task_id for one in picked] == ["t-2", "t-3"]


@pytest.mark.parametrize(
    ("rival", "match", "is_contested"),
    [
        pytest.param(RIVAL, Match.UNSEEN, True, id="the same time"),
        pytest.param(RIVAL, Match.SAME, True, id="the same words"),
        pytest.param(replace(RIVAL, prompt="red"), Match.SAME, False, id="other words"),
        pytest.param(replace(RIVAL, n=2), Match.SAME, False, id="another number"),
        pytest.param(replace(RIVAL, prompt="red"), Match.UNSEEN, True, id="words unread"),
        pytest.param(replace(RIVAL, key_id="2"), Match.SAME, False, id="another key"),
        pytest.param(CREATE, Match.SAME, False, id="itself"),
        pytest.param(replace(CREATE, attempt=2), Match.SAME, True, id="its job's next try"),
    ],
)
def test_a_task_is_contested_where_another_open_create_may_have_made_it(
    rival: OpenCreate, match: Match, is_contested: bool
) -> None:
    candidate = weigh(CREATE, task(key="1"), match, [CREATE, rival])

    assert candidate.is_contested is is_contested


def test_creates_of_one_time_share_a_look_and_others_have_their_own() -> None:
    first, second = begun(timedelta(0)), begun(SETTLE / 2)
    third = begun(SETTLE + SETTLE / 2)
    much_later = begun(timedelta(hours=5))

    groups = group_by_window([much_later, third, first, second])

    assert groups == [[first, second, third], [much_later]]
    assert group_by_window([]) == []
