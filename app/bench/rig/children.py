"""Processes of ours that a measure starts, watches and ends."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
STOP_SECONDS = 20.0
READY_SECONDS = 30.0
READY_STEP_SECONDS = 0.05
LOG_TAIL_LINES = 20


class ChildEnded(RuntimeError):
    """A process that should run has ended; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Child:
    """One process and its log."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def resident_bytes(self) -> int:
        """What it holds of the machine's memory; Linux only."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def check(self) -> None:
        """Raises ChildEnded unless it runs."""
        if self.process.poll() is not None:
            raise ChildEnded("\n".join([f"{self.name} has ended:", *self.tail()]))

    def tail(self) -> list[str]:
        """The last lines of its log."""
        return self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]

    async def wait_for_port(self, port: int) -> None:
        """Return when it listens there; raises ChildEnded or TimeoutError."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            self.check()
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} did not listen within {READY_SECONDS:.0f} s")
            await asyncio.sleep(READY_STEP_SECONDS)

    async def stop(self) -> None:
        """Ask it to end; kill it when it takes too long."""
        self.process.terminate()
        try:
            await asyncio.to_thread(self.process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)


def start_child(
    name: str, module: str, *arguments: str, folder: Path, environment: Mapping[str, str]
) -> Child:
    """`python -m module arguments`, with only that environment and what Python needs."""
    log_path = folder / f"{name}.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  # modules of this package only
            [sys.executable, "-m", module, *arguments],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Child(name, log_path, process)
