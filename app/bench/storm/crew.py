"""The processes of a storm: real ones, forked from one that has the program loaded already."""

import asyncio
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from app.emulator import EmulatorOptions, serve_emulator
from app.kit import clock

PRELOADED = [
    "app.cli",
    "app.main",
    "app.worker",
    "app.emulator",
    "app.bench.storm.contenders.contract",
]
END_SECONDS = 10.0

# Starting a Python and importing the program takes longer than a process lives in a storm.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True, slots=True)
class Command:
    """`python -m module arguments`, on a machine whose clock may be off."""

    module: str
    arguments: tuple[str, ...] = ()
    clock_ahead_seconds: float = 0.0


class Crew:
    """Processes by name, each started again under its name with the same command."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._commands: dict[str, Command] = {}
        self._processes: dict[str, ForkServerProcess] = {}
        self._restarting: set[str] = set()

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._commands)

    def start(self, name: str, command: Command | None = None) -> None:
        self._commands[name] = command = command or self._commands[name]
        log = self._folder / f"{name}.log"
        process = _forks.Process(
            target=_run, args=(command, self._environment, str(log)), name=name
        )
        process.start()
        self._processes[name] = process

    def has_ended(self, name: str) -> bool:
        """Whether it is gone, and nobody is starting it again."""
        return name not in self._restarting and not self._processes[name].is_alive()

    def send(self, name: str, number: signal.Signals) -> None:
        process = self._processes[name]
        if process.pid is not None and process.is_alive():
            with suppress(ProcessLookupError):  # it has died this very moment
                os.kill(process.pid, number)

    async def end(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send the signal and wait until the process is gone; killed if it does not go."""
        self.send(name, number)
        process = self._processes[name]
        await asyncio.to_thread(process.join, END_SECONDS)
        if process.is_alive():
            process.kill()
            await asyncio.to_thread(process.join)

    async def restart(self, name: str) -> None:
        """Kill it, unless it is just being restarted, and start it again."""
        if name in self._restarting:
            return
        self._restarting.add(name)
        try:
            await self.end(name)
            self.start(name)
        finally:
            self._restarting.discard(name)

    async def close(self) -> None:
        """Kill everybody."""
        await asyncio.gather(*(self.end(name) for name in self._processes))


class UpstreamProcess:
    """The emulator as a process of its own, which nobody kills."""

    def __init__(self, options: EmulatorOptions, port: int, log: Path) -> None:
        self._process = _forks.Process(
            target=_serve_upstream, args=(options, port, str(log)), name="upstream"
        )

    def start(self) -> None:
        self._process.start()

    def is_alive(self) -> bool:
        return self._process.is_alive()

    async def close(self) -> None:
        self._process.kill()
        await asyncio.to_thread(self._process.join)


def set_clock_ahead(seconds: float) -> None:
    """Let `utc_now` be that far ahead in this process, for whoever has imported it already too.

    Waiting goes by other clocks and is left alone, as on a machine whose time is merely wrong.
    """
    ahead = timedelta(seconds=seconds)

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + ahead

    vars(clock)["datetime"] = Ahead


def _run(command: Command, environment: Mapping[str, str], log: str) -> None:
    """Become that command, as if it had been started from a shell."""
    _redirect(log)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(Path(log).parent)
    sys.argv = [command.module, *command.arguments]
    set_clock_ahead(command.clock_ahead_seconds)
    runpy.run_module(command.module, run_name="__main__", alter_sys=True)


def _serve_upstream(options: EmulatorOptions, port: int, log: str) -> None:
    _redirect(log)
    serve_emulator(options, port=port)


def _redirect(log: str) -> None:
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
