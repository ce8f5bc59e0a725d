"""Paces in the database: news of an account's creates and tasks, written as the rules say.

Called within the transaction that records the news.

Order of locks, for everybody who waits for one: run, account, its paces by model, its lanes, the
team's place in the queue. The claim takes the pace first, and skips what is locked instead of
waiting; so does who lets suspects go. An account's row is held for no key update, which a row
that refers to it does not wait for.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from app.accounts.evidence.suspects import find_refused_at, let_go, to_rows, to_suspects
from app.accounts.evidence.suspicion import Verdict, is_at_fault
from app.accounts.health import Limits, PaceState, after
from app.accounts.key_rest import rest_key
from app.accounts.news import Barred, Found, News, Reach, Taken, Unforeseen
from app.accounts.run_times import RunTimes, learn
from app.accounts.story import tell, write_account_event, write_unforeseen
from app.kit.postgres.database import Connection, Pool, Record

Dice = Callable[[], float]


async def note(
    connection: Connection,
    account_id: UUID,
    model: str,
    news: News,
    *,
    lane_id: UUID | None = None,
    dice: Dice = random.random,
) -> Verdict:
    """Write what the news changes; a create taken in good health costs one read and no lock.

    With the lane, a refused key rests by itself as long as the account has another.
    """
    if isinstance(news, Unforeseen):
        await write_unforeseen(connection, account_id, model, news.code)
        return Verdict()
    if isinstance(news, Taken | Found):
        row = await connection.fetchrow(_READ, account_id, model)
        if row is None or _find_change(row, news, dice) is None:
            return Verdict()
    rows = await _hold(connection, account_id)
    own = next((row for row in rows if row["model"] == model), None)
    if own is None:
        return Verdict()
    if isinstance(news, Barred) and news.source is not None:
        return await _note_suspicion(connection, rows, own, news, lane_id, dice)
    if await _has_rested(connection, account_id, news, lane_id):
        return Verdict()
    state = await _write(connection, own, news, dice)
    await _spread(connection, rows, own, news, dice)
    return Verdict(wait_seconds=_find_wait(state, own["now"]))


def _find_wait(state: PaceState, now: datetime) -> float:
    return max((state.paused_until - now).total_seconds(), 0.0) if state.paused_until else 0.0


async def _note_suspicion(
    connection: Connection,
    rows: list[Record],
    own: Record,
    news: Barred,
    lane_id: UUID | None,
    dice: Dice,
) -> Verdict:
    """What one request may have drawn: the job's fault, or a mark against the account."""
    assert news.source is not None
    account_id, before = own["account_id"], _to_state(own)
    refused_at = await find_refused_at(connection, news.source.job, account_id, news.code)
    if not before.is_suspended and is_at_fault(
        before.suspects, news.source, refused_at=refused_at, passed_at=before.passed_at
    ):
        return Verdict(is_jobs_fault=True)
    change = _find_change(own, news, dice)
    state = before if change is None else change[1]
    if state.is_suspended and not before.is_suspended:
        if await _has_rested(connection, account_id, news, lane_id):
            await _save(connection, own, before, replace(before, suspects=()))
            return Verdict()
        await _spread(connection, rows, own, replace(news, source=None), dice)
    await _save(connection, own, before, state)
    return Verdict(wait_seconds=_find_wait(state, own["now"]))


async def _spread(
    connection: Connection, rows: list[Record], own: Record, news: News, dice: Dice
) -> None:
    """Tell the account's other models, as far as the news is of them too."""
    for row in rows:
        if row is not own and _reaches(news, own, row):
            told = Taken(in_flight=0) if isinstance(news, Taken) else news
            await _write(connection, row, told, dice)


async def learn_run_time(
    connection: Connection, account_id: UUID, model: str, seconds: float
) -> None:
    """Learn from a task that ran that long; nothing from clocks that contradict each other."""
    if seconds <= 0:
        return
    row = await connection.fetchrow(_HOLD_RUN_TIMES, account_id, model)
    if row is None:
        return
    times = learn(to_run_times(row), seconds)
    await connection.execute(
        "update account_paces set service_count = $3, service_log_mean = $4,"
        " service_log_variance = $5 where account_id = $1 and model = $2",
        account_id,
        model,
        times.count,
        times.log_mean,
        times.log_variance,
    )


