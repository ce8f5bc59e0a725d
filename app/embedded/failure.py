"""What can go wrong with the embedded Postgres, in words for the person who started it."""

import re
from pathlib import Path

DISK_FULL = "the disk is full: free at least 200 MB there"
KNOWN_CAUSES = {
    "No space left on device": DISK_FULL,
    "Check free disk space": DISK_FULL,
    "Disk quota exceeded": "the disk quota is used up: free at least 200 MB there",
    "Read-only file system": "the disk is read-only: make it writable",
    "could not look up effective user ID": "this user id has no name in the system's user list: "
    "add it to /etc/passwd",
    "Operation not permitted": "this process may not change its user: run it as another one",
    "Permission denied": "this user may not use it: give the user that folder",
    "could not resize shared memory segment": "the system's shared memory is too small: "
    "enlarge the file system for it",
    "error while loading shared libraries": "the Postgres programs lack a system library: install "
    "Postgres from your system's packages",
}
CHOICES = (
    "; or choose another folder with DASHGATE_DATA_DIR, or a server of your own with DATABASE_URL"
)


class EmbeddedPostgresError(Exception):
    """The embedded Postgres cannot run: one sentence that says what, where and what to do."""


def explain(happened: str, where: Path, evidence: str | OSError) -> EmbeddedPostgresError:
    """Turn what a program printed or the system refused into an error with a way out."""
    text = str(evidence)
    known = (cause for sign, cause in KNOWN_CAUSES.items() if sign in text)
    return EmbeddedPostgresError(
        f"{happened} in {where}: {next(known, None) or _telling_line(text)}{CHOICES}"
    )


def _telling_line(text: str) -> str:
    lines = text.strip().splitlines() or ["it said nothing"]
    complaints = [line for line in lines if re.search(r"(FATAL|PANIC|ERROR|error): ", line)]
    return (complaints or lines)[-1]
