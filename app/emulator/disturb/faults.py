"""Trouble on demand: rules that say which calls and tasks go wrong, and how."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from app.emulator.checks import Failure

Place = Literal["create", "query", "list", "cancel", "upload", "form", "picture", "task"]
Deed = Literal[
    "status", "html", "reset", "hang", "late", "arrearage",
    "stale",
    "truncate", "corrupt", "oversize", "redirect",
    "fail", "partial", "moderation", "ip_suspicion", "fetch_failure",
    "lost", "duplicate_url", "stuck",
]  # fmt: skip

_CALL_DEEDS = {"status", "html", "reset", "hang"}
_TASK_DEEDS = {
    "fail", "partial", "moderation", "ip_suspicion", "fetch_failure",
    "lost", "duplicate_url", "stuck",
}  # fmt: skip
DEEDS: dict[str, set[str]] = {
    "create": _CALL_DEEDS | {"late", "arrearage", "moderation", "ip_suspicion"},
    "query": _CALL_DEEDS,
    "list": _CALL_DEEDS | {"stale"},
    "cancel": _CALL_DEEDS,
    "upload": _CALL_DEEDS,
    "form": _CALL_DEEDS,
    "picture": _CALL_DEEDS | {"truncate", "corrupt", "oversize", "redirect"},
    "task": _TASK_DEEDS,
}

TIMED_OUT = Failure(
    "InternalError.Timeout",
    "An internal timeout error has occured during execution, please try again later or "
    "contact service support.",
)
_INTERNAL = Failure(
    "InternalError",
    "An internal error has occured, please try again later or contact service support.",
)
_BY_STATUS = {
    429: Failure("Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
    503: Failure("ModelUnavailable", "Model is unavailable, please try again later."),
}
_BY_DEED = {
    "arrearage": Failure(
        "Arrearage", "Access denied, please make sure your account is in good standing."
    ),
    "ip_suspicion": Failure(
        "IPInfringementSuspect",
        "Input data is suspected of being involved in IP infringement.",
    ),
    "fail": _INTERNAL,
    "partial": TIMED_OUT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a call or a task is about, as far as it is known."""

    key: str = ""
    account: str = ""
    model: str = ""
    prompt: str = ""
    task_id: str = ""


class FaultMatch(BaseModel):
    """The targets a rule is for: `prompt` by part, the others whole; absent means any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str | None = Field(None, repr=False)
    account: str | None = None
    model: str | None = None
    prompt: str | None = None
    task_id: str | None = None

    def accepts(self, target: Target) -> bool:
        if self.prompt is not None and self.prompt not in target.prompt:
            return False
        wanted = self.model_dump(exclude={"prompt"}, exclude_none=True)
        return all(getattr(target, name) == value for name, value in wanted.items())


class FaultRule(BaseModel):
    """One kind of trouble, where it happens, to whom and how often."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on: Place
    do: Deed
    match: FaultMatch = FaultMatch()
    probability: float = Field(1.0, ge=0, le=1)
    every: int = Field(1, ge=1)
    """Only each Nth of the matching ones."""
    times: int | None = Field(None, ge=1)
    """No more than this many in all."""

    when: Literal["before", "after"] = "before"
    """Of `reset`, `hang`, `status` and `html`: before or after the call had its effect."""
    stage: Literal["input", "output"] = "input"
    """Of `moderation`: the order is refused, or its pictures are."""
    status: int = Field(500, ge=400, le=599)
    code: str | None = None
    message: str | None = None
    retry_after_seconds: int | None = Field(None, ge=0)
    seconds: float = Field(0.0, ge=0)
    """Real seconds: how long `hang` holds on, how far behind a `stale` list is, and after which
    `late` creates, `lost` forgets and a damaged picture begins."""
    for_seconds: float | None = Field(None, gt=0)
    """Real seconds until a `lost` task is known again; never when absent."""
    indexes: frozenset[int] = frozenset()
    """Pictures hit by `partial` and output `moderation`, from 0; `moderation`: all if empty."""
    size_bytes: int = Field(128 * 1024 * 1024, ge=1, le=2**31)
    """Of `oversize`: how much is sent where a picture is expected, if the client lets it."""
    location: str | None = None
    """Of `redirect`: the address that the client is sent to."""

    @model_validator(mode="after")
    def _deed_fits_place(self) -> Self:
        if self.do not in DEEDS[self.on]:
            possible = ", ".join(sorted(DEEDS[self.on]))
            raise ValueError(f"do: on {self.on!r} it is one of {possible}; not {self.do!r}")
        if self.do == "partial" and not self.indexes:
            raise ValueError("indexes: name at least one picture, such as [1], for 'partial'")
        if self.do == "redirect" and self.location is None:
            raise ValueError("location: name the address that 'redirect' sends to")
        if self.do == "stale" and not self.seconds:
            raise ValueError("seconds: say how far behind, such as 5, a 'stale' list is")
        return self

    @property
    def failure(self) -> Failure:
        """The code and message shown, the rule's own first."""
        default = self._default_failure()
        return Failure(self.code or default.code, self.message or default.message)

    def _default_failure(self) -> Failure:
        if self.do == "moderation":
            word = self.stage.capitalize()
            text = f"{word} data may contain inappropriate content."
            return Failure("DataInspectionFailed", text)
        if self.do == "fetch_failure":
            return Failure("InvalidParameter", "download image failed")
        return _BY_DEED.get(self.do) or _BY_STATUS.get(self.status, _INTERNAL)


_SECRETS = {"match": {"key"}}

RULES = TypeAdapter(tuple[FaultRule, ...])


def load_faults(path: Path) -> tuple[FaultRule, ...]:
    """The rules in a JSON file; pydantic.ValidationError names what is wrong with them."""
    return RULES.validate_json(path.read_bytes())


@dataclass(slots=True)
class _Armed:
    """A rule and what it has done so far."""

    rule: FaultRule
    seen_count: int = 0
    fired_count: int = 0

    def fires(self, rng: random.Random) -> bool:
        self.seen_count += 1
        is_spent = self.rule.times is not None and self.fired_count >= self.rule.times
        if is_spent or self.seen_count % self.rule.every:
            return False
        if self.rule.probability < 1 and rng.random() >= self.rule.probability:
            return False
        self.fired_count += 1
        return True


class Faults:
    """The rules in force, in order, with their counts."""

    def __init__(self, rules: Iterable[FaultRule], rng: random.Random) -> None:
        self._rng = rng
        self.arm(rules)

    def arm(self, rules: Iterable[FaultRule]) -> None:
        """Replace all rules; counts begin anew."""
        self._armed = [_Armed(rule) for rule in rules]

    def find_strike(self, on: Place, target: Target) -> FaultRule | None:
        """The first rule that fires for this call."""
        return next(self._strikes(on, target), None)

    def list_strikes(self, on: Place, target: Target) -> tuple[FaultRule, ...]:
        """Every rule that fires for this target: a task may have several troubles."""
        return tuple(self._strikes(on, target))

    def report(self) -> list[dict[str, object]]:
        return [
            armed.rule.model_dump(mode="json", exclude_defaults=True, exclude=_SECRETS)
            | {"seen_count": armed.seen_count, "fired_count": armed.fired_count}
            for armed in self._armed
        ]

    def _strikes(self, on: Place, target: Target) -> Iterator[FaultRule]:
        for armed in self._armed:
            rule = armed.rule
            if rule.on == on and rule.match.accepts(target) and armed.fires(self._rng):
                yield rule
