"""A person's wish to have a job tried again: what it means in each state, and what it may cost."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from app.billing.money import format_amount
from app.jobs.cancel import WISH_RULES
from app.jobs.core.restored import RESTORED_CODE
from app.jobs.core.state import RequeueAsked
from app.jobs.engine.judge import Judge, Witness
from app.jobs.events import PICTURES_WAITING, QUEUE_CHANGED, wake, write_event
from app.jobs.lifecycle import Action, JobStatus, Requeue, Stop
from app.jobs.moves import StaleRun
from app.kit.errors import Conflict, FieldProblem, InvalidRequest, NotFound
from app.kit.postgres.database import Connection, Pool, transaction

REASON_CHARACTERS_LIMIT = 500
HASTENED = "job.hastened"


class RequeueResult(StrEnum):
    """What asking again means for a job as it stands."""

    GIVE_UP = "give_up"
    """Its attempt is given up, and it waits its turn again."""
    END = "end"
    """Its attempt is given up, and it ends free, for somebody wants it canceled."""
    START_NOW = "start_now"
    """It is queued: its own delay is over, the turn stays what it is."""
    KEEP_NOW = "keep_now"
    """Its pictures are tried again at once."""


class CostNotAgreed(Conflict):
    """Giving up may pay the upstream for nothing: somebody must say that it may."""

    code = "cost_not_agreed"


@dataclass(frozen=True, slots=True)
class Agreement:
    """The attempt that somebody agrees to give up, as it stood when they were shown it."""

    attempt: int
    status: JobStatus

    def __str__(self) -> str:
        return f"{self.attempt}-{self.status}"

    @classmethod
    def parse(cls, text: str) -> "Agreement":
        """From `2-running`; raises ValueError."""
        number, _, status = text.partition("-")
        if not (number.isascii() and number.isdecimal() and len(number) <= 9):
            raise ValueError(f"{text[:64]!r} is no attempt and status, as in 2-running")
        return cls(int(number), JobStatus(status))


@dataclass(frozen=True, slots=True)
class Prospect:
    """A job as it stands, and what is known of the attempt that would be given up."""

    status: JobStatus
    attempt: int | None
    task_id: str | None
    attention_code: str | None
    attention_detail: str | None
    is_cancel_asked: bool
    cost: Decimal
    currency: str
    expires_at: datetime
    now: datetime

    def to_agreement(self) -> Agreement:
        return Agreement(self.attempt or 0, self.status)


async def requeue_job(
    pool: Pool,
    job_id: UUID,
    *,
    reason: str,
    agreed: Agreement | None = None,
    witness: Callable[[Connection, RequeueResult], Awaitable[None]] | None = None,
) -> RequeueResult:
    """Have a job tried again, as far as its state allows, and say what that has meant.

    The witness writes into the transaction that does it.
    Raises InvalidRequest for a reason that is none, NotFound, Conflict with what to do instead,
    and CostNotAgreed, which tells what is known, unless `agreed` names the attempt as it stands.
    """
    _check_reason(reason)
    prospect = await _find_prospect(pool, job_id)
    meaning = find_meaning(job_id, prospect)

    async def tell(connection: Connection, _: tuple[Action, ...]) -> None:
        if witness is not None:
            await witness(connection, meaning)

    if meaning in (RequeueResult.GIVE_UP, RequeueResult.END):
        _check_agreed(job_id, prospect, agreed)
        is_done = await _give_up(pool, job_id, reason, prospect, tell)
    else:
        is_done = await _hasten(pool, job_id, prospect.status, reason, tell)
    if not is_done:
        raise Conflict(f"job {job_id} has moved on meanwhile: look again", code="job_moved_on")
    return meaning


def find_meaning(job_id: UUID, prospect: Prospect) -> RequeueResult:
    """Raises Conflict, which says what to do instead."""
    status = prospect.status
    if status.is_final:
        raise Conflict(f"job {job_id} is {status}: submit a new job", code="job_finished")
    if status is JobStatus.QUEUED:
        return RequeueResult.START_NOW
    if status is JobStatus.FINALIZING:
        return RequeueResult.KEEP_NOW
    if prospect.attention_code is None:
        raise Conflict(
            f"job {job_id} is {status} and nothing is wrong with it: wait, or cancel it",
            code="job_on_its_way",
        )
    return RequeueResult.END if prospect.is_cancel_asked else RequeueResult.GIVE_UP


def describe_cost(job_id: UUID, prospect: Prospect) -> str:
    """What a person should weigh before an attempt is given up."""
    made = "may have made a task" if prospect.task_id is None else f"made task {prospect.task_id}"
    known = f"{prospect.attention_code}: {prospect.attention_detail or 'no more is known'}"
    cost = f"{format_amount(prospect.cost)} {prospect.currency}"
    if prospect.is_cancel_asked:
        then = "the job was asked to stop: it ends free, and nothing more is sent"
    elif prospect.expires_at <= prospect.now:
        then = "the job's time is over: it expires instead of being sent once more"
    else:
        then = f"the job is sent once more, which may cost up to {cost} a second time"
    return (
        f"attempt {prospect.attempt} of job {job_id} {made} ({known}); if that task succeeds, its "
        f"pictures are paid for and reach nobody; {then}"
    )


async def _find_prospect(pool: Pool, job_id: UUID) -> Prospect:
    row = await pool.fetchrow(_FIND_PROSPECT, job_id)
    if row is None:
        raise NotFound(f"there is no job {job_id}", code="job_not_found")
    return Prospect(**{**row, "status": JobStatus(row["status"])})


def _check_agreed(job_id: UUID, prospect: Prospect, agreed: Agreement | None) -> None:
    shown = prospect.to_agreement()
    if agreed == shown:
        return
    told = describe_cost(job_id, prospect)
    if agreed is not None:
        told = f"you agreed to give up {agreed}, but the job has moved on: {told}"
    raise CostNotAgreed(f"{told}. If that is right, agree to it: --yes {shown}")


async def _give_up(
    pool: Pool, job_id: UUID, reason: str, prospect: Prospect, tell: Witness
) -> bool:
    async def tell_of_that_attempt(connection: Connection, actions: tuple[Action, ...]) -> None:
        # The run is locked: what is found now is what the decision was about.
        attempt = await connection.fetchval(_LATEST_ATTEMPT, job_id)
        if attempt != prospect.attempt or prospect.status is not _find_status(actions):
            raise StaleRun
        await tell(connection, actions)

    try:
        actions = await Judge(pool, WISH_RULES).hear(
            job_id, RequeueAsked(reason), witness=tell_of_that_attempt
        )
    except StaleRun:
        return False
    return bool(actions)


def _find_status(actions: tuple[Action, ...]) -> JobStatus:
    """The status that was given up: only of a task that was there an attempt was accepted."""
    given_up = actions[0].instead_of if isinstance(actions[0], Stop) else actions[0]
    had_task = isinstance(given_up, Requeue) and given_up.outcome == "accepted"
    return JobStatus.RUNNING if had_task else JobStatus.SUBMITTING


async def _hasten(pool: Pool, job_id: UUID, status: JobStatus, reason: str, tell: Witness) -> bool:
    async with transaction(pool) as connection:
        is_done = await connection.fetchval(_HASTEN, job_id, status, RESTORED_CODE)
        if is_done is None:
            return False
        await write_event(connection, job_id, HASTENED, {"status": status, "reason": reason})
        is_queued = status is JobStatus.QUEUED
        await wake(connection, QUEUE_CHANGED if is_queued else PICTURES_WAITING)
        await tell(connection, ())
    return True


def _check_reason(reason: str) -> None:
    if reason.strip() and reason.isprintable() and len(reason) <= REASON_CHARACTERS_LIMIT:
        return
    raise InvalidRequest.from_problems(
        (
            FieldProblem(
                ("reason",),
                "bad_reason",
                f"has {len(reason)} characters; say in 1 to {REASON_CHARACTERS_LIMIT} printable "
                "ones what was found, for the job's story and the audit log",
                {"max": REASON_CHARACTERS_LIMIT, "actual": len(reason)},
            ),
        )
    )


# A restored job is held by that mark's reason alone, and goes as any other from now on.
_HASTEN = """
update job_runs set due_at = now(), attention_code = nullif(attention_code, $3),
    attention_since = case when attention_code <> $3 then attention_since end,
    attention_detail = case when attention_code <> $3 then attention_detail end
where job_id = $1 and status = $2 returning true
"""

_LATEST_ATTEMPT = "select max(number) from attempts where job_id = $1"

_FIND_PROSPECT = """
select coalesce(jobs.status, runs.status) as status, runs.attempt,
    runs.upstream_task_id as task_id, attention_code, attention_detail,
    cancel_requested_at is not null as is_cancel_asked, unit_price * jobs.n as cost, currency,
    coalesce(runs.expires_at, jobs.expires_at) as expires_at, now() as now
from jobs left join job_runs as runs on runs.job_id = jobs.id
where jobs.id = $1
"""
