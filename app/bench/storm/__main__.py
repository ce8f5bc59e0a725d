"""`python -m app.bench.storm --seeds 1-50`: storms one after the other, a line for each.

A storm waits more than it works: two cores bear two commands side by side, such as 1-25 and 26-50.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from app.bench.storm.check import Kind
from app.bench.storm.options import StormOptions
from app.bench.storm.report import StormReport
from app.bench.storm.run import run_storm
from app.bench.storm.weather import HARDSHIPS


def parse_seeds(text: str) -> range:
    """`"7"` or `"1-50"`; ArgumentTypeError when it is neither."""
    first, _, last = text.partition("-")
    if not (
        first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first)
    ):
        raise argparse.ArgumentTypeError(
            f"seeds are one number or from-to, such as 1-50: {text!r}"
        )
    return range(int(first), int(last or first) + 1)


def main() -> int:
    """Run the storms; the exit code says whether all were ridden out."""
    arguments = _make_parser().parse_args()
    options = StormOptions(
        jobs=arguments.jobs,
        workers=arguments.workers,
        storm_seconds=arguments.storm_seconds,
        calm_seconds=arguments.calm_seconds,
        contender=arguments.contender,
        is_calm=arguments.calm,
        clock_seconds=arguments.clock_seconds,
        without=frozenset(arguments.without),
        logs=arguments.logs,
    )
    reports = asyncio.run(_run_all(arguments.seeds, options))
    _say(_total(reports))
    return 0 if all(report.passed for report in reports) else 1


async def _run_all(seeds: range, options: StormOptions) -> list[StormReport]:
    reports = []
    for seed in seeds:
        reports.append(await run_storm(seed, options))
        _say(reports[-1].explain())
    return reports


def _total(reports: Sequence[StormReport]) -> str:
    jobs = sum(sum(report.statuses.values()) for report in reports)
    duplicates = sum(report.duplicate_count for report in reports)
    counts = ", ".join(f"{kind} {sum(report.count(kind) for report in reports)}" for kind in Kind)
    failed = [str(report.seed) for report in reports if not report.passed]
    return (
        f"{len(reports)} storms, {jobs} jobs: duplicates {duplicates}; wrong: {counts}; "
        f"failed seeds: {', '.join(failed) or 'none'}"
    )


def _make_parser() -> argparse.ArgumentParser:
    plain = StormOptions()
    parser = argparse.ArgumentParser(prog="python -m app.bench.storm", description=__doc__)
    parser.add_argument("--seeds", type=parse_seeds, default=range(1, 4), help="1-50, or one")
    parser.add_argument("--jobs", type=int, default=plain.jobs)
    parser.add_argument("--workers", type=int, default=plain.workers)
    parser.add_argument("--storm-seconds", type=float, default=plain.storm_seconds)
    parser.add_argument("--calm-seconds", type=float, default=plain.calm_seconds)
    parser.add_argument("--contender", choices=("dashgate", "naive"), default=plain.contender)
    parser.add_argument("--calm", action="store_true", help="no blows and no errors")
    parser.add_argument("--clock-seconds", type=float, default=plain.clock_seconds)
    parser.add_argument(
        "--without", choices=HARDSHIPS, action="append", default=[], help="repeatable"
    )
    parser.add_argument("--logs", type=Path, help="folder that keeps the processes' logs")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
