"""An account's pace and health, by what its creates meet (pure).

Three rules in one state. Additive increase, multiplicative decrease: a throttled account halves
its rate, each taken create regains a step. Circuit breaker: an account at fault is suspended, then
sends one job at a time, ever more seldom, until one is taken; what one request may have drawn is
weighed first (`suspicion`). Priming: tasks beyond those that may run are tried one by one, and
given back when they crowd; below 0 it is the room that the upstream denies.
"""

import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from app.accounts.evidence.suspicion import Evidence, Source, Suspect, keep_later, suspect, weigh
from app.accounts.news import (
    Barred,
    Crowded,
    Found,
    News,
    Taken,
    Throttled,
    Troubled,
    Unforeseen,
    is_trouble,
)
from app.accounts.run_times import RunTimes

LOWEST_SHARE = 1 / 32
REGAINED_SHARE = 1 / 16

FIRST_THROTTLE_SECONDS = 1.0
"""At the full rate; twice as long at half of it."""
CROWDED_SECONDS = 2.0
TROUBLED_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
"""Whatever is asked: a measured 429 asked for 21 days, and passed within a minute."""

TROUBLES_LIMIT = 5
"""In a row; then the account is suspended."""
FIRST_TROUBLE_PROBE_SECONDS = 2.0
LONGEST_TROUBLE_PROBE_SECONDS = 60.0
FIRST_PROBE_SECONDS = 60.0
LONGEST_PROBE_SECONDS = 600.0
FIRST_SUSPECTED_PROBE_SECONDS = 10.0
"""After refusals of jobs of several teams."""
ONE_TEAM_PROBE_SECONDS = 2.0
"""For each job that was refused, as long as all are one team's; up to `LONGEST_PAUSE_SECONDS`."""

IDLE_RISK = 0.005
"""How probable it may be that more tasks end before the next are sent than were primed."""
REFILL_SECONDS = 1.1
"""From a task's end to its successor at the upstream: half a look, and a create."""
LEARNED_ENOUGH_COUNT = 5
UNLEARNED_PRIMING = 1
FIRST_HOLD = timedelta(minutes=5)
LONGEST_HOLD = timedelta(minutes=30)
HOLD_MEMORY = timedelta(hours=1)
FIRST_ROOM_HOLD = timedelta(minutes=1)
LONGEST_ROOM_HOLD = timedelta(minutes=10)
"""Before one more task is tried than there was room for."""


@dataclass(frozen=True, slots=True)
class Limits:
    max_running: int
    refill_seconds: float = REFILL_SECONDS


@dataclass(frozen=True, slots=True)
class PaceState:
    """An account's state for one model; the columns of `account_paces`."""

    paused_until: datetime | None = None
    pause_code: str | None = None
    pace_share: float = 1.0
    priming: int = 0
    """Below 0: so much less than its limit the account has room for."""
    priming_held_until: datetime | None = None
    strikes: int = 0
    is_suspended: bool = False
    run_times: RunTimes = field(default_factory=RunTimes)
    suspects: tuple[Suspect, ...] = ()
    """Jobs refused, since a create was taken, for what one request may draw."""
    passed_at: datetime | None = None
    """When the last create was sent that was taken although others had been refused."""

    def is_paused(self, now: datetime) -> bool:
        return self.paused_until is not None and now < self.paused_until


def after(
    state: PaceState, news: News, *, limits: Limits, now: datetime, dice: float
) -> PaceState:
    """The state that the news brings about; `dice` (0 to 1) spreads pauses."""
    match news:
        case Taken() | Found():
            changed = _after_success(state, news, limits, now)
        case Unforeseen():
            changed = state
        case _ if _is_old(news, state, now):
            changed = _note_suspect(state, news, now)
        case Throttled():
            changed = _after_throttle(state, news, now, dice)
        case Crowded():
            changed = _after_crowd(state, news, limits, now, dice)
        case Barred():
            changed = _after_bar(state, news, now, dice)
        case Troubled(code):
            changed = _after_trouble(state, code, now, dice)
        case _:
            assert_never(news)
    most = limits.max_running
    return replace(changed, priming=max(min(changed.priming, most), 1 - most))


