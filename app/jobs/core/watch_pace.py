"""When to look at an account's running tasks again: seldom while none of them can end (pure).

The best density of checks is proportional to the square root of the hazard (Keller, Management
Science 21(3), 1974).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from app.accounts.run_times import RunTimes

LEARNED_ENOUGH_COUNT = 20
URGENCY = 0.5
"""Ends expected in the mean time of one task at which a look is due each `base_seconds`."""
NARROWEST_LOG_VARIANCE = 0.09
"""However alike tasks have been: a model that has become quicker must be noticed."""
STEPS_PER_LOOK = 4


def next_look_seconds(
    running_ages_seconds: Sequence[float],
    times: RunTimes,
    *,
    base_seconds: float,
    longest_seconds: float,
) -> float:
    """From `base_seconds`, when a task may end at any moment, to `longest_seconds`."""
    if times.count < LEARNED_ENOUGH_COUNT or not running_ages_seconds:
        return base_seconds
    careful = replace(times, log_variance=max(times.log_variance, NARROWEST_LOG_VARIANCE))
    urgent_hazard = URGENCY / careful.mean_seconds()
    step = base_seconds / STEPS_PER_LOOK
    ahead = due = 0.0
    while due < base_seconds and ahead < longest_seconds:
        middle = ahead + step / 2
        hazard = sum(careful.hazard(age + middle) for age in running_ages_seconds)
        due += math.sqrt(hazard / urgent_hazard) * step
        ahead += step
    return min(max(ahead, base_seconds), longest_seconds)
