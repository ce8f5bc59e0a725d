"""The statement of a list: which index leads, what is checked on the way (pure).

A list walks one index newest first and looks at no more than SCAN_LIMIT jobs, whatever is asked.
Each filter that narrows has an index in that order; of several the narrowest leads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from app.jobs.lifecycle import FINAL, JobStatus
from app.kit.ids import HIGHEST_ID, LOWEST_ID, find_lowest_id

SCAN_LIMIT = 10_000
"""Jobs that one page looks at, and up to which a count is exact."""
PROBE_LIMIT = 500
"""How many jobs of each narrowing filter are counted, to tell which is the narrowest."""
CLOCK_SKEW_MILLIS = 5 * 60 * 1_000
"""An id carries the clock of the process that made it, `created_at` the database's."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list shows: newest first, those before a job's id."""

    team_id: UUID | None
    statuses: tuple[str, ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    key_name: str | None = None
    model: str | None = None
    metadata: dict[str, str] | None = None
    needs_attention: bool = False
    before_id: UUID | None = None
    only_id: UUID | None = None

    @property
    def lowest_id(self) -> UUID:
        """No job of the list has a lower id."""
        if self.only_id is not None:
            return self.only_id
        if self.created_after is None:
            return LOWEST_ID
        return find_lowest_id(self.created_after, later_millis=-CLOCK_SKEW_MILLIS)

    @property
    def highest_id(self) -> UUID:
        """Every job of the list has a lower id than this."""
        bounds = [HIGHEST_ID]
        if self.only_id is not None:
            bounds.append(UUID(int=min(self.only_id.int + 1, HIGHEST_ID.int)))
        if self.before_id is not None:
            bounds.append(self.before_id)
        if self.created_before is not None:
            bounds.append(find_lowest_id(self.created_before, later_millis=CLOCK_SKEW_MILLIS))
        return min(bounds)


@dataclass(frozen=True, slots=True)
class Source:
    """A walk over an index: its branches' FROM and WHERE, and which filters it answers."""

    branches: tuple[str, ...]
    answers: frozenset[str]


