"""Storms of the model whose upstream makes tasks late, in which a billed task was in no book."""

import random

import pytest

from tests.jobs.core_machine import AHEAD_SECONDS, EngineMachine
from tests.jobs.test_core_machine import STORM_STEPS, check, step

SEEDS = (361, 1041, 1514, 1815, 2734)
"""A job adopted a task that another's create had made, and the upstream denied that task then."""
LATE_LOOKS = (100_659, 106_627, 107_404, 111_756)
"""The look for a job's first create found what its next one made, before that was answered."""


def begin(rng: random.Random) -> EngineMachine:
    machine = EngineMachine()
    is_told = rng.random() < 0.5
    words = rng.choice(("aa", "ab", "aab"))
    machine.begin(is_told, words, "late", rng.choice(AHEAD_SECONDS), rng.random() < 0.7)
    return machine


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_wrong_guess_had_taken_is_booked_for_the_create_that_made_it(seed: int) -> None:
    ride_out(seed)


@pytest.mark.parametrize("seed", LATE_LOOKS)
def test_what_a_late_look_had_taken_is_not_booked_beside_what_was_delivered(seed: int) -> None:
    ride_out(seed)


def ride_out(seed: int) -> None:
    rng = random.Random(seed)
    machine = begin(rng)
    for _ in range(STORM_STEPS):
        step(machine, rng)
        check(machine)
    machine.teardown()


def test_a_task_that_was_denied_while_a_guess_held_it_is_booked() -> None:
    machine = EngineMachine()
    machine.begin(told=True, words="aab", mood="late")
    machine.reply_comes(pick=1)
    machine.reply_is_lost(pick=0, notices=False)
    machine.upstream_takes(pick=0)
    machine.tick(90)
    machine.upstream_takes(pick=0)
    machine.tick(30)
    machine.task_is_denied(pick=1, seconds=9_000)
    machine.reply_comes(pick=0)
    machine.tick(4_000)
    machine.teardown()
