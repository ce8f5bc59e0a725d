"""How the story puts things: seconds, codes, and texts of others without what nobody may see."""

import re
from datetime import datetime, timedelta

from app.jobs.queue.forecast import Hold

TEXT_CHARACTERS_LIMIT = 300

_ADDRESS = re.compile(
    r"\b([a-z][a-z0-9+.-]*)://(?:[^\s/?#'\"<>@]*@)?([^\s/?#'\"<>]+)[^\s'\"<>]*", re.I
)
_KEY = re.compile(r"\b(sk-|dg_live_|whsec_)[A-Za-z0-9_-]{6,}")


_HOLDS: dict[str, str] = {
    Hold.TEAM_PAUSED: "its team is paused",
    Hold.RETRY_DELAY: "it was tried in vain and waits to be tried again",
    Hold.TEAM_RUNNING: "its team has as many jobs upstream as it may",
    Hold.NO_ACCOUNT: "no account takes work",
    Hold.ACCOUNT_PAUSED: "every account is paused",
    Hold.ACCOUNT_RUNNING: "every place upstream is taken",
    Hold.ACCOUNT_RATE: "the next create is a moment away",
    Hold.TURN: "it waits for its turn",
}
"""What keeps a job in the queue."""


def say_hold(hold: str) -> str:
    return _HOLDS.get(hold, hold)


def say_before(position: int) -> str:
    return f"{position} before it" if position else "the next"


def veil(text: str) -> str:
    """The text without the paths of addresses, which are credentials, and without keys."""
    shown = _KEY.sub(r"\1...", _ADDRESS.sub(r"\1://\2/...", text))
    if len(shown) > TEXT_CHARACTERS_LIMIT:
        return shown[: TEXT_CHARACTERS_LIMIT - 3] + "..."
    return shown


def say_seconds(time: timedelta) -> str:
    """`0.2 s`, `93 s`, `12 min`, `3.5 h`: two figures that matter, no more."""
    seconds = time.total_seconds()
    if abs(seconds) < 10:
        return f"{seconds:.1f} s"
    if abs(seconds) < 180:
        return f"{seconds:.0f} s"
    if abs(seconds) < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h"


def say_clock(moment: datetime, near: datetime) -> str:
    """The time of day; with the date when that is another day than the one it is told near."""
    return f"{moment:%H:%M:%S}" if moment.date() == near.date() else f"{moment:%m-%d %H:%M:%S}"


def say_trouble(code: str | None, message: str | None) -> str:
    """`Throttling.RateQuota (Requests rate limit exceeded)`, as far as it is known."""
    if code and message:
        return f"{code} ({message})"
    return code or message or "no reason is known"
