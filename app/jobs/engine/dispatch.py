"""One lane at work: claim a job, send its create, record what is known of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from app.accounts.directory import UpstreamAccount, UpstreamLane
from app.dashscope.client import DashScope
from app.jobs.engine.claim import LaneTurn, claim_submission
from app.jobs.engine.decide import after_create
from app.jobs.engine.submit import ReadInput, Submission, submit
from app.jobs.lifecycle import Decision, Fence, Flag
from app.jobs.moves import StaleRun
from app.jobs.record import record
from app.kit.loop import wait_for_any
from app.kit.postgres.database import (
    CONNECTION_TROUBLE,
    UNWRITABLE,
    Pool,
    UniqueViolation,
    transaction,
)

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

PREPARE_SECONDS = 10.0
"""How long after its claim was begun a create may still be sent."""
LEASE_MARGIN_SECONDS = 5.0
RECORD_RETRY_SECONDS = 0.5
CLAIM_RETRY_SECONDS = 0.05
"""Another claimer took the lane or the slot in the same instant; the indexes let in only one."""
LONGEST_WAIT_SECONDS = 1.0
"""The sweep: a lost notification costs no more than this."""


@dataclass(frozen=True, slots=True)
class LaneDesk:
    """What a lane needs to do its work."""

    pool: Pool
    account: UpstreamAccount
    lane: UpstreamLane
    upstream: DashScope
    read_input: ReadInput
    submit_timeout_seconds: float


async def work_lane(
    desk: LaneDesk, models: Sequence[str], *, stop: asyncio.Event, nudge: asyncio.Event
) -> bool:
    """Submit one job of any of the models, if there is one and the limits allow it.

    Waits for the next turn when there is none; always says so, which makes it a loop's step.
    """
    nudge.clear()
    waits: list[float] = []
    for model in models:
        send_before = asyncio.get_running_loop().time() + PREPARE_SECONDS
        submission, wait_seconds = await _claim(desk, model)
        if submission is not None:
            await _submit(desk, submission, send_before)
            return True
        waits.append(wait_seconds)
    await wait_for_any(stop, nudge, seconds=min(LONGEST_WAIT_SECONDS, *waits))
    return True


async def record_surely(pool: Pool, fence: Fence, decision: Decision) -> None:
    """Record news that exists nowhere else: wait for a lost database rather than lose it.

    News that no table takes flags its job for a person, so that the next job's news comes through.
    """
    while True:
        try:
            async with transaction(pool) as connection:
                await record(connection, fence, decision)
        except UNWRITABLE as error:
            log.error(
                "record.refused",
                job_id=str(fence.job_id),
                attempt=fence.attempt,
                error=type(error).__name__,
            )
            decision = Flag("answer_unwritable", f"{type(error).__name__} while recording it")
        except StaleRun:
            log.warning("run.stale_news_dropped", job_id=str(fence.job_id), attempt=fence.attempt)
            return
        except CONNECTION_TROUBLE as error:
            log.warning(
                "record.waiting_for_database",
                job_id=str(fence.job_id),
                error=type(error).__name__,
            )
            await asyncio.sleep(RECORD_RETRY_SECONDS)
        else:
            log.info(
                "run.recorded",
                job_id=str(fence.job_id),
                attempt=fence.attempt,
                decision=type(decision).__name__.lower(),
            )
            return


async def _claim(desk: LaneDesk, model: str) -> tuple[Submission | None, float]:
    turn = LaneTurn(
        account_id=desk.account.id,
        lane_id=desk.lane.id,
        model=model,
        slots=desk.account.max_running,
        submit_rate=desk.account.submit_rate,
        lease_seconds=PREPARE_SECONDS + desk.submit_timeout_seconds + LEASE_MARGIN_SECONDS,
    )
    try:
        async with transaction(desk.pool) as connection:
            return await claim_submission(connection, turn)
    except UniqueViolation:
        return None, CLAIM_RETRY_SECONDS


async def _submit(desk: LaneDesk, submission: Submission, send_before: float) -> None:
    outcome = await submit(
        desk.upstream,
        submission,
        read_input=desk.read_input,
        send_before=send_before,
        timeout_seconds=desk.submit_timeout_seconds,
    )
    fence = submission.fence
    await record_surely(desk.pool, fence, after_create(outcome, attempt=fence.attempt))
