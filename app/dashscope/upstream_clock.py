"""What the dates of answers say of the upstream's clock.

Source: RFC 9110, 6.6.1 (`Date`, in whole seconds); RFC 9111, 5.1 (`Age`: out of a cache).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

RESOLUTION_SECONDS = 1.0
LEAD_LIMIT = timedelta(days=1)
"""Beyond it is no clock that is off, but a date that means nothing: it is no measure."""
REMEMBERED_SECONDS = 7_200.0
"""Longer than a create stays in doubt before a person is called."""
READINGS_LIMIT = 50
DRIFT_SECONDS = 2.0
"""A clock that is steered, and not set, differs by less between two readings."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Offset:
    """How far a clock is before `elapsed_seconds`, in seconds: at least, and at most."""

    least: float
    most: float

    def agrees_with(self, other: "Offset") -> bool:
        """Whether both may be of one clock that nobody has set in between."""
        return (
            self.least - other.most <= DRIFT_SECONDS and other.least - self.most <= DRIFT_SECONDS
        )


@dataclass(slots=True)
class ClockHistory:
    """What a clock was told to be, also before somebody set it, for `REMEMBERED_SECONDS`.

    What was written down under the old time is compared under the new one.
    """

    readings: list[tuple[Offset, float]] = field(default_factory=list)
    """Each with the `elapsed_seconds` at which it held last; the latest comes last."""

    @property
    def offsets(self) -> list[Offset]:
        return [offset for offset, _ in self.readings]

    def note(self, told: Offset, at: float) -> None:
        """A vaguer answer than the last counts only where it contradicts it."""
        last = self.readings[-1][0] if self.readings else told
        if told.least <= last.least <= last.most <= told.most:
            told = last
        self.readings = [
            (offset, seen_at)
            for offset, seen_at in self.readings
            if at - seen_at <= REMEMBERED_SECONDS and not offset.agrees_with(told)
        ][-READINGS_LIMIT + 1 :]
        self.readings.append((told, at))

    def find_change(self) -> timedelta:
        """By how much the clock was set within that time, forward or back."""
        readings = [offset.least for offset in self.offsets]
        changes = (timedelta(seconds=abs(readings[-1] - one)) for one in readings)
        return max((one for one in changes if one <= LEAD_LIMIT), default=timedelta(0))


@dataclass(slots=True)
class UpstreamClock:
    """Remembers what dated answers said."""

    history: ClockHistory = field(default_factory=ClockHistory)

    def note(self, headers: Mapping[str, str], began: float, ended: float) -> None:
        """An answer whose call was begun and ended then, by `elapsed_seconds`.

        The date is of some moment in between. One without a date, or out of a cache, says nothing.
        """
        date = _read_date(headers)
        if date is not None:
            told = Offset(date - ended, date + RESOLUTION_SECONDS - began)
            self.history.note(told, ended)


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
