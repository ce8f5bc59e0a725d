"""How the upstream errs: its moods while a storm lasts, its lists that lie, its climate (pure)."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from app.bench.storm.plan import POISON
from app.emulator.disturb.faults import FaultMatch, FaultRule

LIES_FROM_SECONDS = 1.0
LIES_SECONDS = 24.0
"""Several times as long as a gateway waits before it believes a list."""
STALE_SECONDS = 10.0
"""How far a list that lies lags behind; longer than a create is waited for."""
HEAVY_BYTES = 1_000_000
SLOW_BYTES_PER_SECOND = 2_000_000

POISONED = FaultRule(
    on="create",
    do="status",
    status=403,
    code="AccessDenied",
    message="url error, please check url!",
    match=FaultMatch(prompt=POISON),
)
SLOW_LINE = FaultRule(
    on="line",
    do="slow",
    bytes_per_second=SLOW_BYTES_PER_SECOND,
    match=FaultMatch(over_bytes=HEAVY_BYTES),
)
HARDSHIPS = ("lies", "poison", "slow", "unreadable")
"""What a storm may be had without, to see what the rest does."""

LIES: Mapping[str, Mapping[str, Any]] = {
    "empty": {"do": "empty"},
    "stale": {"do": "stale", "seconds": STALE_SECONDS},
    "refused": {"do": "status", "status": 403, "code": "AccessDenied"},
    "unreadable": {"do": "unreadable", "share": 0.3},
    "wrong_zone": {"do": "wrong_zone"},
    "omit": {"do": "omit", "share": 0.5},
}
"""The lists of an account while they lie, by name."""


def list_weather(
    seed: int, accounts: Sequence[str], storm_seconds: float, *, without: Collection[str] = ()
) -> tuple[FaultRule, ...]:
    """All that the upstream does wrong, each in its own time; the first that strikes counts."""
    lies = () if "lies" in without else plan_lies(seed, accounts)
    moods = list_moods(storm_seconds)
    if "unreadable" in without:
        moods = tuple(rule for rule in moods if rule.do != "unreadable")
    return (*list_climate(without=without), *moods, *lies)


def list_climate(*, without: Collection[str] = ()) -> tuple[FaultRule, ...]:
    """What never changes: one order is refused, and the body of one takes long."""
    climate = {"poison": POISONED, "slow": SLOW_LINE}
    return tuple(rule for name, rule in climate.items() if name not in without)


def choose_lies(seed: int, accounts: Sequence[str]) -> dict[str, str]:
    """The lie that each account is told; seeds that follow each other go through all of them."""
    kinds = list(LIES)
    first = seed * len(accounts) + (seed - 1) // 3
    return {
        account: kinds[(first + number) % len(kinds)] for number, account in enumerate(accounts)
    }


def plan_lies(seed: int, accounts: Sequence[str]) -> tuple[FaultRule, ...]:
    """Every list of an account is its lie, from the first orders until long after the blows."""
    times = {"from_seconds": LIES_FROM_SECONDS, "until_seconds": lies_end_seconds()}
    return tuple(
        FaultRule(on="list", match=FaultMatch(account=account), **LIES[kind], **times)
        for account, kind in choose_lies(seed, accounts).items()
    )


def lies_end_seconds() -> float:
    """From the beginning of the storm."""
    return LIES_FROM_SECONDS + LIES_SECONDS


def list_moods(storm_seconds: float) -> tuple[FaultRule, ...]:
    """How the upstream errs until the storm ends; its own seed says when.

    However errors add up, a task shows in a list that tells the truth within the time that the
    gateway is told.
    """
    moods = (*_CREATE_TROUBLE, *_READ_TROUBLE, *_PICTURE_TROUBLE, *_TASK_TROUBLE)
    return tuple(rule.model_copy(update={"until_seconds": storm_seconds}) for rule in moods)


def count_strikes(report: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How often each kind of weather struck, by place, deed and status."""
    strikes: Counter[str] = Counter()
    for entry in report:
        words = (entry["on"], entry["do"], entry.get("status"))
        strikes[" ".join(str(word) for word in words if word)] += entry["fired_count"]
    return strikes


_CREATE_TROUBLE = (
    FaultRule(on="create", do="status", when="before", probability=0.02),
    FaultRule(on="create", do="status", when="after", probability=0.02),
    FaultRule(on="create", do="reset", when="after", probability=0.08),
    FaultRule(on="create", do="hang", when="after", seconds=3, probability=0.04),
    FaultRule(on="create", do="hang", when="before", seconds=1.2, probability=0.01),
    FaultRule(on="create", do="late", seconds=0.6, probability=0.03),
    FaultRule(on="create", do="status", status=429, probability=0.015),
    FaultRule(on="create", do="html", when="before", probability=0.01),
    FaultRule(on="create", do="html", when="after", probability=0.01),
)

_READ_TROUBLE = (
    FaultRule(on="list", do="status", probability=0.05),
    FaultRule(on="list", do="reset", probability=0.03),
    FaultRule(on="list", do="hang", seconds=2, probability=0.01),
    FaultRule(on="list", do="html", probability=0.01),
    FaultRule(on="query", do="status", probability=0.05),
    FaultRule(on="query", do="reset", probability=0.03),
    FaultRule(on="query", do="hang", seconds=2, probability=0.01),
    FaultRule(on="query", do="html", probability=0.01),
    FaultRule(on="query", do="unreadable", probability=0.1),
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
    FaultRule(on="task", do="lost", seconds=0.3, for_seconds=0.7, probability=0.05),
    FaultRule(on="task", do="duplicate_url", probability=0.04),
    FaultRule(on="task", do="fail", probability=0.03),
    FaultRule(on="task", do="partial", indexes=frozenset({1}), probability=0.04),
    FaultRule(on="task", do="unreadable", probability=0.1),
)