def find_priming_goal(run_times: RunTimes, limits: Limits) -> int:
    """The fewest primed tasks that keep every slot busy, but for `IDLE_RISK`.

    In the time it takes to see an end and send the next task, a Poisson number of others end.
    """
    if run_times.count < LEARNED_ENOUGH_COUNT:
        return min(UNLEARNED_PRIMING, limits.max_running)
    expected = limits.max_running / run_times.mean_seconds() * limits.refill_seconds
    chance = math.exp(-expected)
    risk, goal = 1 - chance, 0
    while risk >= IDLE_RISK and goal < limits.max_running:
        goal += 1
        chance *= expected / goal
        risk -= chance
    return goal


def _is_old(news: News, state: PaceState, now: datetime) -> bool:
    """While a pause stands, a refusal is of a create sent before it, and does not count again."""
    is_worse = isinstance(news, Barred) and not state.is_suspended
    return state.is_paused(now) and not is_worse


def _after_success(
    state: PaceState, news: Taken | Found, limits: Limits, now: datetime
) -> PaceState:
    return (
        _after_found(state) if isinstance(news, Found) else _after_taken(state, news, limits, now)
    )


def _after_taken(state: PaceState, news: Taken, limits: Limits, now: datetime) -> PaceState:
    sent_at = news.sent_at or now
    primed = _acquit(_prime(state, news, limits, now), sent_at)
    if state.is_suspended and any(one.code == state.pause_code for one in primed.suspects):
        return primed
    if state.is_paused(now) and not state.is_suspended:
        return replace(primed, strikes=0)
    return replace(
        primed,
        strikes=0,
        is_suspended=False,
        paused_until=None,
        pause_code=None,
        pace_share=min(state.pace_share + REGAINED_SHARE, 1.0),
    )


def _after_found(state: PaceState) -> PaceState:
    """Troubles that were only lost answers are forgiven; what refused the account stands."""
    if not is_trouble(state.pause_code):
        return state
    if not state.is_suspended:
        return replace(state, strikes=0)
    return replace(state, strikes=0, is_suspended=False, paused_until=None, pause_code=None)


def _acquit(state: PaceState, sent_at: datetime) -> PaceState:
    """The account takes creates: who was refused before that one was sent is no evidence."""
    left = keep_later(state.suspects, sent_at)
    if len(left) == len(state.suspects):
        return state
    return replace(state, suspects=left, passed_at=sent_at)


def _prime(state: PaceState, news: Taken, limits: Limits, now: datetime) -> PaceState:
    """One more while there is need; one too many is let be, for learned times waver."""
    goal = find_priming_goal(state.run_times, limits)
    if state.priming > goal + 1:
        return replace(state, priming=state.priming - 1)
    is_held = state.priming_held_until is not None and now < state.priming_held_until
    is_full = news.in_flight >= limits.max_running + state.priming
    if state.priming >= goal or is_held or not is_full:
        return state
    return replace(state, priming=state.priming + 1)


def _after_throttle(state: PaceState, news: Throttled, now: datetime, dice: float) -> PaceState:
    share = max(state.pace_share / 2, LOWEST_SHARE)
    own = _spread(FIRST_THROTTLE_SECONDS / share, dice)
    seconds = min(max(own, news.retry_after_seconds or 0.0), LONGEST_PAUSE_SECONDS)
    return _pause(replace(state, pace_share=share), news.code, seconds, now)


