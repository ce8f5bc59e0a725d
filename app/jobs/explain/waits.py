"""Why a job waited in the queue: each stay in it, and what held the job up meanwhile (pure)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.accounts.story import PAUSED, RECOVERED, RESUMED, SUSPENDED
from app.jobs.explain.facts import Event, Facts, Setback, Spell
from app.jobs.explain.phrases import say_seconds
from app.jobs.requeue import HASTENED

NOTABLE = timedelta(seconds=1)
"""A shorter wait needs no reason."""
REST_SHARE = 0.1
"""Of a wait: what is left to explain may be less than that."""
GAP_SHARE = 0.02
"""Of a wait: what comes again within that is told as one."""
REASONS_LIMIT = 8

_BEGINS = ("job.queued", "job.requeued")
ENDS = ("job.submitting", "job.canceled", "job.expired")
"""Events that end a stay in the queue, if the job was in it."""


@dataclass(frozen=True, slots=True)
class Reason:
    """What held a job up, from when to when; without times the text says for how long."""

    text: str
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A reason that holds at one stretch."""

    text: str
    since: datetime
    until: datetime

    @property
    def lasted(self) -> timedelta:
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class Wait:
    """A stay in the queue, from the event that began it to the next one, or to now."""

    since: datetime
    until: datetime
    delay: timedelta = timedelta(0)
    """Of the job's own, after a try in vain."""

    @property
    def lasted(self) -> timedelta:
        return self.until - self.since

    def cut(self, spans: Iterable[Span]) -> list[Span]:
        """The parts of the spans that lie in the wait."""
        parts = (
            replace(one, since=max(one.since, self.since), until=min(one.until, self.until))
            for one in spans
        )
        return [part for part in parts if part.since < part.until]


def find_waits(events: Iterable[Event], now: datetime) -> tuple[Wait, ...]:
    """The stays in the queue, in order; the last may go on."""
    waits: list[Wait] = []
    begun: Event | None = None
    for event in events:
        if event.type in _BEGINS:
            begun = event
        elif event.type in ENDS and begun is not None:
            waits.append(_to_wait(begun, event.at))
            begun = None
    return (*waits, _to_wait(begun, now)) if begun is not None else tuple(waits)


def explain_wait(wait: Wait, facts: Facts) -> tuple[Reason, ...]:
    """What is known to have held the job up, in the order of time; nothing of a short wait."""
    if wait.lasted < NOTABLE:
        return ()
    held = [
        *_find_delay(wait, facts.events),
        *_find_setbacks(wait, facts.around.setbacks),
        *_find_team_limit(facts),
    ]
    spans = _merge(wait.cut(held), max(NOTABLE, wait.lasted * GAP_SHARE))
    taken = [
        wait.cut(_find_taken(account, places, facts.around.spells))
        for account, places in facts.around.places
    ]
    reasons = [*_choose(spans), *(_sum_up(each) for each in taken if measure(each) >= NOTABLE)]
    rest = wait.lasted - measure([*spans, *(span for each in taken for span in each)])
    if rest >= max(NOTABLE, wait.lasted * REST_SHARE):
        reasons.append(Reason(f"{say_seconds(rest)} {_find_others(wait, facts)}"))
    return tuple(reasons)


def _find_others(wait: Wait, facts: Facts) -> str:
    if any(wait.since <= spell.since <= wait.until for spell in facts.around.spells):
        return "for its turn: others were before it"
    return "in which no job was sent: no worker ran, or no account was there"


def measure(spans: Iterable[Span]) -> timedelta:
    """How long any of them lasted, each moment counted once."""
    total, reached = timedelta(0), None
    for span in sorted(spans, key=lambda one: one.since):
        begin = span.since if reached is None else max(span.since, reached)
        total += max(span.until - begin, timedelta(0))
        reached = max(span.until, begin)
    return total


def find_crowded(spells: Iterable[Spell], limit: int, text: str) -> Iterator[Span]:
    """The times at which at least so many of the spells overlapped."""
    turns = sorted(turn for one in spells for turn in ((one.since, 1), (one.until, -1)))
    count, since = 0, None
    for at, change in turns:
        count += change
        if count >= limit and since is None:
            since = at
        elif count < limit and since is not None:
            yield Span(text, since, at)
            since = None


def _to_wait(begun: Event, until: datetime) -> Wait:
    delay = timedelta(seconds=float(begun.detail.get("delay_seconds") or 0))
    return Wait(begun.at, max(until, begun.at), delay)


def _find_delay(wait: Wait, events: Iterable[Event]) -> Iterator[Span]:
    hastened = (one.at for one in events if one.type == HASTENED and one.at >= wait.since)
    due_at = min((wait.since + wait.delay, *hastened))
    yield Span("its own delay after the try in vain", wait.since, due_at)


def _find_setbacks(wait: Wait, setbacks: Sequence[Setback]) -> Iterator[Span]:
    """A pause lasts until its time or the next word; a suspension until it is taken back."""
    for place, one in enumerate(setbacks):
        later = [word for word in setbacks[place + 1 :] if word.account == one.account]
        about = f"account {one.account} %s ({one.code or 'no code'})"
        if one.type == PAUSED:
            next_at = min((word.at for word in later), default=wait.until)
            yield Span(about % "throttled", one.at, min(one.until or next_at, next_at))
        elif one.type == SUSPENDED:
            over = (word.at for word in later if word.type in (RECOVERED, RESUMED, SUSPENDED))
            yield Span(about % "suspended", one.at, min(over, default=wait.until))


def _find_team_limit(facts: Facts) -> Iterator[Span]:
    limit, team = facts.job.team_max_running, facts.job.team
    if limit is not None:
        theirs = (one for one in facts.around.spells if one.is_of_team)
        yield from find_crowded(theirs, limit, f"team {team} had its limit of {limit} upstream")


def _find_taken(account: str, places: int, spells: Sequence[Spell]) -> Iterator[Span]:
    own = (one for one in spells if one.account == account)
    return find_crowded(own, places, f"all {places} places of account {account} were taken")


def _sum_up(spans: Sequence[Span]) -> Reason:
    return Reason(f"{say_seconds(measure(spans))} because {spans[0].text}")


def _merge(spans: Sequence[Span], gap: timedelta) -> list[Span]:
    """What comes again at once, as one; in the order of time."""
    merged: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda one: one.since):
        same = merged.setdefault(span.text, [])
        if same and span.since - same[-1].until < gap:
            same[-1] = replace(same[-1], until=max(span.until, same[-1].until))
        else:
            same.append(span)
    return sorted((one for same in merged.values() for one in same), key=lambda one: one.since)


def _choose(spans: Sequence[Span]) -> Iterator[Reason]:
    """All of them, or the longest."""
    longest = sorted(spans, key=lambda one: one.lasted, reverse=True)
    for span in spans:
        if span in longest[:REASONS_LIMIT]:
            yield Reason(span.text, span.since, span.until)
    if left := longest[REASONS_LIMIT:]:
        yield Reason(f"{len(left)} shorter ones like these, {say_seconds(measure(left))} in all")
