"""Every measure by its number, and a run of those that are asked for."""

import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from app.bench.drain import measure_drain
from app.bench.effort import Effort
from app.bench.fairness import measure_fairness
from app.bench.figures import MISSES, Figure
from app.bench.growth import measure_growth
from app.bench.kills import measure_kills
from app.bench.memory import measure_memory
from app.bench.pictures import measure_pictures
from app.bench.reads.lists import measure_lists
from app.bench.reads.places import measure_places
from app.bench.rig.arena import Arena, open_arena
from app.bench.sharing import measure_sharing
from app.kit.errors import FieldProblem, InvalidRequest

NOISE_ROUNDS = 50
NOISE_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that is measured in one run; its figures may have several numbers."""

    numbers: tuple[str, ...]
    name: str
    run: Callable[[Arena, Effort], Awaitable[list[Figure]]]


@dataclass(slots=True)
class Outcome:
    """What a run has found, and under which conditions; a measure that failed says why."""

    effort: Effort
    conditions: dict[str, str] = field(default_factory=dict)
    """What the machine was like at the end of each measure."""
    figures: list[Figure] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """The whole run, its databases and processes included."""

    @property
    def missed(self) -> list[Figure]:
        """What was found beyond its goal."""
        return [figure for figure in self.figures if figure.verdict == MISSES]


def list_measures(seeds: range | None = None) -> tuple[Measure, ...]:
    """In the order of their numbers; `seeds` are those of the kill storm."""
    return (
        Measure(("4", "5"), "draining a queue", measure_drain),
        Measure(("6",), "storing pictures", measure_pictures),
        Measure(("8",), "worker memory", measure_memory),
        Measure(("9",), "hot queries", measure_growth),
        Measure(("10",), "fair shares", measure_fairness),
        Measure(("11",), "kill storms", partial(measure_kills, seeds=seeds)),
        Measure(("13",), "lists", measure_lists),
        Measure(("14",), "places in the queue", measure_places),
        Measure(("shares",), "a flood and a quiet team", measure_sharing),
    )


def choose(measures: Sequence[Measure], only: str | None) -> list[Measure]:
    """Those with one of the numbers in `"4,5"`, all without; raises InvalidRequest."""
    if only is None:
        return list(measures)
    known = [number for measure in measures for number in measure.numbers]
    wanted = [number.strip() for number in only.split(",")]
    for number in wanted:
        if number not in known:
            raise InvalidRequest.from_problems(
                (
                    FieldProblem(
                        ("only",),
                        "unknown_measure",
                        f"{number!r} is no measure; there are {', '.join(known)}",
                        {"known": known},
                    ),
                )
            )
    return [measure for measure in measures if set(measure.numbers) & set(wanted)]


async def run_measures(
    measures: Sequence[Measure],
    effort: Effort,
    *,
    server_url: str | None,
    pg_bin: Path | None,
    say: Callable[[str], None],
) -> Outcome:
    """One after the other; one that fails does not take the others with it."""
    outcome = Outcome(effort)
    run_began = time.monotonic()
    async with open_arena(server_url, pg_bin=pg_bin) as arena:
        for measure in measures:
            numbers = ", ".join(measure.numbers)
            say(f"measure {numbers}: {measure.name} ...")
            began = time.monotonic()
            try:
                outcome.figures += await measure.run(arena, effort)
            except Exception as error:
                outcome.failures[numbers] = f"{type(error).__name__}: {error}"
                say(f"measure {numbers} failed: {outcome.failures[numbers]}")
            else:
                outcome.conditions[numbers] = describe_machine()
                say(f"measure {numbers} took {time.monotonic() - began:.0f} s")
    outcome.seconds = time.monotonic() - run_began
    return outcome


def describe_machine() -> str:
    """Cores, load, and how far the same small work lies apart: what figures are worth here."""
    block = bytes(NOISE_BYTES)
    times = []
    for _ in range(NOISE_ROUNDS):
        began = time.perf_counter()
        hashlib.sha256(block).digest()
        times.append(time.perf_counter() - began)
    slower = median(times) / min(times) - 1
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} over the last minute; the same "
        f"small work took {slower:.0%} longer at its median than at its best"
    )
