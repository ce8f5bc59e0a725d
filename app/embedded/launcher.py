"""Starts, shares, watches and stops the embedded Postgres.

Every user of a data folder holds a shared lock on it; a guard process of its own runs the server
until that lock is free. So the first user may leave before the second, `kill -9` of a user counts
as leaving, and the server never outlives its users.
"""

import contextlib
import fcntl
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Self

from app.embedded.cluster import Cluster
from app.embedded.failure import EmbeddedPostgresError, explain
from app.embedded.locks import POLL_SECONDS, hold_lock, is_lock_free, take_lock
from app.embedded.place import open_cluster

GUARD = Path(__file__).with_name("guard.py")
START_SECONDS = 120  # covers the recovery after a crash
STOP_SECONDS = 75  # more than the guard gives a fast and then an immediate shutdown
RETRY_SECONDS = 0.1
LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND
# A port taken meanwhile, and what is left of a killed server: both pass within moments.
PASSING_SIGNS = (
    "Address already in use",
    "could not create any TCP/IP sockets",
    "is still in use",
    'lock file "postmaster.pid" already exists',
)


class EmbeddedPostgres:
    """A server for one data folder, shared by every process that starts it there.

    Not thread-safe; call it from the one place that supervises.
    """

    def __init__(self, data_dir: Path, *, pg_bin: Path | None = None, fsync: bool = True) -> None:
        self._data_dir = Path(os.path.abspath(data_dir))
        self._pg_bin = pg_bin
        self._fsync = fsync
        self._cluster: Cluster | None = None
        self._membership: int | None = None
        self._guard_pid: int | None = None

    def __repr__(self) -> str:
        return f"EmbeddedPostgres({str(self._data_dir)!r})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> str:
        """Join the running server or start one; return its URL. Raises EmbeddedPostgresError."""
        try:
            cluster = self._cluster or open_cluster(self._data_dir, self._pg_bin)
            self._cluster = cluster
            if self._membership is None:
                self._membership = take_lock(cluster.folder / "users.lock", fcntl.LOCK_SH)
            with hold_lock(cluster.folder / "start.lock"):
                port = self._find_port() if self.is_alive() else None
                return cluster.dsn(port or self._launch(cluster))
        except OSError as failure:
            self.stop()
            raise explain("starting the embedded Postgres", self._data_dir, failure) from failure
        except EmbeddedPostgresError:
            self.stop()
            raise

    def ensure(self) -> str:
        """The URL of a server that runs: started anew, maybe on another port, if it was killed."""
        return self.start()

    def is_alive(self) -> bool:
        """Whether the server that start() joined or started still runs."""
        if self._cluster is None:
            return False
        self._reap_guard()
        return not is_lock_free(self._cluster.folder / "guard.lock", fcntl.LOCK_SH)

    def stop(self) -> None:
        """Leave the server; if nobody else uses it, return when it has shut down."""
        if self._membership is None or self._cluster is None:
            return
        os.close(self._membership)
        self._membership = None
        users = self._cluster.folder / "users.lock"
        # Free for all: nobody is left. Free for none: the guard has it and is shutting down.
        if not is_lock_free(users, fcntl.LOCK_EX) and is_lock_free(users, fcntl.LOCK_SH):
            return
        deadline = time.monotonic() + STOP_SECONDS
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def erase(self) -> None:
        """Stop the server and delete the database for good; raises EmbeddedPostgresError."""
        self.stop()
        if self._cluster is None:
            return
        if self.is_alive():
            raise EmbeddedPostgresError(
                f"{self._cluster.folder} is in use by another process: stop that one first"
            )
        link = self._data_dir / f"postgres-{self._cluster.binaries.major}"
        shutil.rmtree(self._cluster.folder)
        if link.is_symlink():
            link.unlink()
        self._cluster = None

    def _launch(self, cluster: Cluster) -> int:
        """Start a guard with its server and return the port; raises as start() does."""
        cluster.make_once(fsync=self._fsync)
        deadline = time.monotonic() + START_SECONDS
        while True:
            cluster.write_settings(cluster.choose_port(), fsync=self._fsync)
            log_length = cluster.trim_log()
            self._spawn_guard(cluster)
            if port := self._find_port():
                return port
            with cluster.log.open(encoding="utf-8", errors="replace") as log:
                log.seek(log_length)
                said = log.read()
            if not any(sign in said for sign in PASSING_SIGNS) or time.monotonic() > deadline:
                raise explain("starting the server", cluster.folder, said)
            time.sleep(RETRY_SECONDS)

    def _spawn_guard(self, cluster: Cluster) -> None:
        guard_lock = cluster.folder / "guard.lock"
        os.close(os.open(guard_lock, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        guard = (sys.executable, "-I", "-S", GUARD, cluster.folder / "users.lock", guard_lock)
        identity = (str(cluster.account.uid), str(cluster.account.gid))
        settings = f"config_file={cluster.settings_file}"
        server = (cluster.binaries.postgres, "-D", cluster.pgdata, "-c", settings)
        self._guard_pid = os.posix_spawn(
            sys.executable,
            (*guard, *identity, *server),
            {"LC_ALL": "C"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, cluster.log, LOG_FLAGS, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )

    def _find_port(self) -> int | None:
        """Wait for the guard to write the port; None if the server ended before."""
        assert self._cluster is not None
        written = self._cluster.folder / "guard.lock"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._reap_guard()
            if self._guard_pid is None and is_lock_free(written, fcntl.LOCK_SH):
                return None
            if (text := written.read_text()).endswith("\n"):
                return int(text)
            time.sleep(POLL_SECONDS)
        raise EmbeddedPostgresError(
            f"the server in {self._cluster.folder} was not ready within {START_SECONDS} s: look "
            f"into {self._cluster.log}"
        )

    def _reap_guard(self) -> None:
        if self._guard_pid is not None:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(self._guard_pid, os.WNOHANG) == (0, 0):
                    return
            self._guard_pid = None
