"""The folder of one database cluster: made whole or not at all, with its password and settings."""

import os
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from app.embedded.account import Account
from app.embedded.binaries import Binaries
from app.embedded.failure import EmbeddedPostgresError, explain

NAME = "dashgate"  # of the superuser and of the database
HOST = "127.0.0.1"
LOG_BYTES_MAX = 4 * 1024 * 1024

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "max_logical_replication_workers": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "idle_in_transaction_session_timeout": "60s",
    # Failed statements and the rows they name stay out of the log.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}
# Loses data with the machine's power, though not by kill -9: commits still reach the kernel.
UNSAFE_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Cluster:
    """One cluster on disk: `data` is the server's own, all else here is ours."""

    folder: Path
    account: Account
    binaries: Binaries

    @property
    def pgdata(self) -> Path:
        return self.folder / "data"

    @property
    def password_file(self) -> Path:
        return self.folder / "password"

    @property
    def settings_file(self) -> Path:
        return self.folder / "postgresql.conf"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def dsn(self, port: int) -> str:
        return f"postgresql://{NAME}:{self.password_file.read_text()}@{HOST}:{port}/{NAME}"

    def make_once(self, *, fsync: bool) -> None:
        """Create the database unless it is there; an interrupted try leaves nothing behind."""
        if self.pgdata.exists():
            self._refuse_other_version()
            return
        draft = self.folder / "data.draft"
        if draft.exists():
            shutil.rmtree(draft)
        self.password_file.unlink(missing_ok=True)
        try:
            self._write(self.password_file, secrets.token_urlsafe(24), mode=0o600)
            self.account.own(self.password_file)
            draft.mkdir(mode=0o700)
            self.account.own(draft)
            self._initialise(draft, fsync=fsync)
            draft.rename(self.pgdata)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def write_settings(self, port: int, *, fsync: bool) -> None:
        """Write what the server reads at its start, outside the folder that it may write to."""
        access = self.folder / "pg_hba.conf"
        self._write(access, f"host all all {HOST}/32 scram-sha-256\n", mode=0o644)
        settings = SETTINGS | {"hba_file": str(access), "port": str(port)}
        settings |= {} if fsync else UNSAFE_SETTINGS
        lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
        text = "\n".join([f"include {_quoted(str(self.pgdata / 'postgresql.conf'))}", *lines, ""])
        self._write(self.settings_file, text, mode=0o644)

    def trim_log(self) -> int:
        """Put a long log aside; return the length of the present one in bytes."""
        length = self.log.stat().st_size if self.log.exists() else 0
        if length > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
            return 0
        return length

    def choose_port(self) -> int:
        """The port of the last start while it is free, else any free one."""
        path = self.folder / "port"
        remembered = int(path.read_text()) if path.exists() else 0
        port = _find_free_port(remembered) or _find_free_port(0)
        if port is None:
            raise EmbeddedPostgresError(f"no free port on {HOST}: end some programs that listen")
        if port != remembered:
            self._write(path, str(port), mode=0o644)
        return port

    def _initialise(self, draft: Path, *, fsync: bool) -> None:
        access = ("--username", NAME, "--auth", "scram-sha-256", "--pwfile", self.password_file)
        kind = ["--encoding", "UTF8", "--locale", "C", "--data-checksums"]
        if self.binaries.major >= 17:
            kind += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        if not fsync:
            kind += ["--no-sync"]
        outcome = self.account.run(self.binaries.initdb, "-D", draft, *access, *kind)
        if outcome.returncode == 0:
            alone = (self.binaries.postgres, "--single", "-D", draft, "postgres")
            outcome = self.account.run(*alone, text_in=f"CREATE DATABASE {NAME}\n")
        if outcome.returncode or "ERROR:" in outcome.stdout:
            raise explain("creating the database", self.folder, outcome.stdout)

    def _refuse_other_version(self) -> None:
        found = (self.pgdata / "PG_VERSION").read_text().strip()
        if found != str(self.binaries.major):
            raise EmbeddedPostgresError(
                f"{self.pgdata} was made by Postgres {found} and the server found is "
                f"{self.binaries.version}: point DASHGATE_PG_BIN at the programs of {found}, or "
                "move that folder away to begin with an empty database"
            )

    @staticmethod
    def _write(path: Path, text: str, *, mode: int) -> None:
        draft = path.with_name(f"{path.name}.draft")
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
        draft.chmod(mode)
        draft.replace(path)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _find_free_port(port: int) -> int | None:
    with socket.socket() as probe:
        # As the server does: a port that only waits out its old connections is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return None
        return int(probe.getsockname()[1])
