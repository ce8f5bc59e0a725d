"""Keeping pictures on disk, also when the disk has troubles."""

import asyncio
import errno
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from app.kit.errors import InvalidRequest
from app.media.store import (
    PictureMissing,
    PictureStore,
    StoreUnavailable,
    content_key,
    open_store,
)
from tests.media.stored import is_stored

KEY = "pictures/ab/cd/abcdef"
IS_ROOT = os.geteuid() == 0
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept pictures"


@pytest.fixture
def store(folder: Path) -> PictureStore:
    return open_store(folder.as_uri())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB; needs the right to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not IS_ROOT or run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)):
        pytest.skip("mounting a small disk needs root")
    yield disk
    assert run("umount", "--lazy", str(disk)) == 0


def run(*command: str) -> int:
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode


def list_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_what_was_put_is_got(store: PictureStore, folder: Path) -> None:
    content = os.urandom(1_000_000)

    await store.put(KEY, content)

    assert await store.get(KEY) == content
    assert await is_stored(store, KEY)
    assert list_files(folder) == [KEY]


async def test_second_put_replaces_the_first(store: PictureStore, folder: Path) -> None:
    await store.put(KEY, b"first")
    await store.put(KEY, b"second")

    assert await store.get(KEY) == b"second"
    assert list_files(folder) == [KEY]


async def test_puts_of_one_key_at_once_leave_one_whole_file(
    store: PictureStore, folder: Path
) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]

    await asyncio.gather(*(store.put(KEY, content) for content in contents))

    assert await store.get(KEY) in contents
    assert list_files(folder) == [KEY]


async def test_stream_gives_the_content_in_chunks(store: PictureStore) -> None:
    content = os.urandom(3_000_000)
    await store.put(KEY, content)

    chunks = [chunk async for chunk in await store.stream(KEY)]

    assert b"".join(chunks) == content
    assert len(chunks) > 1


async def test_missing_picture_is_named(store: PictureStore) -> None:
    with pytest.raises(PictureMissing, match=KEY):
        await store.get(KEY)
    with pytest.raises(PictureMissing, match=KEY):
        await store.stream(KEY)

    assert not await is_stored(store, KEY)


async def test_deleting_twice_is_no_error(store: PictureStore) -> None:
    await store.put(KEY, b"x")

    await store.delete(KEY)
    await store.delete(KEY)

    assert not await is_stored(store, KEY)


@pytest.mark.parametrize(
    "key", ["../x", "a/../x", "/etc/passwd", "a//b", "", ".", "a/./b", ".incoming/x", "a\0", "図"]
)
async def test_key_that_could_leave_the_folder_is_refused(store: PictureStore, key: str) -> None:
    for use in (store.put(key, b"x"), store.get(key), store.delete(key), is_stored(store, key)):
        with pytest.raises(ValueError, match="is no key"):
            await use


def test_content_is_keyed_by_its_hash() -> None:
    digest = sha256(b"abc").hexdigest()

    assert content_key("inputs", digest) == f"inputs/ba/78/{digest}"


async def test_nobody_else_may_look(store: PictureStore, folder: Path) -> None:
    before = os.umask(0)
    try:
        await store.put(KEY, b"x")
    finally:
        os.umask(before)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_dir()}
    assert modes | {stat.S_IMODE(folder.stat().st_mode)} == {0o700}
    assert stat.S_IMODE((folder / KEY).stat().st_mode) == 0o600


