"""The statement of a list: which index leads, what is checked on the way (pure).

A page walks one index newest first and looks at no more than PAGE_LOOKS jobs, whatever is asked.
Each filter that narrows has an index in that order; of several the narrowest leads.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from app.jobs.lifecycle import FINAL, JobStatus
from app.jobs.lists.walks import Branch, Source
from app.kit.ids import HIGHEST_ID, LOWEST_ID, find_lowest_id

PAGE_LOOKS = 4_000
"""Jobs that one page looks at; the next page goes on from there."""
COUNT_LIMIT = 10_000
"""Up to which a count is exact."""
COUNT_LOOKS = 12_000
"""Jobs that a count and a numbered page look at: more than a count shows, for some of the newest
may lie outside the time that is asked for."""
PROBE_LIMIT = 500
"""How many jobs of each narrowing filter are counted, to tell which is the narrowest."""
CLOCK_SKEW_MILLIS = 5 * 60 * 1_000
"""An id carries the clock of the process that made it, `created_at` the database's."""


_VALUE = re.compile(r":v(\d+):")


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
class Statement:
    """SQL and its parameters."""

    sql: str
    values: tuple[object, ...]


class ListQuery:
    """The statements of one filter; `key_ids` are the keys that go by the name in it."""

    def __init__(self, wanted: JobFilter, key_ids: Sequence[UUID] = ()) -> None:
        self._wanted = wanted
        self._key_ids = key_ids
        self._values: list[object] = []
        self._bounds = (
            self._bind(wanted.lowest_id, "uuid"),
            self._bind(wanted.highest_id, "uuid"),
        )
        self._team = None if wanted.team_id is None else self._bind(wanted.team_id, "uuid")
        self._conditions = dict(self._list_conditions())
        self.sources = tuple(self._list_sources()) or (self._whole_team(),)

    @property
    def is_empty(self) -> bool:
        """Whether no job can be meant: an unknown key, or no status of ours."""
        return any(not source.branches for source in self.sources)

    def probe(self) -> Statement:
        """How many jobs each source has, counted up to PROBE_LIMIT; a column each."""
        counts = (
            f"(select count(*) from ({self._walk(source, PROBE_LIMIT)} limit {PROBE_LIMIT}) as s)"
            for source in self.sources
        )
        return self._render(f"select {', '.join(counts)}")

    def page(
        self, source: Source, select: str, *, limit: int, offset: int | None = None
    ) -> Statement:
        """The jobs of a page, by a statement that ends in what the ids are compared with.

        A page with an offset is one of COUNT_LIMIT jobs.
        """
        looks = PAGE_LOOKS if offset is None else COUNT_LOOKS
        if not self.is_checked(source):
            looks = min(limit + (offset or 0), looks)
        ids = (
            f"select looked.id from {self._look(source, looks)} {self._check(source)}"
            f" order by looked.id desc limit {limit:d} offset {offset or 0:d}"
        )
        return self._render(f"{select} any(array({ids})) order by jobs.id desc")

    def reach(self, source: Source) -> Statement:
        """How many jobs a page looks at if need be, and the last of them."""
        return self._render(
            "select count(*) as looked_at, (array_agg(id order by id))[1] as last_id"
            f" from {self._look(source, PAGE_LOOKS)}"
        )

    def count(self, source: Source) -> Statement:
        """How many jobs the list shows, COUNT_LIMIT at most."""
        return self._render(
            f"select count(*) from (select from {self._look(source, COUNT_LOOKS)}"
            f" {self._check(source)} limit {COUNT_LIMIT}) as shown"
        )

    def is_checked(self, source: Source) -> bool:
        """Whether the list shows only some of the jobs of that source."""
        return bool(self._left(source))

    def _look(self, source: Source, limit: int) -> str:
        walk = self._walk(source, limit)
        return f"({walk} order by id desc limit {limit:d}) as looked"

    def _walk(self, source: Source, limit: int) -> str:
        """All branches as one, of each no more than are wanted of all."""
        walks = [
            branch.walk_each_team(limit)
            if self._team is None and branch.is_by_team
            else branch.walk(self._team)
            for branch in source.branches
        ]
        if len(walks) > 1:
            walks = [f"({walk} order by 1 desc limit {limit:d})" for walk in walks]
        return f"select id from ({' union all '.join(walks)}) as walk"

    def _check(self, source: Source) -> str:
        left = self._left(source)
        if not left:
            return ""
        # Fenced off (offset 0): job by job as the walk comes to it, until the page is full.
        runs = ""
        if any("runs." in condition for condition in left):
            runs = (
                " left join lateral (select status, attention_code from job_runs"
                " where job_id = looked.id offset 0) as runs on true"
            )
        return (
            "cross join lateral (select * from jobs where jobs.id = looked.id offset 0) as jobs"
            f"{runs} where {' and '.join(left)}"
        )

    def _left(self, source: Source) -> list[str]:
        """The conditions that the walk does not see to by itself."""
        return [
            condition for name, condition in self._conditions.items() if name not in source.answers
        ]

    def _list_conditions(self) -> Iterator[tuple[str, str]]:
        wanted = self._wanted
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
            yield "key", f"jobs.key_id = any({self._bind(list(self._key_ids), 'uuid[]')})"
        if wanted.model is not None:
            yield "model", f"jobs.model = {self._bind(wanted.model, 'text')}"
        if wanted.needs_attention:
            yield "attention", "runs.attention_code is not null"
        if wanted.metadata:
            yield "metadata", f"jobs.metadata @> {self._bind(wanted.metadata, 'jsonb')}"

    def _list_sources(self) -> Iterator[Source]:
        """Those that narrow, the one that usually narrows most first."""
        wanted = self._wanted
        if wanted.only_id is not None:
            yield Source((self._of_jobs(is_by_team=False),), frozenset())
            return
        if wanted.needs_attention:
            flagged = self._branch("job_runs", "job_id", extra="attention_code is not null and ")
            yield Source((flagged,), frozenset({"attention"}))
        for pair in (wanted.metadata or {}).items():
            answers = {"team", "metadata"} if len(wanted.metadata or ()) == 1 else {"team"}
            label = self._bind(make_label(*pair), "uuid")
            labeled = self._branch("job_labels", "job_id", "label", label, is_by_team=True)
            yield Source((labeled,), frozenset(answers))
        if wanted.key_name is not None:
            keyed = (
                self._of_jobs("key_id", self._bind(key_id, "uuid"), is_by_team=False)
                for key_id in self._key_ids
            )
            yield Source(tuple(keyed), frozenset({"team", "key"}))
        if wanted.statuses:
            known = [status for status in wanted.statuses if status in set(JobStatus)]
            by_status = tuple(self._of_status(status) for status in known)
            yield Source(by_status, frozenset({"team", "status"}))
        if wanted.model is not None:
            of_model = self._of_jobs("model", self._bind(wanted.model, "text"))
            yield Source((of_model,), frozenset({"team", "model"}))

    def _whole_team(self) -> Source:
        return Source((self._of_jobs(is_by_team=self._team is not None),), frozenset({"team"}))

    def _of_status(self, status: str) -> Branch:
        value = self._bind(status, "text")
        if status not in FINAL:
            return self._branch("job_runs", "job_id", "status", value, is_by_team=True)
        return self._of_jobs("status", value, extra="status is not null and ")

    def _of_jobs(
        self,
        column: str | None = None,
        value: str | None = None,
        *,
        is_by_team: bool = True,
        extra: str = "",
    ) -> Branch:
        return self._branch("jobs", "id", column, value, is_by_team=is_by_team, extra=extra)

    def _branch(
        self,
        table: str,
        id_name: str,
        column: str | None = None,
        value: str | None = None,
        *,
        is_by_team: bool = False,
        extra: str = "",
    ) -> Branch:
        lowest, highest = self._bounds
        return Branch(table, id_name, lowest, highest, column, value, is_by_team, extra)

    def _bind(self, value: object, kind: str) -> str:
        self._values.append(value)
        return f":v{len(self._values) - 1}:::{kind}"

    def _render(self, sql: str) -> Statement:
        """With the values that the statement names, numbered as they come."""
        used: dict[int, int] = {}

        def number(found: re.Match[str]) -> str:
            return f"${used.setdefault(int(found[1]), len(used) + 1)}"

        numbered = _VALUE.sub(number, sql)
        return Statement(numbered, tuple(self._values[index] for index in used))


def make_label(name: str, value: str) -> UUID:
    """What `job_labels` keeps of a pair of metadata."""
    return UUID(bytes=sha256(f"{len(name)}:{name}{value}".encode()).digest()[:16])
