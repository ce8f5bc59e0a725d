"""Clocks of storms: a process may have its own, and the program reads it in one place only."""

import multiprocessing
import re
from datetime import UTC, datetime
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest

from app.bench.storm.contenders.dashgate import Dashgate
from app.bench.storm.crew import set_clock_ahead
from app.bench.storm.plan import Clocks
from app.kit.clock import utc_now
from app.kit.ids import make_uuid7

APP = Path(__file__).resolve().parents[2] / "app"
READS_WALL_CLOCK = re.compile(
    r"datetime\.(?:now|utcnow|today)\(|date\.today\(|\btime\.(?:time|time_ns|localtime|gmtime)\("
    r"|CLOCK_REALTIME"
)


def tell_time(ahead_seconds: float, answers: "SimpleQueue[float]") -> None:
    """In a process of its own: how far what the program takes for the time is ahead."""
    set_clock_ahead(ahead_seconds)
    now = datetime.now(UTC)
    answers.put((utc_now() - now).total_seconds())
    answers.put((make_uuid7().int >> 80) / 1000 - now.timestamp())


@pytest.mark.parametrize("ahead_seconds", [300.0, -300.0, 0.0])
def test_a_process_takes_another_time_for_the_true_one(ahead_seconds: float) -> None:
    forks = multiprocessing.get_context("forkserver")
    answers: SimpleQueue[float] = forks.SimpleQueue()
    process = forks.Process(target=tell_time, args=(ahead_seconds, answers))

    process.start()
    told = [answers.get() for _ in range(2)]
    process.join()

    assert told == [pytest.approx(ahead_seconds, abs=0.5)] * 2
    assert abs((utc_now() - datetime.now(UTC)).total_seconds()) < 0.5


def test_only_the_kits_clock_reads_the_wall_clock() -> None:
    moved = APP / "bench" / "storm" / "crew.py"
    readers = {
        path.relative_to(APP).as_posix()
        for path in APP.rglob("*.py")
        if path != moved and READS_WALL_CLOCK.search(path.read_text())
    }

    assert readers - {"bench/rig/crowd.py"} == {"kit/clock.py"}


def test_each_process_of_a_gateway_has_a_clock_of_its_own(tmp_path: Path) -> None:
    clocks = Clocks(upstream=-20.0, processes=(300.0, -250.0, 40.0))
    contender = Dashgate("postgresql://none", "http://none", tmp_path, (8080, 8081), 1, clocks)

    ahead = {name: each.clock_ahead_seconds for name, each in contender.commands.items()}

    assert ahead == {"api-0": 300.0, "api-1": -250.0, "worker-0": 40.0}
