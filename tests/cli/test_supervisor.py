"""The supervisor's stop signal, and the children it keeps."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from app.cli.local.supervisor import Child, StopSignal, Supervisor

DEADLINE_SECONDS = 20.0

SIGNALED_WAITER = """
import os, signal
from app.cli.local.supervisor import Supervisor, stop_at_signals
supervisor = Supervisor({}, grace_seconds=1)
stop_at_signals(supervisor)
print("ready", flush=True)
while not supervisor.stopping.wait(0.00001):
    pass
"""


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor({**os.environ, "DASHGATE_NO_SETUP": "1"}, grace_seconds=5)
    yield made
    made.stop()


def emulator_child(port: int = 0) -> Child:
    return Child("the emulator", ("emulator", "--port", str(port)), output=subprocess.DEVNULL)


def until_deadline() -> Iterator[None]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        yield
        time.sleep(0.01)
    pytest.fail("it did not come to pass in time")


def test_wait_ends_at_once_when_the_signal_is_set() -> None:
    stopping = StopSignal()
    stopping.set()

    began_at = time.monotonic()

    assert stopping.wait(DEADLINE_SECONDS)
    assert time.monotonic() - began_at < 1


def test_wait_ends_unset_after_its_time() -> None:
    assert not StopSignal().wait(0.001)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_the_middle_of_a_wait_never_hangs_it(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SIGNALED_WAITER], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)

        assert process.wait(DEADLINE_SECONDS) == 0


def test_a_killed_child_is_started_again(supervisor: Supervisor) -> None:
    child = emulator_child()
    supervisor.add(child)
    assert child.process is not None
    first = child.process
    first.kill()
    first.wait()

    for _ in until_deadline():
        supervisor.look()
        if child.process is not None and child.process is not first and child.is_running:
            break

    assert child.process.pid != first.pid


def test_stop_ends_every_child(supervisor: Supervisor) -> None:
    child = emulator_child()
    supervisor.add(child)

    supervisor.stop()

    assert not child.is_running
