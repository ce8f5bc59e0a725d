"""Trouble on demand: rules that say which calls and tasks go wrong, and how."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from app.emulator.checks import Failure
from app.kit.clock import Clock

Place = Literal["line", "create", "query", "list", "cancel", "upload", "form", "picture", "task"]
Deed = Literal[
    "slow",
    "status", "html", "reset", "hang", "late", "arrearage",
    "stale", "empty", "omit", "unreadable", "wrong_zone",
    "truncate", "corrupt", "oversize", "redirect",
    "fail", "partial", "moderation", "ip_suspicion", "fetch_failure",
    "lost", "duplicate_url", "stuck", "extra", "no_url", "no_usage",
]  # fmt: skip

_CALL_DEEDS = {"status", "html", "reset", "hang"}
_TASK_DEEDS = {
    "fail", "partial", "moderation", "ip_suspicion", "fetch_failure",
    "lost", "duplicate_url", "stuck", "unreadable", "extra", "no_url", "no_usage",
}  # fmt: skip
DEEDS: dict[str, set[str]] = {
    "line": {"slow"},
    "create": _CALL_DEEDS | {"late", "arrearage", "moderation", "ip_suspicion"},
    "query": _CALL_DEEDS | {"unreadable"},
    "list": _CALL_DEEDS | {"stale", "empty", "omit", "unreadable", "wrong_zone"},
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
    images: tuple[str, ...] = field(default=(), repr=False)
    task_id: str = ""
    body_bytes: int = 0
    """Of the request's body, as its head announces it; only the line knows."""


_BY_PART = {"prompt", "image", "over_bytes"}


class FaultMatch(BaseModel):
    """The targets a rule is for, each name as a whole unless said otherwise; absent means any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str | None = Field(None, repr=False)
    account: str | None = None
    model: str | None = None
    prompt: str | None = None
    """A part of it."""
    image: str | None = None
    """A part of the reference to any input picture, such as `HTTPS://`."""
    task_id: str | None = None
    over_bytes: int | None = Field(None, ge=0)
    """Bodies longer than that."""

    def accepts(self, target: Target) -> bool:
        if self.prompt is not None and self.prompt not in target.prompt:
            return False
        if self.image is not None and not any(self.image in image for image in target.images):
            return False
        if self.over_bytes is not None and target.body_bytes <= self.over_bytes:
            return False
        wanted = self.model_dump(exclude=_BY_PART, exclude_none=True)
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
    from_seconds: float = Field(0.0, ge=0)
    """In force only from then on, in seconds after the rules were set."""
    until_seconds: float | None = Field(None, gt=0)
    """And only before then."""

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
    """Pictures hit by `partial`, `no_url` and output `moderation`, from 0; all if empty, save for
    `partial`."""
    share: float = Field(0.5, gt=0, le=1)
    """Of `omit` and `unreadable` lists: how many rows are hit, drawn anew for each call."""
    bytes_per_second: int = Field(1_000_000, ge=1)
    """Of `slow`: how fast the body of a create is taken in."""
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
        if self.until_seconds is not None and self.until_seconds <= self.from_seconds:
            raise ValueError("until_seconds: must be later than from_seconds")
        if self.match.over_bytes is not None and self.on != "line":
            raise ValueError("match.over_bytes: only rules on 'line' know how long a body is")
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

    def fires(self, age_seconds: float, rng: random.Random) -> bool:
        until_seconds = self.rule.until_seconds
        is_over = until_seconds is not None and age_seconds >= until_seconds
        if is_over or age_seconds < self.rule.from_seconds:
            return False
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

    def __init__(self, rules: Iterable[FaultRule], rng: random.Random, clock: Clock) -> None:
        self._rng = rng
        self._clock = clock
        self.arm(rules)

    def arm(self, rules: Iterable[FaultRule]) -> None:
        """Replace all rules; counts and times begin anew."""
        self._armed = [_Armed(rule) for rule in rules]
        self._armed_at: datetime = self._clock()

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
        age_seconds = (self._clock() - self._armed_at).total_seconds()
        for armed in self._armed:
            rule = armed.rule
            is_meant = rule.on == on and rule.match.accepts(target)
            if is_meant and armed.fires(age_seconds, self._rng):
                yield rule
