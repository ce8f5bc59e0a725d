"""When a picture that cannot be had is given up: nothing waits for ever (pure)."""

from datetime import timedelta

from app.jobs.keeping.collect import Kept, Lost, NotYet

GRACE = timedelta(hours=24)
"""After its URL's end a picture is tried for that long, for the sake of clocks and of outages."""
PATIENCE = timedelta(hours=1)
"""Its last trouble has lasted that long by then: after an outage of days one failure is no end."""
LAST_GRACE = 7 * GRACE
"""And then it is over, however often the trouble has changed."""


def judge_late(
    outcome: Kept | Lost | NotYet, *, left: timedelta, troubled_for: timedelta
) -> Kept | Lost | NotYet:
    """A picture that is not kept yet becomes lost, with its last reason, when its time is over.

    `left` is the time until its URL's end by the database's clock, negative afterwards.
    """
    if not isinstance(outcome, NotYet):
        return outcome
    if outcome.is_gone and left <= timedelta(0):
        return Lost(outcome.index, outcome.reason)
    is_late = left <= -GRACE and troubled_for >= PATIENCE
    if not is_late and left > -LAST_GRACE:
        return outcome
    hours = round(-left.total_seconds() / 3600)
    return Lost(outcome.index, f"given up {hours} h after its URL's end: {outcome.reason}")
