"""Fault points: silent unless armed, deadly at the passing that was asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.kit.faultpoints import EXIT_CODE, FAULTPOINTS, VARIABLE, Fuse, faultpoint

ROOT = Path(__file__).resolve().parents[2]
PASS_THREE_TIMES = """
from app.kit.faultpoints import faultpoint
for passing in (1, 2, 3):
    faultpoint("create.answered")
    print(passing, flush=True)
"""


def run(armed: str | None) -> tuple[int, str]:
    """Exit code and output of a process that passes one point three times."""
    environment = {"PYTHONPATH": str(ROOT)} | ({} if armed is None else {VARIABLE: armed})
    ended = subprocess.run(
        [sys.executable, "-c", PASS_THREE_TIMES],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, " ".join(ended.stdout.split())


def test_nothing_happens_in_a_process_that_was_not_told_to_die() -> None:
    for name in FAULTPOINTS:
        faultpoint(name)


@pytest.mark.parametrize(
    ("armed", "ending"),
    [
        (None, (0, "1 2 3")),
        ("create.answered", (EXIT_CODE, "")),
        ("create.answered:3", (EXIT_CODE, "1 2")),
        ("create.answered:4", (0, "1 2 3")),
        ("create.before_post", (0, "1 2 3")),
    ],
)
def test_a_process_dies_where_it_was_told_to(armed: str | None, ending: tuple[int, str]) -> None:
    assert run(armed) == ending


@pytest.mark.parametrize("armed", ["nowhere", "create.answered:0", "create.answered:soon"])
def test_a_place_that_is_not_there_is_refused(armed: str) -> None:
    with pytest.raises(ValueError, match=VARIABLE):
        Fuse.of({VARIABLE: armed})


def test_every_point_is_placed_once() -> None:
    text = "".join(path.read_text() for path in (ROOT / "app" / "jobs").rglob("*.py"))

    assert {name: text.count(f'faultpoint("{name}")') for name in FAULTPOINTS} == dict.fromkeys(
        FAULTPOINTS, 1
    )
