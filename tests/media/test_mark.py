"""The store's mark: an empty mount point, another volume or another bucket is never believed."""

import asyncio
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from app.kit.postgres.database import Pool
from app.media.mark import MARK_KEY, RegisterLost, StoreEntry
from app.media.register import DatabaseRegister
from app.media.store import PictureMissing, PictureStore, StoreUnavailable, open_store
from tests.media.wire import Request, reply, serve

KEY = "inputs/ab/cd/abcdef"
OTHER = "inputs/ab/cd/other"


@dataclass
class Book:
    """A register in memory."""

    entry: StoreEntry = field(default_factory=lambda: StoreEntry(uuid4(), is_marked=False))
    promised: tuple[str, ...] = ()
    is_lost: bool = False

    async def load(self) -> StoreEntry:
        if self.is_lost:
            raise RegisterLost
        return self.entry

    async def list_promised(self) -> Sequence[str]:
        return self.promised

    async def note_marked(self, store_id: UUID) -> None:
        self.entry = replace(self.entry, id=store_id, is_marked=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mount point"


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def store(folder: Path, book: Book) -> PictureStore:
    return open_store(folder.as_uri(), register=book)


def unmount(folder: Path) -> None:
    folder.rename(folder.with_name("away"))
    folder.mkdir()


def mount(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.with_name("away").rename(folder)


async def test_a_fresh_folder_just_works_and_bears_the_registers_id(
    store: PictureStore, folder: Path, book: Book
) -> None:
    await store.put(KEY, b"x")

    assert await store.get(KEY) == b"x"
    assert (folder / MARK_KEY).read_text().strip() == str(book.entry.id)
    assert book.entry.is_marked


async def test_missing_is_believed_of_the_marked_store(store: PictureStore) -> None:
    await store.put(KEY, b"x")

    with pytest.raises(PictureMissing):
        await store.get(OTHER)
    with pytest.raises(PictureMissing):
        await store.stream(OTHER)
    await store.delete(OTHER)


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_an_empty_mount_point_is_trouble_for_every_use_and_takes_no_bytes(
    store: PictureStore, folder: Path, book: Book, *, is_restarted: bool
) -> None:
    await store.put(KEY, b"x")
    unmount(folder)
    if is_restarted:
        store = open_store(folder.as_uri(), register=book)

    uses = (
        lambda: store.get(KEY),
        lambda: store.stream(KEY),
        lambda: store.put(OTHER, b"x"),
        lambda: store.delete(KEY),
        store.sweep_leftovers,
    )
    for use in uses:
        with pytest.raises(StoreUnavailable, match="it is not mounted"):
            await use()
    assert [path for path in folder.rglob("*") if path.is_file()] == []

    mount(folder)
    assert await store.get(KEY) == b"x"
    await store.put(OTHER, b"x")


async def test_another_stores_mark_is_not_believed(
    store: PictureStore, folder: Path, tmp_path: Path
) -> None:
    await store.put(KEY, b"x")
    await open_store((tmp_path / "another").as_uri(), register=Book()).put(KEY, b"y")
    unmount(folder)
    shutil.rmtree(folder)
    (tmp_path / "another").rename(folder)

    with pytest.raises(StoreUnavailable, match="it is another one"):
        await store.get(OTHER)
    with pytest.raises(StoreUnavailable, match="it is another one"):
        await store.put(OTHER, b"x")


async def test_what_the_trouble_tells_to_type_makes_an_emptied_store_usable(
    store: PictureStore, folder: Path
) -> None:
    await store.put(KEY, b"x")
    unmount(folder)
    with pytest.raises(StoreUnavailable) as trouble:
        await store.put(KEY, b"x")

    command = trouble.value.message.rpartition("mark it: ")[2]
    assert subprocess.run(command, shell=True, check=False, timeout=10).returncode == 0  # noqa: ASYNC221

    with pytest.raises(PictureMissing):
        await store.get(KEY)
    await store.put(KEY, b"x")


async def test_a_store_of_before_the_mark_is_marked_where_its_pictures_are(
    folder: Path,
) -> None:
    await open_store(folder.as_uri()).put(KEY, b"x")
    book = Book(promised=("inputs/ab/cd/gone", KEY))
    unmount(folder)
    store = open_store(folder.as_uri(), register=book)

    with pytest.raises(StoreUnavailable, match="it is not mounted"):
        await store.put(OTHER, b"x")
    mount(folder)
    await store.put(OTHER, b"x")

    assert book.entry.is_marked


async def test_a_new_database_beside_a_marked_store_takes_the_stores_id(
    store: PictureStore, folder: Path, book: Book
) -> None:
    await store.put(KEY, b"x")
    fresh = Book()

    await open_store(folder.as_uri(), register=fresh).put(OTHER, b"x")

    assert fresh.entry == book.entry


async def test_many_that_begin_at_once_agree(folder: Path, book: Book) -> None:
    stores = [open_store(folder.as_uri(), register=book) for _ in range(5)]

    await asyncio.gather(*(store.put(f"{KEY}-{n}", b"x") for n, store in enumerate(stores)))

    assert (folder / MARK_KEY).read_text().strip() == str(book.entry.id)


async def test_a_lost_database_is_the_stores_trouble_only_until_its_id_is_known(
    store: PictureStore, book: Book
) -> None:
    book.is_lost = True
    with pytest.raises(StoreUnavailable, match="the database cannot be asked"):
        await store.put(KEY, b"x")

    book.is_lost = False
    await store.put(KEY, b"x")
    book.is_lost = True
    await store.put(OTHER, b"x")


async def test_a_folder_restored_without_its_place_for_writes_takes_them(
    store: PictureStore, folder: Path
) -> None:
    await store.put(KEY, b"x")
    shutil.rmtree(folder / ".incoming")

    await store.put(OTHER, b"x")


@dataclass
class Bucket:
    """Objects by target, and what is said instead."""

    objects: dict[str, bytes] = field(default_factory=dict)
    trouble: bytes | None = None
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.asked.append(f"{request.method} {request.target.rpartition('/')[2]}")
        moment = "Last-Modified: Mon, 23 Nov 2026 01:02:03 GMT"
        answer = reply("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")
        if self.trouble is not None:
            answer = self.trouble
        elif request.method == "PUT":
            self.objects[request.target] = request.body
            answer = reply("200 OK", b"", 'ETag: "1"')
        elif request.method == "DELETE":
            self.objects.pop(request.target, None)
            answer = reply("204 No Content")
        elif request.target in self.objects:
            answer = reply("200 OK", self.objects[request.target], moment, 'ETag: "1"')
        writer.write(answer)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "LTAI-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-access-key")
    monkeypatch.setenv("AWS_REGION", "cn-test")


NO_BUCKET = reply("404 Not Found", b"<Error><Code>NoSuchBucket</Code></Error>")
DENIED = reply("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>")


async def test_a_bucket_that_is_another_gone_or_closed_is_trouble(
    monkeypatch: pytest.MonkeyPatch, book: Book
) -> None:
    bucket = Bucket()
    async with serve(bucket.answer) as wire:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{wire.host}")
        store = open_store("s3://bkt/kept", register=book)
        await store.put(KEY, b"x")
        with pytest.raises(PictureMissing):
            await store.get(OTHER)
        bucket.trouble = NO_BUCKET
        with pytest.raises(StoreUnavailable):
            await store.get(OTHER)
        bucket.trouble = DENIED
        with pytest.raises(StoreUnavailable, match="access is denied"):
            await store.get(OTHER)
        bucket.trouble = None
        for url in ("s3://another/kept", "s3://bkt/elsewhere"):
            wrong = open_store(url, register=book)
            for use in (wrong.get(KEY), wrong.put(OTHER, b"x"), wrong.delete(KEY)):
                with pytest.raises(StoreUnavailable, match=f"aws s3 cp - {url}/{MARK_KEY}"):
                    await use

    assert all(target.startswith("/bkt/kept/") for target in bucket.objects)


async def test_a_buckets_mark_is_read_about_once_a_second_however_much_is_written(
    monkeypatch: pytest.MonkeyPatch, book: Book
) -> None:
    bucket = Bucket()
    async with serve(bucket.answer) as wire:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{wire.host}")
        store = open_store("s3://bkt/kept", register=book)
        await store.require_mark()
        bucket.asked.clear()
        store._checked_at = float("-inf")

        await asyncio.gather(*(store.put(f"{KEY}-{number}", b"x") for number in range(10)))

    assert bucket.asked.count(f"GET {MARK_KEY}") == 1


async def test_the_schema_brings_one_id_that_is_marked_once(pool: Pool) -> None:
    register = DatabaseRegister(pool)
    before = await register.load()

    assert not before.is_marked
    assert await register.list_promised() == []
    adopted = uuid4()
    await register.note_marked(adopted)
    await register.note_marked(uuid4())

    assert await register.load() == StoreEntry(adopted, is_marked=True)
