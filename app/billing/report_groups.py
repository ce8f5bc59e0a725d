"""What a report may be grouped by: the words, and the columns that they stand for (pure)."""

import re

from app.kit.errors import FieldProblem

# Texts by code point, so that the order is the same on every server.
DIMENSIONS = {
    "team": 'teams.name collate "C"',
    "cost_center": 'teams.cost_center collate "C"',
    "month": "to_char(usage.day, 'YYYY-MM')",
    "day": "usage.day",
    "model": 'usage.model collate "C"',
    "key": 'keys.name collate "C"',
    "unit_price": "usage.unit_price",
}
TAG_PREFIX = "tag:"
GROUPS_LIMIT = 6

_TAG = re.compile(r"tag:.+", re.DOTALL)
_OF_TEAMS = ("team", "cost_center")
_OF_TIME = ("month", "day")


def to_groups(asked: tuple[str, ...]) -> tuple[str, ...]:
    """Each once; names of keys are a team's own, hence a key's group is a team's as well."""
    groups = tuple(dict.fromkeys(asked))
    return ("team", *groups) if "key" in groups and "team" not in groups else groups


def find_group_problems(groups: tuple[str, ...], *, with_idle: bool) -> list[FieldProblem]:
    problems = []
    if not 1 <= len(groups) <= GROUPS_LIMIT:
        message = f"{len(groups)} groups are not between 1 and {GROUPS_LIMIT}"
        problems.append(FieldProblem(("group_by",), "out_of_range", message))
    for group in groups:
        if group not in DIMENSIONS and not _TAG.match(group):
            message = f"{group!r} is no group; there are {', '.join(DIMENSIONS)} and tag:NAME"
            problems.append(FieldProblem(("group_by",), "unknown_group", message))
    if with_idle and not to_idle_groups(groups):
        known = ", ".join((*_OF_TEAMS, *_OF_TIME))
        message = f"groups without jobs can be listed by {known}; name one of them"
        problems.append(FieldProblem(("group_by",), "no_idle_groups", message))
    return problems


def needs_jobs(groups: tuple[str, ...]) -> bool:
    """Whether only the jobs know it; the daily usage answers everything else."""
    return any(group == "unit_price" or group not in DIMENSIONS for group in groups)


def to_idle_groups(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Those of which we know all there are, with or without jobs."""
    return tuple(group for group in groups if group in (*_OF_TEAMS, *_OF_TIME))


def is_of_teams(groups: tuple[str, ...]) -> bool:
    return any(group in _OF_TEAMS for group in groups)


def to_columns(groups: tuple[str, ...]) -> str:
    return ", ".join(
        DIMENSIONS.get(group, f"usage.metadata ->> cast(:tag_{index} as text)")
        for index, group in enumerate(groups)
    )


def to_tags(groups: tuple[str, ...]) -> dict[str, str]:
    return {
        f"tag_{index}": group.removeprefix(TAG_PREFIX)
        for index, group in enumerate(groups)
        if group not in DIMENSIONS
    }
