"""Refusals that one request may have drawn: when the account is at fault, and when the job (pure).

A code such as `AccessDenied` speaks of the account, but a single request can draw it as well. Who
is at fault is told by what other jobs meet, and never by one job alone:

| jobs refused with the code since the last create that was taken | account | job |
|---|---|---|
| one, up to four times | goes on, with others | waits its own growing delay |
| one, five times | suspended on one team's word | waits, needs attention, expires at its end |
| two of one team | goes on | wait |
| three of one team | suspended on one team's word: a probe every few seconds | wait |
| two of different teams | suspended: a probe after 10 s, doubling | wait |
| one that was refused before a create of another job was taken | goes on | at fault: fails |

A suspension on one team's word adds 2 s to the pause for each further job of it: a team that
sends such jobs on purpose holds up the others for no longer than that. A probe is another job than
the last, for a refused job waits longer than its account.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID

LONE_TRIES = 5
"""Refusals of one job with nothing taken in between, after which the account is suspended."""
JOBS_OF_ONE_TEAM = 3
SUSPECTS_LIMIT = 32
"""The latest are remembered."""


class Evidence(IntEnum):
    """How sure it is that the account is at fault."""

    NONE = 0
    ONE_TEAM = 1
    TEAMS = 2


@dataclass(frozen=True, slots=True)
class Source:
    """Whose request has drawn a refusal."""

    job: UUID
    team: UUID


@dataclass(frozen=True, slots=True)
class Suspect:
    """A job refused with that code, the last time `at`, since a create was taken."""

    job: UUID
    team: UUID
    code: str
    at: datetime
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What news of an account means for the job that has brought it."""

    is_jobs_fault: bool = False
    """Other jobs passed where it is refused again."""
    wait_seconds: float = 0.0
    """How long the account that has refused it sends nothing."""


NO_VERDICT = Verdict()


def suspect(
    suspects: Sequence[Suspect], source: Source, code: str, now: datetime
) -> tuple[Suspect, ...]:
    """The suspects after another refusal."""
    known = next((one for one in suspects if one.job == source.job), None)
    tries = known.tries + 1 if known is not None and known.code == code else 1
    others = [one for one in suspects if one.job != source.job]
    latest = Suspect(source.job, source.team, code, now, tries)
    return (*others, latest)[-SUSPECTS_LIMIT:]


def keep_later(suspects: Sequence[Suspect], sent_at: datetime) -> tuple[Suspect, ...]:
    """Those that a create sent at that time, and taken, says nothing of."""
    return tuple(one for one in suspects if one.at > sent_at)


def weigh(suspects: Sequence[Suspect], code: str) -> Evidence:
    """What those refused with the code prove of the account."""
    alike = [one for one in suspects if one.code == code]
    if len({one.team for one in alike}) > 1:
        return Evidence.TEAMS
    if len(alike) >= JOBS_OF_ONE_TEAM or any(one.tries >= LONE_TRIES for one in alike):
        return Evidence.ONE_TEAM
    return Evidence.NONE


def is_at_fault(
    suspects: Sequence[Suspect],
    source: Source,
    *,
    refused_at: datetime | None,
    passed_at: datetime | None,
) -> bool:
    """Whether a job that is refused again draws it by itself: another was taken in between.

    `refused_at`: when the same account refused it last with the same code; `passed_at`: when the
    last create was sent that the account took although it had refused others.
    """
    if refused_at is None or passed_at is None or refused_at >= passed_at:
        return False
    return all(one.job != source.job for one in suspects)
