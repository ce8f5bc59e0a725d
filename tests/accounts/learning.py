"""Run times as a known distribution would have taught them."""

from statistics import NormalDist

from app.accounts.run_times import RunTimes, learn


def learn_lognormal(median_seconds: float, deviation: float, count: int) -> RunTimes:
    """From that many evenly likely times, mixed so that no order is learned."""
    normal = NormalDist()
    times = RunTimes()
    for number in range(count):
        share = (number * 0.618_034 + 0.5 / count) % 1
        share = min(max(share, 0.5 / count), 1 - 0.5 / count)
        seconds = median_seconds * 2.718_281_828 ** (deviation * normal.inv_cdf(share))
        times = learn(times, seconds)
    return times
