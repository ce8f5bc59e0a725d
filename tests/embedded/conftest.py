"""A data folder that every account can reach, and the server in it."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded import EmbeddedPostgres
from app.embedded.locks import is_lock_free
from tests.embedded.machine import wait_until


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Not tmp_path: its parents are closed to the account that root's server runs as.
    folder = Path(tempfile.mkdtemp(prefix="dashgate-embedded-"))
    folder.chmod(0o755)
    yield folder
    locks = list(folder.glob("postgres-*/guard.lock"))  # still held if a user was killed
    wait_until(lambda: all(is_lock_free(lock, fcntl.LOCK_SH) for lock in locks))
    shutil.rmtree(folder)


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    postgres = EmbeddedPostgres(data_dir, fsync=False)
    yield postgres
    postgres.stop()
