"""How long tasks run, learned as they end: lognormal, following what changes (pure)."""

import math
from dataclasses import dataclass
from statistics import NormalDist

MEMORY_COUNT = 200
"""The newest tasks that count; older ones fade."""
SHORTEST_SECONDS = 0.001
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Mean and variance of the logarithm of the seconds that tasks ran, and how many are known."""

    count: int = 0
    log_mean: float = 0.0
    log_variance: float = 0.0

    def mean_seconds(self) -> float:
        return math.exp(self.log_mean + self.log_variance / 2)

    def quantile_seconds(self, share: float) -> float:
        """Within which that share of tasks ends; 0 < share < 1."""
        deviation = math.sqrt(self.log_variance)
        return math.exp(self.log_mean + deviation * _NORMAL.inv_cdf(share))

    def hazard(self, age_seconds: float) -> float:
        """Ends a second of a task that has run that long; needs some variance."""
        deviation = math.sqrt(self.log_variance)
        z = (math.log(max(age_seconds, SHORTEST_SECONDS)) - self.log_mean) / deviation
        return _find_normal_hazard(z) / (deviation * max(age_seconds, SHORTEST_SECONDS))


def learn(times: RunTimes, seconds: float) -> RunTimes:
    """With one more: exact for the first `MEMORY_COUNT`, from then on fading by its inverse."""
    count = times.count + 1
    weight = 1 / min(count, MEMORY_COUNT)
    step = math.log(max(seconds, SHORTEST_SECONDS)) - times.log_mean
    return RunTimes(
        count=count,
        log_mean=times.log_mean + weight * step,
        log_variance=(1 - weight) * (times.log_variance + weight * step * step),
    )


def _find_normal_hazard(z: float) -> float:
    """Density over what is left, which underflows far out; there it is nearly z itself."""
    if z > 8:
        return z + 1 / z
    return _NORMAL.pdf(z) / _NORMAL.cdf(-z)
