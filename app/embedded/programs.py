"""Finds pg_dump and pg_restore that fit a server, embedded or not."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.embedded.binaries import usual_folders
from app.embedded.failure import EmbeddedPostgresError

VERSION_SECONDS = 20
_OWN_VARIABLES = ("DASHGATE_", "DASHSCOPE_", "DATABASE_URL")


@dataclass(frozen=True, slots=True)
class Program:
    """A client program of Postgres: where it is, and of which version."""

    path: Path
    version: str

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def find_program(name: str, server_major: int, pg_bin: Path | None) -> Program:
    """The program of the server's own version, else of the next newer one that is there.

    In the given folder alone, else on PATH, in the wheel and in the system's folders. An older
    one cannot read a newer server. Raises EmbeddedPostgresError.
    """
    found = [
        program
        for path in dict.fromkeys(_list_places(name, pg_bin))
        if (program := _try(path)) is not None
    ]
    fitting = [program for program in found if program.major >= server_major]
    if fitting:
        return min(fitting, key=lambda program: program.major)
    seen = ", ".join(f"{one.path} is of version {one.version}" for one in found)
    raise EmbeddedPostgresError(
        f"the server is Postgres {server_major} and needs a {name} of version {server_major} or "
        f"later, but {seen or 'there is none'}: install the client programs of Postgres "
        f"{server_major}, or point DASHGATE_PG_BIN at the folder that holds them"
    )


def make_environment(password: str | None) -> dict[str, str]:
    """That of ours without our secrets, and the password where no list of processes shows it."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)
    }
    secret = {} if password is None else {"PGPASSWORD": password}
    return kept | {"LC_ALL": "C"} | secret


def _list_places(name: str, pg_bin: Path | None) -> Iterator[Path]:
    if pg_bin is not None:
        yield pg_bin / name
        return
    on_path = shutil.which(name)
    if on_path is not None:
        yield Path(on_path)
    for folder in usual_folders():
        yield folder / name


def _try(path: Path) -> Program | None:
    """What it says of itself; None where it is not, or does not run."""
    try:
        asked = subprocess.run(  # noqa: S603  # a program that the operator or the wheel brought
            [path, "--version"],
            env=make_environment(None),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\(PostgreSQL\) (\d\S*)", asked.stdout)
    return Program(path, match[1]) if match and asked.returncode == 0 else None
