"""The families of errors that a door can show: what the caller can do about it decides.

GatewayError
├── InvalidRequest     mend the request        (field by field)
├── NotAuthenticated   bring a valid key
├── NotPermitted       ask for the right
├── NotFound           it is not there, or not yours
├── Conflict           it is not in a state for that
├── LimitExceeded      come again later
└── Unavailable        our trouble; come again later
"""

from dataclasses import dataclass, field, replace
from typing import Any

PROBLEMS_TOLD = 20
NAME_CHARACTERS_TOLD = 80
TEXT_CHARACTERS_TOLD = 256


def shorten(text: str, limit: int = TEXT_CHARACTERS_TOLD) -> str:
    """What somebody else wrote, to be repeated in an error or a log."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One fault of one field: where, which rule, in words, with the limit and the value."""

    loc: tuple[str | int, ...]
    code: str
    message: str
    limits: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """`input.images[1]`: the field as people write it."""
        text = ""
        for part in self.loc:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
        return text


class GatewayError(Exception):
    """An error with a stable code, safe to show to the caller."""

    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code


class InvalidRequest(GatewayError):
    code = "invalid_request"

    def __init__(
        self, message: str, *, code: str | None = None, problems: tuple[FieldProblem, ...] = ()
    ) -> None:
        super().__init__(message, code=code)
        self.problems = problems

    @classmethod
    def from_problems(cls, problems: tuple[FieldProblem, ...]) -> "InvalidRequest":
        """Tells the first `PROBLEMS_TOLD`: an answer does not grow with what was sent."""
        told = tuple(_with_short_names(problem) for problem in problems[:PROBLEMS_TOLD])
        summary = "; ".join(f"{problem.path}: {problem.message}" for problem in told)
        if len(problems) > len(told):
            summary += f"; and {len(problems) - len(told)} more"
        return cls(summary, code="invalid_fields", problems=told)


class NotAuthenticated(GatewayError):
    code = "invalid_api_key"


class NotPermitted(GatewayError):
    code = "permission_denied"


class NotFound(GatewayError):
    code = "not_found"


class Conflict(GatewayError):
    code = "conflict"


class LimitExceeded(GatewayError):
    code = "rate_limited"

    def __init__(
        self, message: str, *, code: str | None = None, retry_after_seconds: int = 1
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(GatewayError):
    code = "unavailable"


def _with_short_names(problem: FieldProblem) -> FieldProblem:
    loc = tuple(
        shorten(part, NAME_CHARACTERS_TOLD) if isinstance(part, str) else part
        for part in problem.loc
    )
    return replace(problem, loc=loc)