def _after_crowd(
    state: PaceState, news: Crowded, limits: Limits, now: datetime, dice: float
) -> PaceState:
    """Give back what was primed; without that the room is smaller than the limit says.

    No room for a single task: others use the account, and it pauses ever longer.
    """
    held = state.priming_held_until
    is_again = held is not None and now < held + HOLD_MEMORY
    if state.priming > 0:
        hold = LONGEST_HOLD if is_again else FIRST_HOLD
        return replace(state, priming=state.priming // 2, priming_held_until=now + hold)
    room = news.in_flight - 1
    if room < 1:
        struck = replace(state, strikes=state.strikes + 1)
        seconds = _grow(CROWDED_SECONDS, state.strikes, LONGEST_PAUSE_SECONDS, dice)
        return _pause(struck, news.code, seconds, now)
    hold = LONGEST_ROOM_HOLD if is_again else FIRST_ROOM_HOLD
    lowered = min(state.priming, room - limits.max_running)
    learned = replace(state, priming=lowered, priming_held_until=now + hold)
    is_news = lowered < state.priming and not state.is_suspended
    return learned if is_news else _pause(learned, news.code, _spread(CROWDED_SECONDS, dice), now)


def _after_bar(state: PaceState, news: Barred, now: datetime, dice: float) -> PaceState:
    code = news.code
    if news.source is not None:
        return _after_suspicion(state, news.source, code, now, dice)
    is_again = state.is_suspended and state.pause_code == code
    strikes = state.strikes + 1 if is_again else 1
    seconds = _grow(FIRST_PROBE_SECONDS, strikes - 1, LONGEST_PROBE_SECONDS, dice)
    return _suspend(replace(state, strikes=strikes), code, seconds, now)


def _note_suspect(state: PaceState, news: News, now: datetime) -> PaceState:
    """A refusal that comes while a pause stands is evidence all the same."""
    if not isinstance(news, Barred) or news.source is None:
        return state
    return replace(state, suspects=suspect(state.suspects, news.source, news.code, now))


def _after_suspicion(
    state: PaceState, source: Source, code: str, now: datetime, dice: float
) -> PaceState:
    """Suspended by what different jobs meet; only a job that is new to it makes a pause longer."""
    noted = replace(state, suspects=suspect(state.suspects, source, code, now))
    if state.is_suspended and state.pause_code != code:
        return _suspend(noted, state.pause_code or code, _spread(FIRST_PROBE_SECONDS, dice), now)
    before, evidence = weigh(state.suspects, code), weigh(noted.suspects, code)
    if evidence is Evidence.NONE and not state.is_suspended:
        return noted
    is_worse = not state.is_suspended or evidence > before
    is_new = all(one.job != source.job for one in state.suspects)
    strikes = 1 if is_worse else state.strikes + is_new
    if evidence is Evidence.TEAMS:
        seconds = _grow(FIRST_SUSPECTED_PROBE_SECONDS, strikes - 1, LONGEST_PROBE_SECONDS, dice)
    else:
        longest = LONGEST_PAUSE_SECONDS
        seconds = min(_spread(ONE_TEAM_PROBE_SECONDS * max(strikes, 1), dice), longest)
    return _suspend(replace(noted, strikes=strikes), code, seconds, now)


def _after_trouble(state: PaceState, code: str, now: datetime, dice: float) -> PaceState:
    struck = replace(state, strikes=state.strikes + 1)
    if not state.is_suspended and struck.strikes < TROUBLES_LIMIT:
        return _pause(struck, code, _spread(TROUBLED_SECONDS, dice), now)
    doublings = max(struck.strikes - TROUBLES_LIMIT, 0)
    seconds = _grow(FIRST_TROUBLE_PROBE_SECONDS, doublings, LONGEST_TROUBLE_PROBE_SECONDS, dice)
    kept_code = state.pause_code if state.is_suspended else None
    return _suspend(struck, kept_code or code, seconds, now)


def _suspend(state: PaceState, code: str, seconds: float, now: datetime) -> PaceState:
    until = now + timedelta(seconds=seconds)
    return replace(state, is_suspended=True, paused_until=until, pause_code=code)


def _pause(state: PaceState, code: str, seconds: float, now: datetime) -> PaceState:
    """A suspended account keeps the code that it was suspended for."""
    until = now + timedelta(seconds=seconds)
    kept_code = state.pause_code if state.is_suspended else None
    return replace(state, paused_until=until, pause_code=kept_code or code)


def _grow(first_seconds: float, doublings: int, longest_seconds: float, dice: float) -> float:
    return min(_spread(first_seconds * 2.0 ** min(doublings, 16), dice), longest_seconds)


def _spread(seconds: float, dice: float) -> float:
    """Up to a fifth longer, so that accounts and gateways do not come back all at once."""
    return seconds * (1 + dice / 5)
