"""Files: rows before bytes, equal content once, and nothing deleted that somebody uses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from app.jobs.acceptance import accept_batch
from app.jobs.accepting.outcomes import Acceptance
from app.kit.crypto import Vault
from app.kit.postgres.database import Connection, Pool, Sessions, transaction
from app.media.files.expiry import delete_expired_files
from app.media.files.keeping import (
    FileOrigin,
    UploadExists,
    find_file,
    find_upload,
    keep_input,
    keep_upload,
)
from app.media.inspect import inspect_image
from app.media.store import PictureMissing, PictureStore, StoreUnavailable, open_store
from tests.factories import make_team
from tests.jobs.scene import Scene, make_scene
from tests.media.images import make_noise
from tests.media.kept import keep_until

LONG_AGO = timedelta(hours=2)
CONTENT = make_noise()
FACTS = inspect_image(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return open_store((tmp_path / "store").as_uri())


@pytest.fixture
async def scene(pool: Pool, sessions: Sessions, vault: Vault) -> Scene:
    return await make_scene(pool, sessions, vault)


@pytest.fixture
async def team_id(sessions: Sessions) -> UUID:
    return (await make_team(sessions)).id


def list_objects(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "store" / "inputs").rglob("*") if path.is_file()]


async def upload(pool: Pool, store: PictureStore, team_id: UUID, key: str) -> UUID:
    origin = FileOrigin(team_id, datetime.now(UTC) + LONG_AGO, key, "a.png")
    return (await keep_upload(pool, store, origin, CONTENT, FACTS)).id


async def expire(pool: Pool, *file_ids: UUID) -> None:
    await pool.execute(
        "update files set expires_at = now() - $2::interval where id = any($1)",
        file_ids,
        LONG_AGO,
    )


async def test_the_same_upload_five_times_is_one_object_and_one_row(
    pool: Pool, store: PictureStore, team_id: UUID, tmp_path: Path
) -> None:
    ids = {await upload(pool, store, team_id, "a/1") for _ in range(5)}

    assert len(ids) == len(list_objects(tmp_path)) == 1
    assert await pool.fetchval("select count(*) from files") == 1


async def test_equal_content_at_once_is_one_object_and_one_row(
    pool: Pool, store: PictureStore, team_id: UUID, tmp_path: Path
) -> None:
    kept = await asyncio.gather(
        *(keep_input(pool, store, team_id, CONTENT, FACTS) for _ in range(8))
    )

    assert len({file.id for file in kept}) == len(list_objects(tmp_path)) == 1
    assert await pool.fetchval("select count(*) from files") == 1


async def test_uploads_of_equal_content_share_an_object_that_goes_with_the_last(
    pool: Pool, store: PictureStore, team_id: UUID, tmp_path: Path
) -> None:
    first, second = [await upload(pool, store, team_id, key) for key in ("a/1", "a/2")]
    assert len(list_objects(tmp_path)) == 1

    await expire(pool, first)
    await delete_expired_files(pool, store, limit=10)
    left = await find_file(pool, team_id, second)
    assert left is not None
    assert await store.get(left.store_key) == CONTENT

    await expire(pool, second)
    await delete_expired_files(pool, store, limit=10)
    assert list_objects(tmp_path) == []
    assert await pool.fetchval("select count(*) from files") == 0


async def test_another_team_s_equal_content_is_its_own(
    pool: Pool, store: PictureStore, team_id: UUID, sessions: Sessions, tmp_path: Path
) -> None:
    other = await make_team(sessions)

    for owner in (team_id, other.id):
        await keep_input(pool, store, owner, CONTENT, FACTS)

    assert len(list_objects(tmp_path)) == 2


async def test_an_upload_never_overwrites_and_stores_nothing_then(
    pool: Pool, store: PictureStore, team_id: UUID, tmp_path: Path
) -> None:
    await upload(pool, store, team_id, "a/1")
    other = make_noise(seed=2)
    origin = FileOrigin(team_id, datetime.now(UTC) + LONG_AGO, "a/1", "a.png")

    with pytest.raises(UploadExists):
        await keep_upload(pool, store, origin, other, inspect_image(other))

    assert len(list_objects(tmp_path)) == 1
    found = await find_upload(pool, team_id, "a/1")
    assert found is not None
    assert found.sha256 == FACTS.sha256


async def test_what_a_crash_left_behind_is_swept(
    pool: Pool, team_id: UUID, store: PictureStore, tmp_path: Path
) -> None:
    """The row is there before the bytes: written or not, they are found again."""
    (tmp_path / "full").mkdir()
    broken = open_store((tmp_path / "full").as_uri())
    (tmp_path / "full" / "inputs").write_bytes(b"in the way of the folder")
    with pytest.raises(StoreUnavailable):
        await keep_input(pool, broken, team_id, CONTENT, FACTS)
    row_id = await pool.fetchval("select id from files where state = 'arriving'")

    await expire(pool, row_id)
    assert await delete_expired_files(pool, store, limit=10) == 1

    assert await pool.fetchval("select count(*) from files") == 0
    kept = await keep_input(pool, store, team_id, CONTENT, FACTS)
    assert await store.get(kept.store_key) == CONTENT


async def test_a_file_that_expired_just_now_is_left_to_whoever_found_it_valid(
    pool: Pool, store: PictureStore, team_id: UUID
) -> None:
    just_now = datetime.now(UTC) - timedelta(minutes=1)
    file = await keep_until(pool, store, team_id, CONTENT, just_now)

    assert await delete_expired_files(pool, store, limit=10) == 0
    assert await store.get(file.store_key) == CONTENT


async def test_a_file_that_a_job_is_being_accepted_with_is_not_deleted(
    scene: Scene, store: PictureStore
) -> None:
    """The acceptance holds its lock while the sweep runs; both have found the file expired."""
    file = await keep_input(scene.pool, store, scene.team_id, CONTENT, FACTS)
    await expire(scene.pool, file.id)
    async with _holding(scene, file.id):
        assert await delete_expired_files(scene.pool, store, limit=10) == 0

    assert await delete_expired_files(scene.pool, store, limit=10) == 0
    assert await store.get(file.store_key) == CONTENT


@asynccontextmanager
async def _holding(scene: Scene, file_id: UUID) -> AsyncIterator[Connection]:
    async with transaction(scene.pool) as connection:
        (outcome,) = await accept_batch(connection, [scene.ask(input_ids=(file_id,))])
        assert isinstance(outcome, Acceptance)
        yield connection


async def test_a_job_whose_file_is_being_deleted_is_refused_and_the_next_one_stores_it_anew(
    scene: Scene, store: PictureStore
) -> None:
    file = await keep_input(scene.pool, store, scene.team_id, CONTENT, FACTS)
    await expire(scene.pool, file.id)
    await scene.pool.execute("update files set state = 'leaving'")

    (refused,) = await scene.store(scene.ask(input_ids=(file.id,)))
    again = await keep_input(scene.pool, store, scene.team_id, CONTENT, FACTS)
    await delete_expired_files(scene.pool, store, limit=10)

    assert getattr(refused, "code", None) == "input_removed"
    assert again.store_key != file.store_key
    assert await store.get(again.store_key) == CONTENT
    with pytest.raises(PictureMissing):
        await store.get(file.store_key)


async def test_sweeps_and_acceptances_at_once_lose_no_input_of_a_job(
    scene: Scene, store: PictureStore
) -> None:
    """Whoever wins the race for an expired file: a job that was accepted has its input."""
    accepted: list[str] = []
    done = asyncio.Event()

    async def accept_again_and_again() -> None:
        for number in range(40):
            file = await keep_input(scene.pool, store, scene.team_id, CONTENT, FACTS)
            if number % 2:
                await expire(scene.pool, file.id)
            (outcome,) = await scene.store(scene.ask(input_ids=(file.id,)))
            if not isinstance(outcome, Exception):
                accepted.append(file.store_key)
                await store.get(file.store_key)
                await expire(scene.pool, file.id)
        done.set()

    async def sweep() -> None:
        while not done.is_set():
            await delete_expired_files(scene.pool, store, limit=10)

    await asyncio.gather(accept_again_and_again(), sweep(), sweep())

    assert accepted


async def test_a_job_past_its_time_that_is_still_at_work_keeps_its_inputs(
    scene: Scene, store: PictureStore
) -> None:
    file = await keep_input(scene.pool, store, scene.team_id, CONTENT, FACTS)
    await scene.submitting(images=[{"store_key": file.store_key}])
    await scene.pool.execute("update job_runs set expires_at = now() - interval '3 days'")
    await expire(scene.pool, file.id)

    assert await delete_expired_files(scene.pool, store, limit=10) == 0
    assert await store.get(file.store_key) == CONTENT
