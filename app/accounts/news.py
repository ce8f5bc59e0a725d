"""What an account's creates and tasks tell of it (pure)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.accounts.evidence.suspicion import Source


class Reach(StrEnum):
    """How much of an account is at fault."""

    KEY = "key"
    MODEL = "model"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Taken:
    """A create made a task; so many are upstream now, itself included."""

    in_flight: int
    sent_at: datetime | None = None
    """When its create was begun: it says nothing of what was refused after that. None: now."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """Too many creates, or too sudden."""

    code: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Crowded:
    """Too many tasks at once; so many are upstream or on their way, the refused one included."""

    code: str
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Barred:
    """The account may not work, until somebody mends it."""

    code: str
    reach: Reach
    source: Source | None = None
    """Whose request has drawn it; None when no single request can."""


@dataclass(frozen=True, slots=True)
class Troubled:
    """No connection, no answer, or one of trouble."""

    code: str


@dataclass(frozen=True, slots=True)
class Unforeseen:
    """A word that nobody knows: told to a person, and no reason to do less."""

    code: str


News = Taken | Throttled | Crowded | Barred | Troubled | Unforeseen
