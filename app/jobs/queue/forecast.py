"""What a queued job is told: how many go before it, what holds it, when it may end (pure)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

from app.accounts.run_times import RunTimes

PRIOR = RunTimes(count=5, log_mean=math.log(60.0), log_variance=0.25)
"""What is thought of run times before any is known: a minute, and with the weight of five tasks.

The upstream's own page says one to two minutes; what was measured elsewhere is less.
"""

RANK_LIMIT = 10_000
"""How far a job's place in its own team's line is counted; from there on it is a lower bound."""

_NORMAL = NormalDist()


class Hold(StrEnum):
    """Why a job is still queued."""

    TEAM_PAUSED = "team_paused"
    RETRY_DELAY = "retry_delay"
    TEAM_RUNNING = "team_running"
    NO_ACCOUNT = "no_account"
    ACCOUNT_PAUSED = "account_paused"
    ACCOUNT_RUNNING = "account_running"
    ACCOUNT_RATE = "account_rate"
    TURN = "turn"


@dataclass(frozen=True, slots=True)
class Line:
    """A team's queued jobs of a model: all of them, or those before the one asked for."""

    weight: float
    virtual_time: float
    job_count: int
    images_per_job: float


@dataclass(frozen=True, slots=True)
class Room:
    """An account's limits for a model, and how far they are used."""

    max_running: int
    slot_count: int
    out_count: int
    submits_per_second: float
    is_between_turns: bool
    """Whether its next turn is still to come, or a create is on its way on every lane."""
    paused_seconds: float
    run_times: RunTimes

    @property
    def has_slot(self) -> bool:
        return self.out_count < self.slot_count


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job with all that its team says of it."""

    line: Line
    delay_seconds: float
    """Of its own, after a try in vain."""
    team_max_running: int | None
    team_out_count: int

    @property
    def is_at_team_limit(self) -> bool:
        return self.team_max_running is not None and self.team_out_count >= self.team_max_running


@dataclass(frozen=True, slots=True)
class Eta:
    """Whole seconds until the job's task has ended: as likely as not, and nine times in ten."""

    p50: int
    p90: int


def find_tag(line: Line, clock: float) -> float:
    """The virtual time at which the job that the line leads up to will begin; weight > 0."""
    used = line.job_count * line.images_per_job
    return max(line.virtual_time, clock) + used / line.weight


def count_before(line: Line, tag: float, clock: float) -> int:
    """How many jobs of another team begin before that tag, if it has them."""
    begins_at = max(line.virtual_time, clock)
    if begins_at > tag or (begins_at == tag and line.virtual_time >= tag):
        return 0
    share = (tag - begins_at) * line.weight / line.images_per_job
    return max(math.ceil(share - 1e-9), 1)


def find_position(own: Line, others: Iterable[Line], clock: float) -> int:
    """How many jobs go before: exact for a team alone, else by the shares of those who wait."""
    position = own.job_count
    if own.weight <= 0:
        return position
    tag = find_tag(own, clock)
    for line in others:
        position += min(count_before(line, tag, clock), line.job_count)
    return position


def find_hold(waiting: Waiting, rooms: Sequence[Room]) -> Hold:
    """What must pass first; of several accounts, what holds the one that is free soonest."""
    working = [room for room in rooms if room.paused_seconds <= 0]
    free = [room for room in working if room.has_slot]
    reasons = (
        (waiting.line.weight <= 0, Hold.TEAM_PAUSED),
        (waiting.delay_seconds > 0, Hold.RETRY_DELAY),
        (waiting.is_at_team_limit, Hold.TEAM_RUNNING),
        (not rooms, Hold.NO_ACCOUNT),
        (not working, Hold.ACCOUNT_PAUSED),
        (not free, Hold.ACCOUNT_RUNNING),
        (all(room.is_between_turns for room in free), Hold.ACCOUNT_RATE),
    )
    return next((hold for holds, hold in reasons if holds), Hold.TURN)


def forecast(waiting: Waiting, rooms: Sequence[Room], position: int) -> Eta | None:
    """When the job's task will have ended; None when nothing can be known.

    A wait for so many tasks to end, and the job's own run: their mean and variance, taken for
    those of a lognormal.
    """
    if waiting.line.weight <= 0 or not rooms or waiting.line.job_count >= RANK_LIMIT:
        return None
    rooms = [room for room in rooms if room.paused_seconds <= 0] or rooms
    times = pool_run_times(room.run_times for room in rooms)
    wait = max(
        _wait_for_slot(times, rooms, position),
        _wait_for_team(times, waiting),
        (position / sum(room.submits_per_second for room in rooms), 0.0),
    )
    own = times.mean_seconds()
    mean = wait[0] + own
    log_variance = math.log1p((wait[1] + own**2 * math.expm1(times.log_variance)) / mean**2)
    until = RunTimes(1, math.log(mean) - log_variance / 2, log_variance)
    delay = max(waiting.delay_seconds, min(room.paused_seconds for room in rooms))
    return Eta(*(math.ceil(delay + until.quantile_seconds(share)) for share in (0.5, 0.9)))


def pool_run_times(learned: Iterable[RunTimes]) -> RunTimes:
    """What several accounts have learned, and the prior, as one."""
    parts = [PRIOR, *learned]
    count = sum(part.count for part in parts)
    mean = sum(part.count * part.log_mean for part in parts) / count
    variance = sum(
        part.count * (part.log_variance + (part.log_mean - mean) ** 2) for part in parts
    )
    return RunTimes(count, mean, variance / count)


def _wait_for_slot(times: RunTimes, rooms: Sequence[Room], position: int) -> tuple[float, float]:
    running = sum(room.max_running for room in rooms)
    out = sum(room.out_count for room in rooms)
    return _wait_for_ends(times, position + out - running + 1, running)


def _wait_for_team(times: RunTimes, waiting: Waiting) -> tuple[float, float]:
    limit = waiting.team_max_running
    if limit is None:
        return 0.0, 0.0
    ends = waiting.line.job_count + waiting.team_out_count - limit + 1
    return _wait_for_ends(times, ends, limit)


def _wait_for_ends(times: RunTimes, ends: int, running: int) -> tuple[float, float]:
    """Mean and variance of the seconds until so many of ever so many running tasks have ended.

    Renewal theory: few ends among many tasks come as by chance (Poisson), in the long run their
    number varies as the run times do.
    """
    if ends <= 0:
        return 0.0, 0.0
    spread = math.expm1(times.log_variance)
    dispersion = spread + (1 - spread) * running / (running + 4 * ends)
    between = times.mean_seconds() / running
    return (ends - (1 - dispersion) / 2) * between, ends * dispersion * between**2
