"""Who stands still after a storm: every job that has not ended calls a person (pure)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from app.bench.storm.check import Finding, Kind


@dataclass(frozen=True, slots=True)
class Standing:
    """A job that has not ended, and what a person is told of it."""

    job_id: str
    status: str
    code: str | None
    since: datetime | None
    detail: str | None

    @property
    def is_told(self) -> bool:
        """Whether somebody is called, knows since when, and what to do."""
        return bool(self.code and self.since and self.detail)


def find_silent(standing: Iterable[Standing]) -> Iterator[Finding]:
    """The jobs that wait and call nobody."""
    for job in standing:
        if job.is_told:
            continue
        missing = [
            name
            for name, value in (("code", job.code), ("since", job.since), ("detail", job.detail))
            if not value
        ]
        detail = f"is {job.status}, and its attention has no {', '.join(missing)}"
        yield Finding(Kind.SILENT, job.job_id, detail)


def list_attended(standing: Iterable[Standing]) -> frozenset[str]:
    """Jobs that somebody is called for: they wait, and are not lost."""
    return frozenset(job.job_id for job in standing if job.is_told)
