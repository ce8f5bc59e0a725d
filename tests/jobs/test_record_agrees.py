"""What `record` writes is what `advance` says: the simulated engine is the real one."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from app.jobs.core.advance import advance
from app.jobs.core.state import RunState
from app.jobs.engine.states import lock_standing
from app.jobs.lifecycle import (
    Decision,
    Disown,
    Doubt,
    Fail,
    Fence,
    Flag,
    JobStatus,
    NoteCancel,
    NoteUnlisted,
    Orphan,
    ReleaseLane,
    Requeue,
    Review,
    Run,
    Stop,
    Unflag,
)
from app.kit.postgres.database import transaction
from tests.jobs.scene import Scene, ended_with

BACK = Requeue("absent", "not_created", "nothing there")
AGAIN = Requeue("accepted", "InternalError", "chance", is_failure=True)
REFUSED = Requeue("refused", "AccessDenied", "no", 2.0, 403, "r-1", is_refunded=False)
FLAG = Flag("task_unknown", "the upstream does not know it")
UNLISTED = NoteUnlisted(datetime(2026, 11, 23, 12, tzinfo=UTC))
REVIEW = Review("task_unknown", "still not")


async def submitting(scene: Scene) -> Fence:
    return await scene.submitting()


async def doubted(scene: Scene) -> Fence:
    fence = await scene.submitting()
    await scene.decide(fence, Doubt("reset"))
    return fence


async def adopted_late(scene: Scene) -> Fence:
    """After a first look had shown nothing."""
    fence = await doubted(scene)
    await scene.decide(fence, UNLISTED)
    await scene.decide(fence, Run("task-1", "r", adopted=True))
    return fence


async def running(scene: Scene) -> Fence:
    return await scene.running()


async def adopted(scene: Scene) -> Fence:
    fence = await scene.submitting()
    await scene.decide(fence, Run("task-1", "r", adopted=True))
    return fence


async def flagged(scene: Scene) -> Fence:
    fence = await scene.running()
    await scene.decide(fence, FLAG)
    return fence


async def back_in_the_queue(scene: Scene) -> Fence:
    fence = await scene.submitting()
    await scene.decide(fence, BACK)
    return fence


async def in_review(scene: Scene) -> Fence:
    fence = await flagged(scene)
    await scene.decide(fence, REVIEW)
    return fence


async def doubted_in_review(scene: Scene) -> Fence:
    fence = await scene.submitting()
    await scene.decide(fence, Review("submission_unknown", "several"))
    return fence


Begin = Callable[[Scene], Awaitable[Fence]]
CASES: list[tuple[Begin, Decision]] = [
    (submitting, Run("task-1", "r")),
    (submitting, Run("task-1", "r", adopted=True)),
    (submitting, BACK),
    (submitting, replace(BACK, is_failure=True)),
    (submitting, REFUSED),
    (back_in_the_queue, Flag("cannot_be_sent", "five tries")),
    (submitting, Doubt("reset")),
    (submitting, NoteCancel()),
    (submitting, Review("submission_unknown", "several")),
    (submitting, Fail("InvalidParameter", "no")),
    (submitting, Stop(JobStatus.CANCELED, instead_of=BACK)),
    (submitting, Orphan("task-9", "surplus", is_ours=False)),
    (doubted_in_review, Run("task-1", "r", adopted=True)),
    (doubted, UNLISTED),
    (doubted, ReleaseLane()),
    (adopted_late, Disown("task-1", "another's")),
    (doubted_in_review, BACK),
    (doubted_in_review, replace(BACK, keeps_attention=True)),
    (running, AGAIN),
    (running, NoteCancel()),
    (running, FLAG),
    (running, ended_with("https://r/a")),
    (running, Fail("InvalidParameter", "no", task=ended_with("https://r/a").task)),
    (running, Stop(JobStatus.CANCELED)),
    (adopted, Disown("task-1", "another's")),
    (flagged, FLAG),
    (flagged, Unflag()),
    (flagged, REVIEW),
    (flagged, AGAIN),
    (in_review, ended_with("https://r/a")),
    (in_review, AGAIN),
]


@pytest.mark.parametrize(
    ("begin", "decision"),
    CASES,
    ids=[f"{begin.__name__}-{type(decision).__name__}" for begin, decision in CASES],
)
async def test_a_decision_moves_the_rows_as_it_moves_the_state(
    scene: Scene, begin: Begin, decision: Decision
) -> None:
    fence = await begin(scene)
    before = await read(scene, fence.job_id)
    assert before is not None

    await scene.decide(fence, decision)

    expected = advance(before, decision, datetime.now(UTC))
    assert essence(await read(scene, fence.job_id)) == essence(expected)


async def read(scene: Scene, job_id: UUID) -> RunState | None:
    async with transaction(scene.pool) as connection:
        standing = await lock_standing(connection, job_id)
    return None if standing is None else standing.run


def essence(run: RunState | None) -> RunState | None:
    """The state without times, which differ by the moment of the test."""
    if run is None:
        return None
    return replace(
        run, expires_at=datetime.min.replace(tzinfo=UTC), intended_at=None, attention_since=None
    )
