"""What a team and a key may be: settings with their limits, checked field by field (pure)."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from ipaddress import ip_network
from zoneinfo import available_timezones

from app.kit.errors import FieldProblem, InvalidRequest
from app.kit.names import find_name_problem

SCOPES = ("jobs:read", "jobs:write", "usage:read")
DEFAULT_TIMEZONE = "Asia/Shanghai"

WEIGHT_LIMIT = 1000
COUNT_LIMIT = 1_000_000
COST_CENTER_LENGTH_LIMIT = 100
ALLOW_IPS_LIMIT = 100


class Role(StrEnum):
    """What an operator's key is for: changing things, or only looking at them."""

    ADMIN = "admin"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamSettings:
    """What an operator decides about a team; None means no limit of its own."""

    weight: Decimal = Decimal(1)
    max_running: int | None = None
    requests_per_minute: int | None = None
    cost_center: str | None = None
    timezone: str = DEFAULT_TIMEZONE


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """What a key may do, until when and from where; no addresses means from anywhere."""

    name: str
    scopes: tuple[str, ...] = SCOPES
    expires_at: datetime | None = None
    allow_ips: tuple[str, ...] = ()


def check_team(name: str, settings: TeamSettings) -> None:
    """Raises InvalidRequest with every fault at once."""
    problems = [
        find_name_problem("name", name),
        _find_weight_problem(settings.weight),
        _find_count_problem("max_running", settings.max_running),
        _find_count_problem("requests_per_minute", settings.requests_per_minute),
        _find_cost_center_problem(settings.cost_center),
        _find_timezone_problem(settings.timezone),
    ]
    _refuse(problems)


def check_timezone(name: str) -> None:
    """Raises InvalidRequest."""
    _refuse([_find_timezone_problem(name)])


def check_key(settings: KeySettings, now: datetime) -> None:
    """Raises InvalidRequest with every fault at once."""
    problems = [
        find_name_problem("name", settings.name),
        _find_scopes_problem(settings.scopes),
        _find_expiry_problem(settings.expires_at, now),
        _find_allow_ips_problem(settings.allow_ips),
    ]
    _refuse(problems)


def _refuse(problems: list[FieldProblem | None]) -> None:
    found = tuple(problem for problem in problems if problem is not None)
    if found:
        raise InvalidRequest.from_problems(found)


def _find_weight_problem(weight: Decimal) -> FieldProblem | None:
    if weight.is_finite() and 0 <= weight <= WEIGHT_LIMIT and weight == round(weight, 3):
        return None
    return FieldProblem(
        ("weight",),
        "out_of_range",
        f"{weight} is not between 0 (paused) and {WEIGHT_LIMIT} with at most 3 decimals",
        {"min": 0, "max": WEIGHT_LIMIT},
    )


def _find_count_problem(field: str, count: int | None) -> FieldProblem | None:
    if count is None or 1 <= count <= COUNT_LIMIT:
        return None
    return FieldProblem(
        (field,),
        "out_of_range",
        f"{count} is not between 1 and {COUNT_LIMIT:,}",
        {"min": 1, "max": COUNT_LIMIT},
    )


def _find_cost_center_problem(text: str | None) -> FieldProblem | None:
    if text is None or (text.isprintable() and 1 <= len(text) <= COST_CENTER_LENGTH_LIMIT):
        return None
    return FieldProblem(
        ("cost_center",),
        "bad_text",
        f"{text[:40]!r} ({len(text)} characters) is not 1 to {COST_CENTER_LENGTH_LIMIT} printable "
        "characters",
        {"max_length": COST_CENTER_LENGTH_LIMIT},
    )


def _find_timezone_problem(name: str) -> FieldProblem | None:
    if name in available_timezones():
        return None
    return FieldProblem(
        ("timezone",),
        "unknown_timezone",
        f"{name!r} is no IANA time zone; write it as Asia/Shanghai, Europe/Berlin or UTC",
    )


def _find_scopes_problem(scopes: tuple[str, ...]) -> FieldProblem | None:
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if scopes and not unknown:
        return None
    said = f"{unknown[0]!r} is no scope" if unknown else "a key needs one scope at least"
    return FieldProblem(
        ("scopes",), "unknown_scope", f"{said}; there are {', '.join(SCOPES)}", {"known": SCOPES}
    )


def _find_expiry_problem(expires_at: datetime | None, now: datetime) -> FieldProblem | None:
    if expires_at is None or expires_at > now:
        return None
    return FieldProblem(
        ("expires",),
        "in_the_past",
        f"{expires_at.isoformat()} is over; it is {now.isoformat(timespec='seconds')} now",
    )


def _find_allow_ips_problem(networks: tuple[str, ...]) -> FieldProblem | None:
    if len(networks) > ALLOW_IPS_LIMIT:
        return FieldProblem(
            ("allow_ips",), "too_many", f"{len(networks)} are more than {ALLOW_IPS_LIMIT}"
        )
    for index, text in enumerate(networks):
        try:
            if "%" in text:
                raise ValueError(f"{text!r} names an interface of one machine")
            ip_network(text)
        except ValueError as error:
            return FieldProblem(
                ("allow_ips", index), "bad_network", f"{error}; write it as 10.0.0.0/8"
            )
    return None
