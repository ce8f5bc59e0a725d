"""The schedule of a storm: what is ordered, what is struck, whose clock is off (pure)."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Deed = Literal["kill", "freeze", "cut", "crash"]

LULL_SECONDS = 1.0
"""Before the first blow: most of the burst of orders is taken."""
STRIKE_GAP_SECONDS = (0.15, 0.5)
FREEZE_SECONDS = (0.3, 2.5)
DATABASE_GAP_SECONDS = (5.0, 10.0)
DATABASE_DOWN_SECONDS = (0.1, 1.0)
TEAMS = 3
SHARED_PROMPTS = 3
LATE_SHARE = 0.15
"""Of the orders come in the end, as they would any day: the others are not the last ones."""
LATE_SECONDS = 6.0
POISON = "poison"
"""A part of the one prompt that the upstream refuses, whatever account it comes from."""


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
    is_heavy: bool = False
    """Its input is so large that its body takes long on the upstream's line."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """How far wall clocks are ahead of the database's, in seconds; below 0: behind."""

    upstream: float = 0.0
    processes: tuple[float, ...] = ()
    """Of the gateway, each its own."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One blow: a process is killed or frozen, connections are cut, the database crashes."""

    at_seconds: float
    deed: Deed
    victim: int = 0
    """Counts round the processes of the gateway."""
    seconds: float = 0.0


def plan_orders(
    seed: int, count: int, storm_seconds: float, *, ends_at_seconds: float
) -> tuple[Order, ...]:
    """A burst, a stream, some when all is over; one team floods, many prompts are the same.

    One is poison and one is heavy.
    """
    rng = _draw_from(seed, "orders")
    orders = [_plan_order(rng, seed, number, storm_seconds) for number in range(count)]
    for number, order in enumerate(orders):
        if order.cancel_at_seconds is None and rng.random() < LATE_SHARE:
            at_seconds = ends_at_seconds + rng.uniform(0, LATE_SECONDS)
            orders[number] = replace(order, at_seconds=at_seconds)
    for number, word in zip(rng.sample(range(count), 2), (POISON, "heavy"), strict=True):
        orders[number] = _set_apart(orders[number], f"storm {seed}, {word}", rng)
    return tuple(orders)


def plan_clocks(seed: int, *, processes: int, worst_seconds: float) -> Clocks:
    """Every clock up to that far from the true time, the database's too.

    Hers cannot be moved, so the others bear the difference.
    """
    rng = _draw_from(seed, "clocks")
    database, upstream, *others = (
        rng.uniform(-worst_seconds, worst_seconds) for _ in range(2 + processes)
    )
    return Clocks(upstream - database, tuple(other - database for other in others))


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


def _set_apart(order: Order, prompt: str, rng: random.Random) -> Order:
    """An order of its own kind early in the storm, that nobody cancels."""
    return replace(
        order,
        prompt=prompt,
        at_seconds=rng.uniform(0.5, 3.0),
        cancel_at_seconds=None,
        is_heavy=not prompt.endswith(POISON),
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
