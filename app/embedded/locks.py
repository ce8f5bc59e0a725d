"""File locks that say who uses a cluster; the kernel drops those of a process that dies."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from app.embedded.failure import EmbeddedPostgresError

POLL_SECONDS = 0.005
WAIT_SECONDS = 180  # more than another process needs for its first start, or to shut down


def take_lock(path: Path, how: int) -> int:
    """Lock a file and leave it open; closing gives it back. Raises EmbeddedPostgresError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(file)
                raise EmbeddedPostgresError(
                    f"{path} was held by another process for {WAIT_SECONDS} s: look for a "
                    "Dashgate that hangs"
                ) from None
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Be the only one in here; raises EmbeddedPostgresError."""
    file = take_lock(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(file)


def is_lock_free(path: Path, how: int) -> bool:
    """Whether the lock could be had this very moment; it is given back at once."""
    if not path.exists():
        return True
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True
