"""The engine's rules against an upstream that loses answers, in thousands of orders of events."""

import random

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.jobs.core_machine import (
    AHEAD_SECONDS,
    JOBS_LIMIT,
    LAGS_SECONDS,
    LIES,
    MOODS,
    EngineMachine,
)

STORMS = 50
STORM_STEPS = 60
WEIGHTS = {
    "tick": 6,
    "submit": 2,
    "cancel": 0.5,
    "take": 6,
    "reply": 3,
    "lose": 4,
    "move": 8,
    "deny": 0.5,
    "lie": 4,
}

EngineMachine.TestCase.settings = settings(
    max_examples=300,
    stateful_step_count=30,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestEngine = EngineMachine.TestCase


@pytest.mark.parametrize("seed", range(9))
def test_the_rules_hold_through_long_storms(seed: int) -> None:
    """Deeper than chance alone gets: what matters happens more often, hundreds of times over."""
    rng = random.Random(seed)
    for _ in range(STORMS):
        machine = EngineMachine()
        words = rng.choice(("aa", "ab", "aab"))
        ahead = rng.choice(AHEAD_SECONDS)
        machine.begin(rng.random() < 0.5, words, MOODS[seed % 3], ahead, rng.random() < 0.7)
        for _ in range(STORM_STEPS):
            step(machine, rng)
            check(machine)
        machine.teardown()


def step(machine: EngineMachine, rng: random.Random) -> None:  # noqa: PLR0912
    """One event, if it is possible now, by how often it should happen."""
    (kind,) = rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))
    pick = rng.randrange(12)
    if kind == "tick":
        machine.tick(rng.choice((1, 30, 30, 90, 4_000)))
    elif kind == "submit" and len(machine.active()) < JOBS_LIMIT:
        machine.submit(rng.choice("aab"), rng.choice((1, 1, 2)))
    elif kind == "cancel" and machine.stoppable():
        machine.cancel(pick)
    elif kind == "take" and machine.open_posts():
        machine.upstream_takes(pick)
    elif kind == "reply" and machine.silent_posts():
        machine.reply_comes(pick)
    elif kind == "lose" and machine.silent_posts():
        machine.reply_is_lost(pick, rng.random() < 0.5)
    elif kind == "move" and machine.unfinished():
        machine.task_moves(pick, rng.random() < 0.15)
    elif kind == "deny" and machine.upstream.tasks:
        machine.task_is_denied(pick, rng.choice((30, 600, 9_000)))
    elif kind == "lie" and machine.in_doubt():
        machine.list_lies(rng.choice(LIES), rng.choice(LAGS_SECONDS), pick, rng.choice((2, 10)))


def check(machine: EngineMachine) -> None:
    machine.each_lane_has_one_create_under_way()
    machine.slots_are_not_passed()
    machine.a_job_is_billed_once_at_most()
    machine.nobody_is_given_anothers_pictures()
    machine.no_task_belongs_to_two_jobs()
