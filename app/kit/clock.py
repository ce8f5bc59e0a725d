"""The time, handed in rather than looked up, so that tests own it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The one reading of this machine's wall clock, which may be minutes off another's."""
    return datetime.now(UTC)


def elapsed_seconds() -> float:
    """Seconds since some moment, which go on while the process is stopped or the machine sleeps.

    An event loop's time stands still within a step, and the monotonic clock in a sleep.
    """
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
