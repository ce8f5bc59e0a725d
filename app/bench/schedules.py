"""What could have been: ideal schedules, the SDK's way of asking, shares by weight (pure)."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat

SDK_PAUSES_SECONDS = (0, 1, 1, 2, 2, 2, 4, 4, 4)
"""The classic DashScope SDK asks at 0, 1, 2, 4, 6, 8, 12, 16 and 20 s, then every 5 s."""
SDK_LAST_PAUSE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Asking:
    """How following one task by itself went: when its end was seen, in how many calls."""

    delay_seconds: float
    calls: int


def find_makespan(durations: Sequence[float], slots: int) -> float:
    """How long the tasks take on that many slots, each in turn on the first that is free."""
    starts = list_starts(durations, slots)
    return max(start + duration for start, duration in zip(starts, durations, strict=True))


def list_starts(durations: Sequence[float], slots: int) -> list[float]:
    """When each task starts, in turn on the first slot that is free (Graham's list scheduling)."""
    free_at = [0.0] * slots
    return [heapq.heapreplace(free_at, free_at[0] + duration) for duration in durations]


def ask_like_sdk(duration: float, *, scale: float = 1.0) -> Asking:
    """A task of that duration followed at the SDK's cadence, in scaled time."""
    for calls, moment in enumerate(_sdk_moments(), start=1):
        if moment * scale >= duration:
            return Asking(moment * scale - duration, calls)
    raise AssertionError("the SDK asks for ever")


def shares_of_ideal(counts: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, float]:
    """Each one's count over what its weight entitles it to; 1.0 is exactly fair."""
    total, whole = sum(counts.values()), sum(weights.values())
    return {
        name: counts.get(name, 0) / (total * weight / whole) for name, weight in weights.items()
    }


def _sdk_moments() -> Iterator[int]:
    return accumulate(chain(SDK_PAUSES_SECONDS, repeat(SDK_LAST_PAUSE_SECONDS)))
