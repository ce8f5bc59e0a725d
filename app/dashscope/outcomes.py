"""What is known after a create: its answer, or how it failed (pure)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from app.dashscope.errors import is_definite
from app.dashscope.payloads import CreateAnswer, ErrorBody
from app.dashscope.reading import load_json
from app.dashscope.retry_after import read_retry_after


@dataclass(frozen=True, slots=True)
class Accepted:
    """The upstream has made a task."""

    task_id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The upstream has said for certain that it made no task."""

    http_status: int
    code: str
    message: str
    request_id: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NotSent:
    """The request never left: no task was made."""

    reason: str
    is_body: bool = False
    """There was a connection, and a large body could not be written whole in its time."""


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """The request may have been executed; only the upstream's list can tell."""

    reason: str
    http_status: int | None = None


CreateOutcome = Accepted | Refused | NotSent | OutcomeUnknown


def status_of(outcome: CreateOutcome) -> int | None:
    """The HTTP status of a create's answer; None where none came."""
    if isinstance(outcome, Accepted):
        return 200
    return None if isinstance(outcome, NotSent) else outcome.http_status


def read_create(status: int, headers: Mapping[str, str], content: bytes) -> CreateOutcome:
    """What an answer says: a task, a refusal for certain, or nothing certain."""
    if status == 200:
        try:
            answer = CreateAnswer.model_validate(load_json(content))
        except ValueError:
            return OutcomeUnknown("a create answered with another shape", status)
        return Accepted(answer.output.task_id, answer.request_id)
    if not is_definite(status):
        return OutcomeUnknown(f"a create answered with HTTP {status}", status)
    body = read_error(content)
    return Refused(
        http_status=status,
        code=body.code or f"HTTP{status}",
        message=body.message,
        request_id=body.request_id,
        retry_after_seconds=read_retry_after(headers.get("retry-after"), date=headers.get("date")),
    )


def read_error(content: bytes) -> ErrorBody:
    """Never fails: of an answer without the upstream's error shape no more is known."""
    try:
        return ErrorBody.model_validate(load_json(content))
    except ValueError:
        return ErrorBody(message="the upstream refused without saying why")


class CallCounts:
    """Calls by what they were and how they were answered: a status, or `none`."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def note(self, call: str, http_status: int | None) -> None:
        self._counts[call, "none" if http_status is None else str(http_status)] += 1

    def take(self) -> list[tuple[str, str, int]]:
        """What has been noted since, which is forgotten here."""
        taken, self._counts = self._counts, Counter()
        return [(call, answer, count) for (call, answer), count in taken.items()]

    def put_back(self, taken: list[tuple[str, str, int]]) -> None:
        for call, answer, count in taken:
            self._counts[call, answer] += count


class UpstreamTrouble(Exception):
    """A query that brought no usable answer: worth another try later.

    With status and code where it was answered.
    """

    def __init__(self, message: str, *, http_status: int | None = None, code: str = "") -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code


def to_trouble(path: str, status: int, content: bytes) -> UpstreamTrouble:
    body = read_error(content)
    said = f"GET {path}: HTTP {status} {body.code} {body.message} ({body.request_id})"
    return UpstreamTrouble(said, http_status=status, code=body.code)
