"""Where a cluster lives and who runs it."""

import contextlib
import hashlib
import os
import pwd
import secrets
from pathlib import Path

from app.embedded.account import Account, choose_account
from app.embedded.binaries import SYSTEM_FOLDER, find_binaries, make_system_folder
from app.embedded.cluster import Cluster
from app.embedded.failure import EmbeddedPostgresError


def open_cluster(data_dir: Path, pg_bin: Path | None) -> Cluster:
    """Find who runs the server, with which programs and where; raises EmbeddedPostgresError."""
    account = choose_account()
    majors = [
        int(path.parents[1].name.removeprefix("postgres-"))
        for path in data_dir.glob("postgres-[1-9][0-9]/data/PG_VERSION")
    ]
    binaries = find_binaries(account, pg_bin, max(majors, default=None))
    return Cluster(_place(data_dir, binaries.major, account), account, binaries)


def _place(data_dir: Path, major: int, account: Account) -> Path:
    """Make the cluster's folder, elsewhere with a link to it if the account cannot enter here."""
    folder = data_dir / f"postgres-{major}"
    mode = 0o711 if account.is_borrowed else 0o700
    if not data_dir.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        data_dir.chmod(mode)
    if not os.path.lexists(folder):
        with contextlib.suppress(FileExistsError):  # another process was faster
            if account.can_enter(data_dir):
                folder.mkdir(mode=mode)
            else:
                folder.symlink_to(_make_elsewhere(folder))
    _refuse_foreign(folder)
    folder.chmod(mode)
    return folder.resolve()


def _make_elsewhere(folder: Path) -> Path:
    """A new folder in root's own place; never an old one, whose link somebody removed."""
    make_system_folder()
    mark = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    elsewhere = SYSTEM_FOLDER / f"{folder.name}-{mark}-{secrets.token_hex(4)}"
    elsewhere.mkdir()
    return elsewhere


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists():
        raise EmbeddedPostgresError(
            f"{folder} points to {folder.readlink()}, which is gone: put it back, or remove the "
            "link to begin with an empty database"
        )
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise EmbeddedPostgresError(
            f"{folder} belongs to {_name_of(owner)} and this is {_name_of(os.geteuid())}: start "
            "it as that user, or choose another folder with DASHGATE_DATA_DIR"
        )


def _name_of(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user id {uid}"
