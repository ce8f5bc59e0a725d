"""What is said of a storm: one line, and what was wrong below it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.bench.storm.check import Kind, Verdict
from app.bench.storm.plan import Clocks

FINDINGS_SHOWN = 20
LIES_SHOWN = frozenset({"empty", "stale", "status 403", "unreadable", "wrong_zone", "omit"})


@dataclass(frozen=True, slots=True)
class StormReport:
    """One storm, from its seed to its verdict."""

    seed: int
    contender: str
    again: str
    """The command that brings the same storm about again."""
    seconds: float
    ended_in_storm: int
    """Jobs that had ended when the calm came."""
    statuses: Mapping[str, int]
    """Jobs by their last status."""
    strikes: Mapping[str, int]
    """Blows by deed."""
    billed_images: int
    in_flight_peaks: Mapping[str, int]
    refused_calls: Mapping[str, int]
    """Calls that the upstream itself refused, by endpoint and code."""
    verdict: Verdict
    weather: Mapping[str, int] = field(default_factory=dict)
    """How often each kind of the upstream's errors struck."""
    clocks: Clocks = field(default_factory=Clocks)
    standing: Mapping[str, int] = field(default_factory=dict)
    """Jobs that have not ended, by what a person is called for."""
    calls: int = 0
    """How often a person was called at all."""
    stories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What has happened to jobs that something is wrong with, line by line."""

    @property
    def passed(self) -> bool:
        """Nothing wrong, and nothing paid for twice."""
        return not self.verdict.findings and not self.verdict.duplicate_count

    @property
    def duplicate_count(self) -> int:
        """Billed tasks beyond one a job, those booked as waste included."""
        return self.verdict.duplicate_count

    def count(self, kind: Kind) -> int:
        return self.verdict.count(kind)

    def to_line(self) -> str:
        """One line for a list of storms."""
        blows = ", ".join(f"{deed} {count}" for deed, count in sorted(self.strikes.items()))
        ends = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))
        counts = ", ".join(f"{kind} {self.count(kind)}" for kind in Kind)
        jobs = f"{sum(self.statuses.values())} jobs ({ends})"
        return (
            f"seed {self.seed}: {jobs} in {self.seconds:.0f} s, {self.ended_in_storm} amid the "
            f"storm; {blows}; {self._tell_weather()}; duplicates {self.duplicate_count}; "
            f"wrong: {counts}"
        )

    def _tell_weather(self) -> str:
        """Lies by kind, clocks, and what is left to a person."""
        lies = ", ".join(
            f"{kind} {count}" for kind, count in sorted(self.weather.items()) if _is_lie(kind)
        )
        clocks = (self.clocks.upstream, *self.clocks.processes)
        left = ", ".join(f"{count} {code}" for code, count in sorted(self.standing.items()))
        return (
            f"lies: {lies or 'none'}; clocks {min(clocks):+.0f} to {max(clocks):+.0f} s; "
            f"a person called {self.calls} times, for good: {left or 'never'}"
        )

    def explain(self) -> str:
        """The line, what was wrong in which job, the rarest first, and how to have it again."""
        kinds = Counter(finding.kind for finding in self.verdict.findings)
        rarest_first = sorted(self.verdict.findings, key=lambda finding: kinds[finding.kind])
        findings = (*rarest_first, *self.verdict.booked)
        shown = [
            f"  {finding.kind}: {finding.subject}: {finding.detail}"
            for finding in findings[:FINDINGS_SHOWN]
        ]
        if len(findings) > FINDINGS_SHOWN:
            shown.append(f"  and {len(findings) - FINDINGS_SHOWN} more")
        for job_id, lines in self.stories.items():
            shown += [f"  job {job_id}:", *(f"    {line}" for line in lines)]
        if shown:
            shown.append(f"  again: {self.again}")
        return "\n".join([self.to_line(), *shown])


def _is_lie(kind: str) -> bool:
    place, _, deed = kind.partition(" ")
    return place == "list" and deed in LIES_SHOWN


def count_refusals(refused: Mapping[str, Mapping[str, int]]) -> Counter[str]:
    """Refusals as the emulator counts them, by `endpoint code`."""
    return Counter(
        {f"{place} {code}": n for place, codes in refused.items() for code, n in codes.items()}
    )