@dataclass(slots=True)
class ListQuery:
    """Statements of one filter; `values` are their parameters, in order."""

    wanted: JobFilter
    key_ids: Sequence[UUID] = ()
    """The keys that go by the name that is asked for."""
    values: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._bounds = (
            f"{{id}} >= {self._bind(self.wanted.lowest_id, 'uuid')}"
            f" and {{id}} < {self._bind(self.wanted.highest_id, 'uuid')}"
        )
        team_id = self.wanted.team_id
        self._team = None if team_id is None else self._bind(team_id, "uuid")
        self._conditions = dict(self._list_conditions())
        self.sources = tuple(self._list_sources()) or (self._whole_team(),)

    def probe(self) -> str:
        """How many jobs each source has, counted up to PROBE_LIMIT; a column each."""
        counts = (
            f"(select count(*) from ({self._walk(source)} limit {PROBE_LIMIT}) as probe)"
            for source in self.sources
        )
        return f"select {', '.join(counts)}"

    def page(self, source: Source, *, limit: int, offset: int = 0) -> str:
        """The ids of a page."""
        return (
            f"select looked.id from {self._look(source, limit + offset)} {self._check(source)}"
            f" order by looked.id desc limit {limit:d} offset {offset:d}"
        )

    def reach(self, source: Source) -> str:
        """How many jobs a page looks at if need be, and the last of them."""
        walk = self._walk(source, SCAN_LIMIT)
        return (
            "select count(*) as looked_at, (array_agg(id order by id))[1] as last_id"
            f" from ({walk} order by id desc limit {SCAN_LIMIT}) as looked"
        )

    def count(self, source: Source) -> str:
        """How many of the jobs that are looked at the list shows."""
        return (
            f"select count(*) from {self._look(source, SCAN_LIMIT)} {self._check(source)}"
        )

    def is_checked(self, source: Source) -> bool:
        """Whether the list shows only some of the jobs of that source."""
        return bool(self._left(source))

    def _look(self, source: Source, wanted: int) -> str:
        limit = SCAN_LIMIT if self.is_checked(source) else min(wanted, SCAN_LIMIT)
        walk = self._walk(source, limit)
        return f"({walk} order by id desc limit {limit:d}) as looked"

    def _walk(self, source: Source, each: int | None = None) -> str:
        """All branches as one; over all teams each team's newest are taken one by one."""
        if self._team is not None or "teams" in source.answers:
            walks = [branch.format(team=self._team) for branch in source.branches]
            return f"select id from ({' union all '.join(walks)}) as walk"
        limit = PROBE_LIMIT if each is None else each
        walks = [
            "select newest.id from teams cross join lateral ("
            f"{branch.format(team='teams.id')} order by 1 desc limit {limit}) as newest"
            for branch in source.branches
        ]
        return f"select id from ({' union all '.join(walks)}) as walk"

    def _check(self, source: Source) -> str:
        left = self._left(source)
        if not left:
            return ""
        return (
            "join jobs on jobs.id = looked.id left join job_runs as runs on runs.job_id = jobs.id"
            f" where {' and '.join(left)}"
        )

    def _left(self, source: Source) -> list[str]:
        """The conditions that the walk does not see to by itself."""
        return [
            condition
            for name, condition in self._conditions.items()
            if name not in source.answers
        ]

    def _list_conditions(self) -> Iterator[tuple[str, str]]:
        wanted = self.wanted
        if self._team is not None:
            yield "team", f"jobs.team_id = {self._team}"
        if wanted.statuses:
            statuses = self._bind(list(wanted.statuses), "text[]")
            yield "status", f"coalesce(jobs.status, runs.status) = any({statuses})"
        if wanted.created_after is not None:
            since = self._bind(wanted.created_after, "timestamptz")
            yield "since", f"jobs.created_at >= {since}"
        if wanted.created_before is not None:
            until = self._bind(wanted.created_before, "timestamptz")
            yield "until", f"jobs.created_at < {until}"
        if wanted.key_name is not None:
            yield "key", f"jobs.key_id = any({self._bind(list(self.key_ids), 'uuid[]')})"
        if wanted.model is not None:
            yield "model", f"jobs.model = {self._bind(wanted.model, 'text')}"
        if wanted.needs_attention:
            yield "attention", "runs.attention_code is not null"
        if wanted.metadata:
            yield "metadata", f"jobs.metadata @> {self._bind(wanted.metadata, 'jsonb')}"

    def _list_sources(self) -> Iterator[Source]:
        """Those that narrow, the one that usually narrows most first."""
        wanted, jobs = self.wanted, self._bounds.format(id="jobs.id")
        runs = self._bounds.format(id="job_id")
        if wanted.only_id is not None:
            yield Source((f"select id from jobs where {jobs}",), frozenset({"teams"}))
            return
        if wanted.needs_attention:
            flagged = f"select job_id as id from job_runs where attention_code is not null and {runs}"
            yield Source((flagged,), frozenset({"attention", "teams"}))
        for pair in (wanted.metadata or {}).items():
            label = self._bind(make_label(*pair), "uuid")
            labeled = (
                "select job_id as id from job_labels"
                f" where team_id = {{team}} and label = {label} and {runs}"
            )
            yield Source((labeled,), frozenset({"team"}))
        if wanted.key_name is not None:
            keyed = (
                f"select id from jobs where key_id = {self._bind(key_id, 'uuid')} and {jobs}"
                for key_id in self.key_ids
            )
            yield Source(tuple(keyed), frozenset({"key", "teams"}))
        if wanted.statuses:
            yield Source(tuple(self._list_by_status(jobs, runs)), frozenset({"team", "status"}))
        if wanted.model is not None:
            model = self._bind(wanted.model, "text")
            of_model = f"select id from jobs where team_id = {{team}} and model = {model} and {jobs}"
            yield Source((of_model,), frozenset({"team", "model"}))

    def _list_by_status(self, jobs: str, runs: str) -> Iterator[str]:
        for status in self.wanted.statuses:
            value = self._bind(status, "text")
            if JobStatus(status) in FINAL:
                yield f"select id from jobs where team_id = {{team}} and status = {value} and {jobs}"
            else:
                yield (
                    "select job_id as id from job_runs"
                    f" where team_id = {{team}} and status = {value} and {runs}"
                )

    def _whole_team(self) -> Source:
        jobs = self._bounds.format(id="jobs.id")
        if self._team is None:
            return Source((f"select id from jobs where {jobs}",), frozenset({"teams"}))
        return Source(
            (f"select id from jobs where team_id = {{team}} and {jobs}",), frozenset({"team"})
        )

    def _bind(self, value: object, kind: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{kind}"


def make_label(name: str, value: str) -> UUID:
    """What `job_labels` keeps of a pair of metadata."""
    return UUID(bytes=sha256(f"{name}={value}".encode()).digest()[:16])