async def learn_key_id(pool: Pool, lane_id: UUID, upstream_key_id: str) -> None:
    """Note under which name the upstream's list shows the tasks of that API key."""
    await pool.execute(
        "update lanes set upstream_key_id = $2"
        " where id = $1 and upstream_key_id is distinct from $2",
        lane_id,
        upstream_key_id,
    )


def to_run_times(row: Record) -> RunTimes:
    return RunTimes(row["service_count"], row["service_log_mean"], row["service_log_variance"])


async def _hold(connection: Connection, account_id: UUID) -> list[Record]:
    """Two statements: one that waits would see the suspicions as they were before."""
    await connection.execute(_HOLD, account_id)
    return await connection.fetch(_READ_ALL, account_id)


async def _has_rested(
    connection: Connection, account_id: UUID, news: News, lane_id: UUID | None
) -> bool:
    match news:
        case Barred(code, Reach.KEY) if lane_id is not None:
            return await rest_key(connection, account_id, lane_id, code)
    return False


def _reaches(news: News, own: Record, other: Record) -> bool:
    """Whether the news of one model tells of another one of the account as well."""
    match news:
        case Barred(_, reach):
            return reach is not Reach.MODEL
        case Taken():
            are_suspended: bool = own["is_suspended"] and other["is_suspended"]
            return are_suspended and own["pause_code"] == other["pause_code"]
    return False


def _find_change(row: Record, news: News, dice: Dice) -> tuple[PaceState, PaceState] | None:
    before = _to_state(row)
    now: datetime = row["now"]
    changed = after(before, news, limits=Limits(row["max_running"]), now=now, dice=dice())
    return None if changed == before else (before, changed)


async def _write(connection: Connection, row: Record, news: News, dice: Dice) -> PaceState:
    change = _find_change(row, news, dice)
    if change is None:
        return _to_state(row)
    await _save(connection, row, *change)
    return change[1]


async def _save(connection: Connection, row: Record, before: PaceState, state: PaceState) -> None:
    account_id, model = row["account_id"], row["model"]
    await connection.execute(
        _WRITE,
        account_id,
        model,
        state.paused_until,
        state.pause_code,
        state.pace_share,
        state.priming,
        state.priming_held_until,
        state.strikes,
        state.is_suspended,
    )
    if (state.suspects, state.passed_at) != (before.suspects, before.passed_at):
        suspects = to_rows(state.suspects)
        await connection.execute(_WRITE_SUSPICION, account_id, model, suspects, state.passed_at)
    for event in tell(before, state):
        await write_account_event(connection, account_id, model, event)
    if before.is_suspended and not state.is_suspended:
        await let_go(connection, before.suspects)


def _to_state(row: Record) -> PaceState:
    return PaceState(
        paused_until=row["paused_until"],
        pause_code=row["pause_code"],
        pace_share=row["pace_share"],
        priming=row["priming"],
        priming_held_until=row["priming_held_until"],
        strikes=row["strikes"],
        is_suspended=row["is_suspended"],
        run_times=to_run_times(row),
        suspects=to_suspects(row["suspects"]),
        passed_at=row["passed_at"],
    )


_HOLD_RUN_TIMES = """
select service_count, service_log_mean, service_log_variance from account_paces
where account_id = $1 and model = $2 for update
"""

_COLUMNS = """
select paces.account_id, paces.model, paused_until, pause_code, pace_share, priming,
    priming_held_until, strikes, is_suspended, service_count, service_log_mean,
    service_log_variance, coalesce(suspects, '[]') as suspects, passed_at, max_running,
    clock_timestamp() as now
from account_paces as paces
join accounts on accounts.id = paces.account_id
left join account_suspicions as suspicions
    on suspicions.account_id = paces.account_id and suspicions.model = paces.model
"""

_READ = f"{_COLUMNS} where paces.account_id = $1 and paces.model = $2"

_HOLD = "select from account_paces where account_id = $1 order by model for update"

_READ_ALL = f"{_COLUMNS} where paces.account_id = $1 order by paces.model"

_WRITE = """
update account_paces set paused_until = $3, pause_code = $4, pace_share = $5, priming = $6,
    priming_held_until = $7, strikes = $8, is_suspended = $9
where account_id = $1 and model = $2
"""

_WRITE_SUSPICION = """
insert into account_suspicions (account_id, model, suspects, passed_at) values ($1, $2, $3, $4)
on conflict (account_id, model) do update
set suspects = excluded.suspects, passed_at = excluded.passed_at
"""
