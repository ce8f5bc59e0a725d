"""What the dates of answers say of the upstream's clock.

Source: RFC 9110, 6.6.1 (`Date`, in whole seconds); RFC 9111, 5.1 (`Age`: out of a cache).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

RESOLUTION_SECONDS = 1.0
LEAD_LIMIT = timedelta(days=1)
"""Beyond it is no clock that is off, but a date that means nothing: it is no measure."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Offset:
    """How far a clock is before `elapsed_seconds`, in seconds: at least, and at most."""

    least: float
    most: float


@dataclass(slots=True)
class UpstreamClock:
    """Remembers what the last dated answer said; a vaguer one only where it contradicts it."""

    offset: Offset | None = None

    def note(self, headers: Mapping[str, str], began: float, ended: float) -> None:
        """An answer whose call was begun and ended then, by `elapsed_seconds`.

        The date is of some moment in between. One without a date, or out of a cache, says nothing.
        """
        date = _read_date(headers)
        if date is None:
            return
        told = Offset(date - ended, date + RESOLUTION_SECONDS - began)
        known = self.offset
        if known is None or not told.least <= known.least <= known.most <= told.most:
            self.offset = told


def measure_offset(moment: datetime, began: float, ended: float) -> Offset:
    """What a clock's own answer says, which was asked for and had at those `elapsed_seconds`."""
    seconds = (moment - EPOCH).total_seconds()
    return Offset(seconds - ended, seconds - began)


def find_lead(ahead: Offset, behind: Offset) -> tuple[timedelta, timedelta] | None:
    """By how much one clock is before another: at least, and at most. None beyond `LEAD_LIMIT`."""
    least = timedelta(seconds=ahead.least - behind.most)
    most = timedelta(seconds=ahead.most - behind.least)
    return (least, most) if -LEAD_LIMIT <= least <= most <= LEAD_LIMIT else None


def _read_date(headers: Mapping[str, str]) -> float | None:
    if "age" in headers:
        return None
    try:
        date = parsedate_to_datetime(headers["date"])
    except (LookupError, ValueError, ArithmeticError, TypeError):
        return None
    return (date.replace(tzinfo=date.tzinfo or UTC) - EPOCH).total_seconds()
