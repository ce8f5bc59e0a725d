"""Turns at finished jobs: whose pictures a process keeps, under a lease, until the turn ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from app.jobs.keeping.bound import judge_late
from app.jobs.keeping.collect import (
    PICTURE_TROUBLES,
    STORE_TROUBLE,
    Kept,
    Lost,
    NotYet,
    WaitingPicture,
)
from app.jobs.lifecycle import Fence, Flag, JobStatus
from app.jobs.moves import StaleRun
from app.jobs.moves.pictures import LOST_CODE, lose_pictures
from app.jobs.record import end, record
from app.kit.background.chores import count_failure
from app.kit.postgres.database import Connection, Pool

KEEP_LEASE_SECONDS = 30.0
SHORTEST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 60.0
STORE_RETRY_SECONDS = 5.0
LOST_WORK = "picture.lost"
"""The name under which lost pictures are counted for the metrics."""
END_SHARE = 0.01
"""Of the time to its end, or since then, a picture is not left alone for longer."""


@dataclass(frozen=True, slots=True)
class KeepTurn:
    """A finished job whose pictures this process may keep, until the lease ends."""

    fence: Fence
    lease_token: UUID
    account_id: UUID
    expires_at: datetime
    """When its pictures' URLs die."""
    is_troubled: bool
    """Whether it was tried in vain, and not for the store's sake."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a leased job stands, by the database's clock."""

    attention_code: str | None
    troubled_for: timedelta
    left: timedelta
    """Until its pictures' URLs die; negative afterwards."""

    def troubled_for_code(self, outcome: Kept | Lost | NotYet) -> timedelta:
        """For how long it has met the trouble of that outcome; zero for a new one."""
        is_known = isinstance(outcome, NotYet) and outcome.code == self.attention_code
        return self.troubled_for if is_known else timedelta(0)


async def claim_kept(
    connection: Connection, *, limit: int, troubled_limit: int
) -> tuple[KeepTurn, ...]:
    """Finished jobs to keep pictures of, closest to their URLs' end first.

    No more than `troubled_limit` of them were tried in vain before.
    """
    token, first = uuid4(), max(min(limit, troubled_limit), 0)
    rows = await connection.fetch(_CLAIM, first, token, KEEP_LEASE_SECONDS, ())
    if len(rows) == first < limit:
        rest = limit - first
        rows += await connection.fetch(_CLAIM, rest, token, KEEP_LEASE_SECONDS, PICTURE_TROUBLES)
    return tuple(
        KeepTurn(
            Fence(row["job_id"], row["attempt"]),
            row["lease_token"],
            row["account_id"],
            expires_at=row["expires_at"],
            is_troubled=row["attention_code"] in PICTURE_TROUBLES,
        )
        for row in rows
    )


async def find_rivals(pool: Pool) -> tuple[datetime | None, datetime | None]:
    """The closest end among the jobs that wait for a place: of calm ones, of troubled ones."""
    row = await pool.fetchrow(
        """
        select min(expires_at) filter (where not is_troubled) as calm_at,
            min(expires_at) filter (where is_troubled) as troubled_at
        from (
            select expires_at, coalesce(attention_code = any($1), false) as is_troubled
            from job_runs
            where status = 'finalizing' and due_at <= now()
                and (lease_expires_at is null or lease_expires_at < now())
        ) as due
        """,
        PICTURE_TROUBLES,
    )
    assert row is not None
    return row["calm_at"], row["troubled_at"]


async def renew_leases(connection: Connection, tokens: Sequence[UUID]) -> None:
    """Keep what this process is working on out of other hands for another lease."""
    await connection.execute(
        "update job_runs set lease_expires_at = now() + make_interval(secs => $2)"
        " where lease_token = any($1)",
        list(tokens),
        KEEP_LEASE_SECONDS,
    )


async def release_lease(connection: Connection, turn: KeepTurn, *, due_in_seconds: float) -> None:
    await connection.execute(
        """
        update job_runs set lease_token = null, lease_expires_at = null,
            due_at = now() + make_interval(secs => $3)
        where job_id = $1 and lease_token = $2
        """,
        turn.fence.job_id,
        turn.lease_token,
        due_in_seconds,
    )


