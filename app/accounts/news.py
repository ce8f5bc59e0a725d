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
class Found:
    """A create whose answer was lost had made a task: only the answer was in trouble."""


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


NOT_SENT_CODE = "not_sent"
NO_ANSWER_CODE = "no_answer"
_STATUS_START = "HTTP"


def to_trouble_code(http_status: int | None) -> str:
    """What an answer of trouble is called, or that there was none."""
    return NO_ANSWER_CODE if http_status is None else f"{_STATUS_START}{http_status}"


def is_trouble(code: str | None) -> bool:
    """Whether a pause's code is of a troubled network or upstream, and not a refusal's."""
    return code is not None and (
        code in (NOT_SENT_CODE, NO_ANSWER_CODE) or code.startswith(_STATUS_START)
    )


News = Taken | Found | Throttled | Crowded | Barred | Troubled | Unforeseen
