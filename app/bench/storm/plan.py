"""The schedule of a storm: what is ordered, what is struck and how the upstream errs (pure)."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.emulator.disturb.faults import FaultRule

Deed = Literal["kill", "freeze", "cut", "crash"]

LULL_SECONDS = 1.0
"""Before the first blow: most of the burst of orders is taken."""
STRIKE_GAP_SECONDS = (0.15, 0.5)
FREEZE_SECONDS = (0.3, 3.0)
DATABASE_GAP_SECONDS = (5.0, 10.0)
DATABASE_DOWN_SECONDS = (0.1, 1.0)
TEAMS = 3
SHARED_PROMPTS = 3


@dataclass(frozen=True, slots=True)
class Order:
    """One job that a client wants; times are seconds since the storm began."""

    number: int
    team: int
    prompt: str
    n: int
    at_seconds: float
    idempotency_key: str | None
    is_sent_twice: bool
    cancel_at_seconds: float | None


@dataclass(frozen=True, slots=True)
class Strike:
    """One blow: a process is killed or frozen, connections are cut, the database crashes."""

    at_seconds: float
    deed: Deed
    victim: int = 0
    """Counts round the processes of the gateway."""
    seconds: float = 0.0


def plan_orders(seed: int, count: int, storm_seconds: float) -> tuple[Order, ...]:
    """A burst, then a stream; one team floods, and many jobs cannot be told apart by prompt."""
    rng = _draw_from(seed, "orders")
    return tuple(_plan_order(rng, seed, number, storm_seconds) for number in range(count))


def plan_strikes(
    seed: int, storm_seconds: float, *, processes: int, crashes_database: bool
) -> tuple[Strike, ...]:
    """Blows in the order of their times, none after the storm."""
    rng = _draw_from(seed, "strikes")
    strikes = list(_plan_blows(rng, storm_seconds, processes))
    if crashes_database:
        strikes += _plan_crashes(_draw_from(seed, "database"), storm_seconds)
    return tuple(sorted(strikes, key=lambda strike: strike.at_seconds))


def slow_down(strikes: Sequence[Strike], factor: float) -> tuple[Strike, ...]:
    """Kills and freezes further apart, on a machine where a process takes longer to get up."""
    slowed = [
        strike
        if strike.deed == "crash"
        else replace(strike, at_seconds=strike.at_seconds * factor)
        for strike in strikes
    ]
    return tuple(sorted(slowed, key=lambda strike: strike.at_seconds))


def list_weather() -> tuple[FaultRule, ...]:
    """How the upstream errs while the storm lasts; its own seed says when.

    However errors add up, a task shows in the list within the time that the gateway is told.
    """
    return (*_CREATE_TROUBLE, *_READ_TROUBLE, *_PICTURE_TROUBLE, *_TASK_TROUBLE)


def _plan_order(rng: random.Random, seed: int, number: int, storm_seconds: float) -> Order:
    shared = rng.randrange(SHARED_PROMPTS) if rng.random() < 0.4 else None
    at_seconds = rng.uniform(0, 0.5 if rng.random() < 0.4 else 0.7 * storm_seconds)
    has_key = rng.random() < 0.6
    is_canceled = rng.random() < 0.1
    return Order(
        number=number,
        team=0 if rng.random() < 0.6 else rng.randrange(1, TEAMS),
        prompt=f"storm {seed}, " + (f"job {number}" if shared is None else f"theme {shared}"),
        n=rng.choices((1, 2, 3, 4), (5, 2, 1, 1))[0],
        at_seconds=at_seconds,
        idempotency_key=f"storm-{seed}-{number}" if has_key else None,
        is_sent_twice=has_key and rng.random() < 0.3,
        cancel_at_seconds=at_seconds + rng.uniform(0.05, 4) if is_canceled else None,
    )


def _plan_blows(rng: random.Random, storm_seconds: float, processes: int) -> Iterator[Strike]:
    deeds: Sequence[Deed] = ("kill", "freeze", "cut")
    at_seconds = LULL_SECONDS + rng.uniform(*STRIKE_GAP_SECONDS)
    while at_seconds < storm_seconds:
        (deed,) = rng.choices(deeds, (17, 2, 1))
        victim, seconds = rng.randrange(processes), rng.uniform(*FREEZE_SECONDS)
        yield Strike(at_seconds, deed, victim, seconds if deed == "freeze" else 0.0)
        at_seconds += rng.uniform(*STRIKE_GAP_SECONDS)


def _plan_crashes(rng: random.Random, storm_seconds: float) -> Iterator[Strike]:
    at_seconds = rng.uniform(*DATABASE_GAP_SECONDS) / 2
    while at_seconds < storm_seconds:
        yield Strike(at_seconds, "crash", seconds=rng.uniform(*DATABASE_DOWN_SECONDS))
        at_seconds += rng.uniform(*DATABASE_GAP_SECONDS)


def _draw_from(seed: int, purpose: str) -> random.Random:
    return random.Random(f"{seed} {purpose}")  # noqa: S311


_CREATE_TROUBLE = (
    FaultRule(on="create", do="status", when="before", probability=0.02),
    FaultRule(on="create", do="status", when="after", probability=0.02),
    FaultRule(on="create", do="reset", when="after", probability=0.08),
    FaultRule(on="create", do="hang", when="after", seconds=3, probability=0.04),
    FaultRule(on="create", do="hang", when="before", seconds=1.5, probability=0.01),
    FaultRule(on="create", do="late", seconds=0.8, probability=0.03),
    FaultRule(on="create", do="status", status=429, probability=0.015),
    FaultRule(on="create", do="html", when="before", probability=0.01),
    FaultRule(on="create", do="html", when="after", probability=0.01),
)

_READ_TROUBLE = (
    FaultRule(on="list", do="status", probability=0.05),
    FaultRule(on="list", do="reset", probability=0.03),
    FaultRule(on="list", do="hang", seconds=2, probability=0.01),
    FaultRule(on="list", do="html", probability=0.01),
    FaultRule(on="list", do="stale", seconds=0.5, probability=0.1),
    FaultRule(on="query", do="status", probability=0.05),
    FaultRule(on="query", do="reset", probability=0.03),
    FaultRule(on="query", do="hang", seconds=2, probability=0.01),
    FaultRule(on="query", do="html", probability=0.01),
    FaultRule(on="cancel", do="reset", when="after", probability=0.2),
)

_PICTURE_TROUBLE = (
    FaultRule(on="picture", do="truncate", probability=0.08),
    FaultRule(on="picture", do="corrupt", probability=0.04),
    FaultRule(on="picture", do="reset", probability=0.04),
    FaultRule(on="picture", do="html", probability=0.02),
    FaultRule(on="picture", do="status", status=503, probability=0.02),
)

_TASK_TROUBLE = (
    FaultRule(on="task", do="lost", seconds=0.3, for_seconds=1.5, probability=0.05),
    FaultRule(on="task", do="duplicate_url", probability=0.04),
    FaultRule(on="task", do="fail", probability=0.03),
    FaultRule(on="task", do="partial", indexes=frozenset({1}), probability=0.04),
)
