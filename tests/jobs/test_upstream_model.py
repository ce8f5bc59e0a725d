"""The model of the upstream: true by default, and able to lie in every way that a list can."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.jobs.core.state import RunState
from tests.jobs.upstream_model import Job, Lie, ListRefused, Post, Upstream

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NO_RUN: RunState | None = None


def make_upstream(*, ahead: timedelta = timedelta(0)) -> Upstream:
    """Two tasks, a minute apart, the second at noon of ours."""
    upstream = Upstream(ahead=ahead)
    for number in (1, 2):
        job = Job(UUID(int=number), "fox", 1, NO_RUN)
        moment = NOON - timedelta(minutes=2 - number)
        upstream.make(Post(job.job_id, 1, 0, moment), job, moment)
    return upstream


def names(upstream: Upstream, **span: datetime) -> list[str]:
    return [row.task_id for row in upstream.look(False, NOON, **span).rows]


def test_by_default_the_list_tells_the_truth() -> None:
    upstream = make_upstream()

    look = upstream.look(True, NOON)

    assert look.rows == upstream.list(True)
    assert look.is_whole
    assert [row.gmt_create for row in look.rows] == [NOON - timedelta(minutes=1), NOON]


@pytest.mark.parametrize(
    ("lie", "shown"),
    [
        (Lie.EMPTY, []),
        (Lie.STALE, ["task-0"]),
        (Lie.OMITS, ["task-0"]),
        (Lie.UNREADABLE, ["task-0"]),
    ],
)
def test_a_lie_hides_tasks(lie: Lie, shown: list[str]) -> None:
    upstream = make_upstream()
    upstream.lie, upstream.lag = lie, timedelta(seconds=30)
    upstream.hidden = frozenset({"task-1"})

    assert names(upstream) == shown
    assert upstream.look(False, NOON).is_whole is (lie is not Lie.UNREADABLE)


def test_a_refused_list_is_none() -> None:
    upstream = make_upstream()
    upstream.lie = Lie.REFUSED

    with pytest.raises(ListRefused):
        upstream.look(False, NOON)


def test_a_filter_in_the_wrong_zone_is_eight_hours_off() -> None:
    upstream = make_upstream()
    span = {"since": NOON - timedelta(minutes=5), "until": NOON + timedelta(minutes=5)}

    right = names(upstream, **span)
    upstream.lie = Lie.WRONG_ZONE
    wrong = names(upstream, **span)

    assert (right, wrong) == (["task-0", "task-1"], [])


def test_times_are_those_of_the_upstreams_own_clock() -> None:
    upstream = make_upstream(ahead=timedelta(minutes=5))
    span = {"since": NOON - timedelta(minutes=2), "until": NOON + timedelta(minutes=2)}

    assert names(upstream, **span) == []
    assert [row.gmt_create for row in upstream.list(False)] == [
        NOON + timedelta(minutes=4),
        NOON + timedelta(minutes=5),
    ]