@pytest.fixture
def synced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What is synced, in order, and whether the content had its name by then."""
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        name = "content" if path.is_file() else str(path.relative_to(folder))
        synced.append((name, (folder / KEY).exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return synced


ALL_SYNCED = [
    ("content", False),
    *((name, True) for name in ("pictures/ab/cd", "pictures/ab", "pictures", ".")),
]


async def test_content_is_synced_before_its_name_and_then_every_folder(
    store: PictureStore, synced: list[tuple[str, bool]]
) -> None:
    await store.put(KEY, b"x")

    assert synced == ALL_SYNCED


async def test_a_folder_that_was_found_there_is_synced_once(
    store: PictureStore, folder: Path, synced: list[tuple[str, bool]]
) -> None:
    (folder / KEY).parent.mkdir(parents=True)
    await store.put(KEY, b"x")
    found = synced.copy()
    synced.clear()

    await store.put(f"{KEY}-2", b"x")

    assert found == ALL_SYNCED
    assert synced == [("content", True), ("pictures/ab/cd", True)]


async def test_folders_that_had_to_be_made_anew_are_synced_anew(
    store: PictureStore, folder: Path, synced: list[tuple[str, bool]]
) -> None:
    await store.put(KEY, b"x")
    shutil.rmtree(folder / "pictures")
    synced.clear()

    await store.put(KEY, b"x")

    assert synced == ALL_SYNCED


async def test_crash_within_a_write_leaves_nothing_to_see_and_is_swept(
    store: PictureStore, folder: Path
) -> None:
    crash = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from app.media.durable import write_durably\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_durably(Path(sys.argv[1]), sys.argv[2], b'half')\n"
    )
    command = [sys.executable, "-c", crash, str(folder), KEY]
    assert run(*command) == -9

    assert not await is_stored(store, KEY)
    (leftover,) = list_files(folder)
    assert await store.sweep_leftovers() == 0
    long_ago = time.time() - 3601
    os.utime(folder / leftover, (long_ago, long_ago))
    assert await store.sweep_leftovers() == 1
    assert list_files(folder) == []


async def test_full_disk_is_said_and_leaves_room_to_go_on(small_disk: Path) -> None:
    store = open_store((small_disk / "store").as_uri())

    with pytest.raises(StoreUnavailable, match=r"cannot write in the .*disk is full"):
        await store.put(KEY, bytes(1_000_000))

    assert list_files(small_disk) == []
    await store.put(KEY, bytes(1000))
    assert await store.get(KEY) == bytes(1000)


async def test_read_only_disk_is_said(small_disk: Path) -> None:
    store = open_store((small_disk / "store").as_uri())
    await store.put(KEY, b"kept")
    assert run("mount", "-o", "remount,ro", str(small_disk)) == 0

    with pytest.raises(StoreUnavailable, match="mounted read-only"):
        await store.put(KEY, b"x")

    assert await store.get(KEY) == b"kept"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("failing", ["fsync", "mkdir", "rename", "open"])
async def test_a_disk_that_fails_at_any_step_is_said_and_leaves_no_half_file(
    store: PictureStore, folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as disk:
        place = os if failing in ("fsync", "open") else Path
        disk.setattr(place, failing, fail)
        with pytest.raises(StoreUnavailable, match="cannot write in the picture store"):
            await store.put(KEY, b"whole")

    assert list_files(folder) == []
    await store.put(KEY, b"whole")
    assert await store.get(KEY) == b"whole"


async def test_a_disk_that_fails_once_the_name_is_there_has_kept_the_whole(
    store: PictureStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_dir():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", fail)
        with pytest.raises(StoreUnavailable, match="input/output error"):
            await store.put(KEY, b"whole")

    assert list_files(folder) == [KEY]
    assert await store.get(KEY) == b"whole"


async def test_a_leftover_that_cannot_be_removed_keeps_none_of_the_others(
    store: PictureStore, folder: Path
) -> None:
    for name in ("a", "b", "c"):
        (folder / ".incoming" / name).write_text("half")
    (folder / ".incoming" / "in the way").mkdir()

    with pytest.raises(StoreUnavailable, match="cannot sweep"):
        await store.sweep_leftovers(-1)

    assert list_files(folder) == []


async def test_denied_folder_is_said(store: PictureStore, folder: Path) -> None:
    await store.put(KEY, b"kept")
    folder.chmod(0)
    if IS_ROOT:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(StoreUnavailable, match=r"cannot write in .*no right"):
            await store.put(KEY, b"x")
        with pytest.raises(StoreUnavailable, match="cannot read in"):
            await store.get(KEY)
    finally:
        os.seteuid(os.getuid())
        folder.chmod(0o700)

    assert await store.get(KEY) == b"kept"


async def test_folder_that_is_gone_is_trouble_not_a_missing_picture(
    store: PictureStore, folder: Path
) -> None:
    await store.put(KEY, b"kept")
    shutil.rmtree(folder)

    for use in (
        store.get(KEY),
        is_stored(store, KEY),
        store.put(KEY, b"x"),
        store.sweep_leftovers(),
    ):
        with pytest.raises(StoreUnavailable, match="the picture store"):
            await use

    assert not folder.exists()


def test_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreUnavailable, match="cannot make the picture store"):
        open_store((tmp_path / "file" / "store").as_uri())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pictures",
        "file:relative",
        "file://host/x",
        "file:///",
        "s3://",
        "gs://b",
        "s3://k:s@b",
    ],
)
def test_url_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="DASHGATE_STORE_URL must be"):
        open_store(url)
