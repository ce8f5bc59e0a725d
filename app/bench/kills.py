"""Measure 11: what a storm of kills and lost answers costs, against retrying without a plan."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from app.bench.effort import Effort
from app.bench.figures import Figure, Goal, Yardstick
from app.bench.rig.arena import Arena
from app.bench.storm import Kind, StormOptions, StormReport, run_storm

SEEDS = {Effort.QUICK: range(1, 2), Effort.USUAL: range(1, 4), Effort.FULL: range(1, 51)}
QUICK_STORM = StormOptions(jobs=60, storm_seconds=6.0)


async def measure_kills(_: Arena, effort: Effort, *, seeds: range | None = None) -> list[Figure]:
    """Storms bring their own server, because they crash it."""
    options = QUICK_STORM if effort is Effort.QUICK else StormOptions()
    return await compare_storms(seeds or SEEDS[effort], options)


async def compare_storms(seeds: Iterable[int], options: StormOptions) -> list[Figure]:
    """Each seed once over the gateway and once over the naive one."""
    ours: list[StormReport] = []
    naive: list[StormReport] = []
    for seed in seeds:
        ours.append(await run_storm(seed, options))
        naive.append(await run_storm(seed, replace(options, contender="naive")))
    return judge_storms(ours, naive)


def judge_storms(ours: Sequence[StormReport], naive: Sequence[StormReport]) -> list[Figure]:
    failed = ", ".join(str(report.seed) for report in ours if not report.passed)
    note = (
        f"{len(ours)} seeds, {_count_jobs(ours)} jobs; failed seeds: {failed or 'none'}; "
        f"the naive one had {_count_jobs(naive)} jobs"
    )
    kinds = {
        "lost": Kind.LOST,
        "wrong pictures": Kind.WRONG_PICTURE,
        "ledger differences": Kind.LEDGER,
    }
    others = [kind for kind in Kind if kind not in (*kinds.values(), Kind.DUPLICATE)]
    counts = {"duplicates": (_count_duplicates(ours), _count_duplicates(naive))}
    counts |= {name: (_count(ours, kind), _count(naive, kind)) for name, kind in kinds.items()}
    counts[", ".join(others)] = (_count(ours, *others), _count(naive, *others))
    return [
        Figure(
            number="11",
            measure=f"kill storm: {name}",
            result=count,
            goal=Goal(high=0),
            yardstick=Yardstick("naive retry", naive_count),
            note=note,
        )
        for name, (count, naive_count) in counts.items()
    ]


def _count_jobs(reports: Sequence[StormReport]) -> int:
    return sum(sum(report.statuses.values()) for report in reports)


def _count_duplicates(reports: Sequence[StormReport]) -> int:
    return sum(report.duplicate_count for report in reports)


def _count(reports: Sequence[StormReport], *kinds: Kind) -> int:
    return sum(report.count(kind) for report in reports for kind in kinds)
