"""What an account's creates and tasks tell of it (pure)."""

from dataclasses import dataclass
from enum import StrEnum


class Reach(StrEnum):
    """How much of an account is at fault."""

    KEY = "key"
    MODEL = "model"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Taken:
    """A create made a task; so many are upstream now, itself included."""

    in_flight: int


@dataclass(frozen=True, slots=True)
class Throttled:
    """Too many creates, or too sudden."""

    code: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Crowded:
    """Too many tasks at once."""

    code: str


@dataclass(frozen=True, slots=True)
class Barred:
    """The account may not work, until somebody mends it."""

    code: str
    reach: Reach


@dataclass(frozen=True, slots=True)
class Troubled:
    """No connection, no answer, or one of trouble."""

    code: str


@dataclass(frozen=True, slots=True)
class Unforeseen:
    """A word that nobody knows: told to a person, and no reason to do less."""

    code: str


News = Taken | Throttled | Crowded | Barred | Troubled | Unforeseen
