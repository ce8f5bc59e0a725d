"""The claim: which queued job goes out next on a lane."""

from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from app.jobs.engine.submit import Submission
from app.jobs.events import JOB_CHANGED
from app.jobs.lifecycle import Fence
from app.jobs.queue.statement import CLAIM_SUBMISSION, CONTENDED_SECONDS
from app.kit.faultpoints import faultpoint
from app.kit.postgres.database import Connection, Record

PACE_MARGIN = 1.05
"""Submits are spaced 5 % wider than the account's rate: network jitter must not bunch them."""


@dataclass(frozen=True, slots=True)
class LaneTurn:
    """One lane asking for work: whose, for which model, under which limits."""

    account_id: UUID
    lane_id: UUID
    model: str
    slots: int
    submit_rate: float
    lease_seconds: float


class Pause(NamedTuple):
    """When a lane asks again, and whether a job in the queue would have been taken."""

    seconds: float
    has_room: bool


async def claim_submission(
    connection: Connection, turn: LaneTurn
) -> tuple[Submission | None, Pause]:
    """The next job of the queue, now `submitting`; else None and how long to wait, and for what.

    One statement: pace, slot, lane, team, job, attempt and event move together or not at all.
    """
    row = await connection.fetchrow(
        CLAIM_SUBMISSION,
        turn.account_id,
        turn.lane_id,
        turn.model,
        turn.slots,
        PACE_MARGIN / turn.submit_rate,
        turn.lease_seconds,
        uuid4(),
        JOB_CHANGED,
    )
    if row is None:
        return None, Pause(CONTENDED_SECONDS, has_room=False)
    if row["job_id"] is None:
        return None, Pause(float(row["wait_seconds"]), row["has_room"])
    faultpoint("claim.before_commit")
    return _to_submission(row), Pause(0.0, has_room=False)


def _to_submission(row: Record) -> Submission:
    parameters: dict[str, Any] = {
        "n": row["n"],
        "watermark": row["watermark"],
        "prompt_extend": row["prompt_extend"],
    }
    if row["size"] is not None:
        parameters["size"] = row["size"]
    if row["seed"] is not None:
        parameters["seed"] = row["seed"]
    return Submission(
        fence=Fence(row["job_id"], row["attempt"]),
        model=row["model"],
        prompt=row["prompt"],
        negative_prompt=row["negative_prompt"],
        images=tuple(row["images"]),
        parameters=parameters,
        intended_at=row["intended_at"],
    )
