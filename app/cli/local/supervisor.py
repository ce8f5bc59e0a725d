"""Keeps the processes of one machine running: starts, restarts, and stops them in order."""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from app.cli.output import say

PR_SET_PDEATHSIG = 1
RESTART_SECONDS = (0.2, 1.0, 5.0)
STABLE_SECONDS = 30.0
CHECK_SECONDS = 0.2


@dataclass(slots=True)
class Child:
    """One command of ours in a process of its own."""

    name: str
    arguments: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    failures: int = 0
    output: int | None = field(default=None, repr=False)

    def start(self, environment: Mapping[str, str]) -> None:
        # The child must not outlive its supervisor, even when that is killed.
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "app", *self.arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            preexec_fn=partial(_die_with, os.getpid()),  # noqa: PLW1509
            start_new_session=True,
        )
        self.started_at = time.monotonic()

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class StopSignal:
    """An event that a signal handler may set: setting it takes no lock, unlike threading's."""

    def __init__(self) -> None:
        self._is_set = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def set(self) -> None:
        self._is_set = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"!")

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Wait that long at most; says whether it is set."""
        select.select([self._reader], [], [], seconds)
        return self._is_set


class Supervisor:
    """Runs children until told to stop; a child that ends is started again."""

    def __init__(self, environment: Mapping[str, str], *, grace_seconds: float) -> None:
        self.stopping = StopSignal()
        self._environment = dict(environment)
        self._grace_seconds = grace_seconds
        self._children: list[Child] = []
        self._chores: list[Callable[[], None]] = []

    def add(self, child: Child) -> None:
        child.start(self._environment)
        self._children.append(child)

    def add_chore(self, chore: Callable[[], None]) -> None:
        """Something to look after between two looks at the children."""
        self._chores.append(chore)

    def watch(self) -> None:
        """Look after everything until `stopping` is set."""
        while not self.stopping.wait(CHECK_SECONDS):
            self.look()

    def look(self) -> None:
        """Start again what has ended."""
        for chore in self._chores:
            chore()
        now = time.monotonic()
        for child in self._children:
            if child.is_running:
                continue
            if child.process is not None:
                self._note_end(child, now)
            elif now >= child.restart_at:
                child.start(self._environment)

    def restart_with(self, changes: Mapping[str, str]) -> None:
        """Start every child again in a changed environment."""
        self._environment |= changes
        self.stop()
        for child in self._children:
            child.start(self._environment)

    def stop(self) -> None:
        """End the children, the first started last; kill those that take too long."""
        for child in reversed(self._children):
            if child.process is not None and child.is_running:
                child.process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(self._grace_seconds)
                if child.is_running:
                    child.process.kill()
                    child.process.wait()

    def _note_end(self, child: Child, now: float) -> None:
        assert child.process is not None
        if now - child.started_at > STABLE_SECONDS:
            child.failures = 0
        pause = RESTART_SECONDS[min(child.failures, len(RESTART_SECONDS) - 1)]
        child.failures += 1
        child.restart_at = now + pause
        say(
            f"{child.name} ended with exit code {child.process.returncode}; "
            f"it starts again in {pause:g} s"
        )
        child.process = None


def stop_at_signals(supervisor: Supervisor) -> None:
    """Let Ctrl-C, a closed terminal or SIGTERM end `watch`."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.stopping.set())


def _die_with(supervisor_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != supervisor_pid:
            os._exit(1)
