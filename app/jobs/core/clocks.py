"""How the upstream's clock stands against the database's, however either was set lately (pure)."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from itertools import product

from app.dashscope.upstream_clock import ClockHistory, UpstreamClock, find_lead
from app.jobs.core.candidates import ClockSkew


@dataclass(slots=True)
class Clocks:
    """What was measured of both."""

    upstream: UpstreamClock
    database: ClockHistory = field(default_factory=ClockHistory)
    known_skew: ClockSkew | None = None
    """The clock of the list's times against the database's, as known tasks show it."""

    def learn(self, known_skew: ClockSkew | None) -> None:
        """What known tasks have shown, if they showed anything."""
        self.known_skew = known_skew or self.known_skew

    def surely_past(self, now: datetime) -> datetime:
        """A moment that both have passed.

        One that was put forward makes no create older, and one that was put back hides new tasks.
        """
        return now - self.database.find_change() - self.upstream.history.find_change()

    @property
    def skew(self) -> ClockSkew:
        """How the upstream's clock may differ from the database's.

        What either was before it was set counts as well: times of then are compared with it.
        """
        pairs = product(self.upstream.history.offsets, self.database.offsets)
        told = [ClockSkew(*lead) for pair in pairs if (lead := find_lead(*pair)) is not None]
        if self.known_skew is not None:
            told.append(self.known_skew)
        return reduce(ClockSkew.including, told) if told else ClockSkew()
