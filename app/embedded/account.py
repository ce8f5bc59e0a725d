"""The system account that the server runs as: our own, or an unprivileged one for root."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from app.embedded.failure import EmbeddedPostgresError

UNPRIVILEGED_NAMES = ("postgres", "nobody")
STEP_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Account:
    """Who runs the server's programs; `is_borrowed` when that is not ourselves."""

    uid: int
    gid: int
    is_borrowed: bool

    def run(self, *command: str | Path, text_in: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program as this account, away from our folder and environment; raises OSError."""
        return subprocess.run(  # noqa: S603  # programs of this package's choice only
            command,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            input=text_in,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=STEP_TIMEOUT_SECONDS,
            check=False,
            user=self.uid if self.is_borrowed else None,
            group=self.gid if self.is_borrowed else None,
            extra_groups=[] if self.is_borrowed else None,
        )

    def can_enter(self, folder: Path) -> bool:
        """Whether this account gets through every parent; tried, since modes do not tell all."""
        if not self.is_borrowed:
            return True
        return self.run("/bin/sh", "-c", 'cd "$0"', folder).returncode == 0

    def own(self, path: Path) -> None:
        if self.is_borrowed:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def choose_account() -> Account:
    """Ourselves, or for root `postgres` or else `nobody`; raises EmbeddedPostgresError."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), is_borrowed=False)
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in UNPRIVILEGED_NAMES:
        if name in known:
            return Account(known[name].pw_uid, known[name].pw_gid, is_borrowed=True)
    raise EmbeddedPostgresError(
        "Postgres refuses to run as root and the system has neither a user `postgres` nor "
        "`nobody`: add one, start as an ordinary user, or set DATABASE_URL"
    )
