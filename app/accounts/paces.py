"""Paces in the database: news of an account's creates and tasks, written as the rules say.

Called within the transaction that records the news. Order of locks: run, then pace.
"""

import random
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from app.accounts.health import Limits, PaceState, after
from app.accounts.key_rest import rest_key
from app.accounts.news import Barred, News, Reach, Taken, Unforeseen
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
) -> None:
    """Write what the news changes; a create taken in good health costs one read and no lock.

    With the lane, a refused key rests by itself as long as the account has another.
    """
    if isinstance(news, Unforeseen):
        await write_unforeseen(connection, account_id, model, news.code)
        return
    if isinstance(news, Taken):
        row = await connection.fetchrow(_READ, account_id, model)
        if row is None or _find_change(row, news, dice) is None:
            return
    rows = await connection.fetch(_HOLD, account_id)
    own = next((row for row in rows if row["model"] == model), None)
    if own is None or await _has_rested(connection, account_id, news, lane_id):
        return
    for row in rows:
        if row is own:
            await _write(connection, row, news, dice)
        elif _reaches(news, own, row):
            told = Taken(in_flight=0) if isinstance(news, Taken) else news
            await _write(connection, row, told, dice)


async def learn_run_time(
    connection: Connection, account_id: UUID, model: str, seconds: float
) -> None:
    """Learn from a task that ran that long; nothing from clocks that contradict each other."""
    if seconds <= 0:
        return
    row = await connection.fetchrow(f"{_READ} for update of account_paces", account_id, model)
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


async def _write(connection: Connection, row: Record, news: News, dice: Dice) -> None:
    change = _find_change(row, news, dice)
    if change is None:
        return
    before, state = change
    await connection.execute(
        _WRITE,
        row["account_id"],
        row["model"],
        state.paused_until,
        state.pause_code,
        state.pace_share,
        state.priming,
        state.priming_held_until,
        state.strikes,
        state.is_suspended,
    )
    for event in tell(before, state):
        await write_account_event(connection, row["account_id"], row["model"], event)


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
    )


_COLUMNS = """
select account_id, model, paused_until, pause_code, pace_share, priming, priming_held_until,
    strikes, is_suspended, service_count, service_log_mean, service_log_variance,
    accounts.max_running, clock_timestamp() as now
from account_paces join accounts on accounts.id = account_paces.account_id
"""

_READ = f"{_COLUMNS} where account_id = $1 and model = $2"

_HOLD = f"{_COLUMNS} where account_id = $1 order by model for update of account_paces"

_WRITE = """
update account_paces set paused_until = $3, pause_code = $4, pace_share = $5, priming = $6,
    priming_held_until = $7, strikes = $8, is_suspended = $9
where account_id = $1 and model = $2
"""
