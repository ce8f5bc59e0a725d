"""What the tests do to servers and processes from outside."""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

ROOT = Path(__file__).resolve().parents[2]
MEMBER = Path(__file__).with_name("member.py").relative_to(ROOT)
EMBEDDED = [part.relative_to(ROOT) for part in (ROOT / "app/embedded").glob("*.py")]
DEADLINE_SECONDS = 30


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


async def query(dsn: str, sql: str) -> object:
    """The first value of the first row."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def server_folder(data_dir: Path) -> Path:
    return next(data_dir.glob("postgres-*")).resolve()


def server_pid(data_dir: Path) -> int:
    pid_file = server_folder(data_dir) / "data" / "postmaster.pid"
    return int(pid_file.read_text().splitlines()[0])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_running(pid: int) -> bool:
    """Whether the process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid))


class Member:
    """Another process that uses the database; it leaves when told."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def answer(self) -> str:
        """The next line it prints: its URL, or why there is none."""
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], DEADLINE_SECONDS)
        assert ready, "the process said nothing in time"
        return self.process.stdout.readline().strip()

    def leave(self) -> None:
        self.process.communicate(timeout=DEADLINE_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def member(
    data_dir: Path, *, python: str = sys.executable, pg_bin: Path | None = None, uid: int = 0
) -> Iterator[Member]:
    """Start one, as another user when `uid` is given (root only)."""
    with _program(is_for_others=bool(uid)) as root:
        process = subprocess.Popen(
            [python, root / MEMBER, root, data_dir, *([pg_bin] if pg_bin else [])],
            cwd="/",
            env={"HOME": "/nonexistent"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            user=uid or None,
            group=uid or None,
            extra_groups=[] if uid else None,
        )
        with process:
            try:
                yield Member(process)
            finally:
                process.kill()


@contextmanager
def _program(*, is_for_others: bool) -> Iterator[Path]:
    """The checkout; for others a copy of what they need, for it may lie in a private folder."""
    if not is_for_others:
        yield ROOT
        return
    with tempfile.TemporaryDirectory(prefix="dashgate-embedded-") as copy:
        for part in (Path("app/__init__.py"), *EMBEDDED, MEMBER):
            (copy / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / part, copy / part)
        for path in (Path(copy), *Path(copy).rglob("*")):
            path.chmod(0o755)
        yield Path(copy)