async def load_waiting(pool: Pool, turn: KeepTurn) -> tuple[WaitingPicture, ...]:
    """The job's pictures that are still upstream; one URL is one picture, at all its places."""
    rows = await pool.fetch(
        """
        select array_agg(index order by index) as indexes, source_url,
            min(source_expires_at) as expires_at
        from pictures where job_id = $1 and status = 'upstream'
        group by source_url order by expires_at, indexes
        """,
        turn.fence.job_id,
    )
    return tuple(
        WaitingPicture(first, row["source_url"], row["expires_at"], tuple(others))
        for row in rows
        for first, *others in (row["indexes"],)
    )


async def end_turn(
    connection: Connection,
    turn: KeepTurn,
    outcomes: Sequence[tuple[WaitingPicture, Kept | Lost | NotYet]],
) -> tuple[Kept | Lost | NotYet, ...]:
    """End the job, or put it back until its late pictures are tried again.

    Returns what has become of the pictures: those that are given up are lost.
    """
    standing = await _find_standing(connection, turn)
    if standing is None:
        raise StaleRun
    judged = tuple(
        judge_late(outcome, left=standing.left, troubled_for=standing.troubled_for_code(outcome))
        for _, outcome in outcomes
    )
    for (picture, _), outcome in zip(outcomes, judged, strict=True):
        if isinstance(outcome, Lost):
            await lose_pictures(connection, turn.fence, picture.places, reason=outcome.reason)
    lost = [outcome.reason for outcome in judged if isinstance(outcome, Lost)]
    if lost:
        await count_failure(connection, LOST_WORK, LOST_CODE, count=len(lost))
    late = [outcome for outcome in judged if isinstance(outcome, NotYet)]
    if not late:
        await _end_job(connection, turn, last_reason=lost[-1] if lost else None)
        return judged
    # One mark a job: what is marked already stays, so that the pauses grow.
    known = [outcome for outcome in late if outcome.code == standing.attention_code]
    shown, troubled_for = (known[0], standing.troubled_for) if known else (late[0], timedelta(0))
    await record(
        connection, turn.fence, Flag(shown.code, f"picture {shown.index}: {shown.reason}")
    )
    pause_seconds = find_retry_seconds(troubled_for, standing.left)
    if shown.code == STORE_TROUBLE:
        pause_seconds = min(pause_seconds, STORE_RETRY_SECONDS)
    await release_lease(connection, turn, due_in_seconds=pause_seconds)
    return judged


def find_retry_seconds(troubled_for: timedelta, left: timedelta) -> float:
    """When to try again: ever more seldom the longer it fails, ever sooner close to the end."""
    patient_seconds = min(troubled_for.total_seconds() / 2, LONGEST_RETRY_SECONDS)
    end_seconds = abs(left.total_seconds()) * END_SHARE
    return max(min(patient_seconds, end_seconds), SHORTEST_RETRY_SECONDS)


async def _find_standing(connection: Connection, turn: KeepTurn) -> Standing | None:
    """How the job stands, locked; None when the lease has gone to another hand."""
    row = await connection.fetchrow(
        """
        select attention_code, expires_at - now() as left,
            coalesce(now() - attention_since, interval '0') as troubled_for
        from job_runs where job_id = $1 and lease_token = $2 for update
        """,
        turn.fence.job_id,
        turn.lease_token,
    )
    return None if row is None else Standing(**row)


async def _end_job(connection: Connection, turn: KeepTurn, *, last_reason: str | None) -> None:
    kept = await connection.fetchval(
        "select count(*) from pictures where job_id = $1 and status = 'kept'", turn.fence.job_id
    )
    if kept:
        await end(connection, turn.fence, JobStatus.SUCCEEDED)
    else:
        reason = "the upstream made pictures, and none could be kept before they expired"
        if last_reason is not None:
            reason = f"{reason}: {last_reason}"
        await end(connection, turn.fence, JobStatus.FAILED, error=(LOST_CODE, reason))


_CLAIM = """
with due as materialized (
    select job_id from job_runs
    where status = 'finalizing' and due_at <= now()
        and (lease_expires_at is null or lease_expires_at < now())
        and (attention_code is null or attention_code <> all($4))
    order by expires_at limit $1
    for update skip locked
)
update job_runs set lease_token = $2, lease_expires_at = now() + make_interval(secs => $3)
from due where job_runs.job_id = due.job_id
returning job_runs.job_id, attempt, lease_token, account_id, expires_at, attention_code
"""
