"""What cannot work ends in one clear error and leaves nothing half-made."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.embedded.machine import server_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
MountDisk = Callable[[str], None]


@pytest.fixture
def mount_disk(data_dir: Path) -> Iterator[MountDisk]:
    """Put a disk of its own under the data folder, and change its options later."""

    def mount(options: str) -> None:
        command = ("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(data_dir))
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        if outcome.returncode:
            pytest.skip(f"cannot mount here: {outcome.stderr.strip()}")

    yield mount
    subprocess.run(["umount", data_dir], capture_output=True, check=False)


@as_root
def test_a_full_disk_is_named_and_leaves_room_for_the_next_try(
    server: EmbeddedPostgres, data_dir: Path, mount_disk: MountDisk
) -> None:
    mount_disk("size=20m,mode=755")
    with pytest.raises(EmbeddedPostgresError, match=r"the disk is full: free at least 200 MB"):
        server.start()
    assert not list(server_folder(data_dir).glob("data*"))

    mount_disk("remount,size=400m")

    server.start()
    server.stop()


@as_root
def test_a_read_only_disk_is_named(
    server: EmbeddedPostgres, data_dir: Path, mount_disk: MountDisk
) -> None:
    mount_disk("size=200m,mode=755")
    server.start()
    server.stop()
    mount_disk("remount,ro")

    with pytest.raises(EmbeddedPostgresError, match=r"the disk is read-only.*DASHGATE_DATA_DIR"):
        server.start()


def test_data_of_another_version_is_refused_untouched(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    server.start()
    server.stop()
    version = server_folder(data_dir) / "data" / "PG_VERSION"
    version.write_text("14\n")

    with pytest.raises(EmbeddedPostgresError, match=r"made by Postgres 14.*DASHGATE_PG_BIN"):
        server.start()

    assert version.read_text() == "14\n"


def test_a_folder_of_an_older_major_is_not_passed_over_for_an_empty_database(
    data_dir: Path,
) -> None:
    (data_dir / "postgres-12" / "data").mkdir(parents=True)
    (data_dir / "postgres-12" / "data" / "PG_VERSION").write_text("12\n")

    with pytest.raises(EmbeddedPostgresError, match="of version 12, which made the data"):
        EmbeddedPostgres(data_dir).start()

    assert [path.name for path in data_dir.iterdir()] == ["postgres-12"]


def test_programs_that_are_not_there_are_asked_for(data_dir: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"no Postgres 15 or later.*/nowhere"):
        EmbeddedPostgres(data_dir, pg_bin=Path("/nowhere")).start()


def test_programs_too_old_are_refused_by_version(data_dir: Path) -> None:
    old = data_dir / "bin"
    old.mkdir()
    (old / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n")
    (old / "postgres").chmod(0o755)

    with pytest.raises(EmbeddedPostgresError, match=r"bin \(14\.9\)"):
        EmbeddedPostgres(data_dir, pg_bin=old).start()


def test_a_server_that_will_not_start_is_quoted(server: EmbeddedPostgres, data_dir: Path) -> None:
    server.start()
    server.stop()
    settings = server_folder(data_dir) / "data" / "postgresql.conf"
    settings.write_text(settings.read_text() + "work_mem = 'plenty'\n")

    with pytest.raises(EmbeddedPostgresError, match=r"starting the server in .*FATAL.*errors"):
        server.start()

    assert not server.is_alive()


def test_a_link_to_a_lost_database_is_not_taken_for_a_first_start(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    server.start()
    server.stop()
    folder = server_folder(data_dir)
    folder.rename(folder.with_name("moved"))
    folder.symlink_to("/nowhere/else")

    with pytest.raises(EmbeddedPostgresError, match=r"points to /nowhere/else, which is gone"):
        EmbeddedPostgres(data_dir).start()

    folder.unlink()


@as_root
def test_a_folder_of_another_user_is_refused_by_name(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    server.start()
    server.stop()
    folder = server_folder(data_dir)
    os.chown(folder, 1, 1)

    with pytest.raises(
        EmbeddedPostgresError, match=r"belongs to user daemon and this is user root"
    ):
        EmbeddedPostgres(data_dir).start()

    assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() == 0, reason="modes do not hold root back")
def test_a_folder_without_write_permission_is_named(data_dir: Path) -> None:
    data_dir.chmod(0o555)

    with pytest.raises(EmbeddedPostgresError, match="this user may not use it"):
        EmbeddedPostgres(data_dir).start()

    data_dir.chmod(0o755)
