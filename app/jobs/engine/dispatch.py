"""One lane at work: claim a job, send its create, tell what is known of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from app.accounts.directory import UpstreamAccount, UpstreamLane
from app.dashscope.client import DashScope
from app.jobs.core.state import Created
from app.jobs.engine.claim import LaneTurn, Pause, claim_submission
from app.jobs.engine.judge import Judge
from app.jobs.engine.submit import ReadInput, Submission, submit
from app.kit.background.loop import wait_for_any
from app.kit.clock import elapsed_seconds
from app.kit.faultpoints import faultpoint
from app.kit.postgres.database import UniqueViolation, transaction

LEASE_MARGIN = 0.5
"""Of the time an answer may take: how much longer its claim is held before others ask."""
CLAIM_RETRY_SECONDS = 0.05
"""Another claimer took the lane or the slot in the same instant; the indexes let in only one."""
LONGEST_WAIT_SECONDS = 1.0
"""The sweep: a lost notification costs no more than this."""


@dataclass(frozen=True, slots=True)
class LaneDesk:
    """What a lane needs to do its work."""

    judge: Judge
    account: UpstreamAccount
    lane: UpstreamLane
    upstream: DashScope
    read_input: ReadInput
    prepare_seconds: float
    """How long after its claim was begun a create may still be sent."""
    send_seconds: float
    """How long a create may then take to be written."""
    submit_timeout_seconds: float
    """How long its answer may take after that."""


@dataclass(frozen=True, slots=True)
class Nudges:
    """What a waiting lane wakes at."""

    freed: asyncio.Event
    """A slot has become free somewhere, or a job has come back."""
    accepted: asyncio.Event
    """New jobs are queued: nothing to a lane without room, and there is one each acceptance."""


async def work_lane(
    desk: LaneDesk, models: Sequence[str], *, stop: asyncio.Event, nudges: Nudges
) -> bool:
    """Submit one job of any of the models, if there is one and the limits allow it.

    Waits for the next turn when there is none; always says so, which makes it a loop's step.
    """
    nudges.freed.clear()
    nudges.accepted.clear()
    pauses: list[Pause] = []
    for model in models:
        send_before = elapsed_seconds() + desk.prepare_seconds
        submission, pause = await _claim(desk, model)
        if submission is not None:
            faultpoint("claim.committed")
            await _submit(desk, submission, send_before)
            return True
        pauses.append(pause)
    await wait_for_any(
        stop,
        nudges.freed,
        nudges.accepted if any(pause.has_room for pause in pauses) else None,
        seconds=min(LONGEST_WAIT_SECONDS, *(pause.seconds for pause in pauses)),
    )
    return True


async def _claim(desk: LaneDesk, model: str) -> tuple[Submission | None, Pause]:
    turn = LaneTurn(
        account_id=desk.account.id,
        lane_id=desk.lane.id,
        model=model,
        slots=desk.account.max_running,
        submit_rate=desk.account.submit_rate,
        lease_seconds=desk.prepare_seconds
        + desk.send_seconds
        + desk.submit_timeout_seconds * (1 + LEASE_MARGIN),
    )
    try:
        async with transaction(desk.judge.pool) as connection:
            return await claim_submission(connection, turn)
    except UniqueViolation:
        return None, Pause(CLAIM_RETRY_SECONDS, has_room=False)


async def _submit(desk: LaneDesk, submission: Submission, send_before: float) -> None:
    outcome = await submit(
        desk.upstream,
        submission,
        read_input=desk.read_input,
        send_before=send_before,
        timeout_seconds=desk.submit_timeout_seconds,
    )
    faultpoint("create.answered")
    fence = submission.fence
    await desk.judge.hear_surely(fence.job_id, Created(fence.attempt, outcome))
    faultpoint("create.recorded")
