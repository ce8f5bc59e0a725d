"""A team's stored inputs have a bound; equal content and other teams are no part of it."""

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from app.kit.postgres.database import Pool, Sessions, transaction
from app.media.files.keeping import keep_input
from app.media.files.quota import InputQuota, InputsFull
from app.media.inspect import inspect_image
from app.media.store import open_store
from tests.factories import make_team
from tests.media.images import make_noise

PICTURES = [make_noise(seed=seed) for seed in range(4)]
SIZE = max(map(len, PICTURES))


@pytest.fixture
async def team_id(sessions: Sessions) -> UUID:
    return (await make_team(sessions)).id


async def keep(pool: Pool, folder: Path, team_id: UUID, content: bytes, quota: InputQuota) -> None:
    store = open_store((folder / "store").as_uri())
    await keep_input(pool, store, team_id, content, inspect_image(content), quota)


async def count_files(pool: Pool) -> int:
    count: int = await pool.fetchval("select count(*) from files")
    return count


async def test_content_beyond_the_quota_is_refused_and_leaves_nothing(
    pool: Pool, team_id: UUID, tmp_path: Path
) -> None:
    quota = InputQuota(pool, limit_bytes=2 * SIZE)
    for content in PICTURES[:2]:
        await keep(pool, tmp_path, team_id, content, quota)

    with pytest.raises(InputsFull) as refused:
        await keep(pool, tmp_path, team_id, PICTURES[2], quota)

    assert refused.value.code == "input_quota_exceeded"
    assert "DASHGATE_TEAM_INPUT_GB" in refused.value.message
    assert await count_files(pool) == 2


async def test_equal_content_needs_no_room(pool: Pool, team_id: UUID, tmp_path: Path) -> None:
    quota = InputQuota(pool, limit_bytes=SIZE)

    for _ in range(5):
        await keep(pool, tmp_path, team_id, PICTURES[0], quota)

    assert await count_files(pool) == 1


async def test_another_team_has_room_of_its_own(
    pool: Pool, sessions: Sessions, team_id: UUID, tmp_path: Path
) -> None:
    quota = InputQuota(pool, limit_bytes=SIZE)
    other = (await make_team(sessions)).id

    await keep(pool, tmp_path, team_id, PICTURES[0], quota)
    await keep(pool, tmp_path, other, PICTURES[1], quota)

    with pytest.raises(InputsFull):
        await keep(pool, tmp_path, team_id, PICTURES[1], quota)


async def test_pictures_at_once_do_not_pass_the_quota_together(
    pool: Pool, team_id: UUID, tmp_path: Path
) -> None:
    quota = InputQuota(pool, limit_bytes=2 * SIZE)

    outcomes = await asyncio.gather(
        *(keep(pool, tmp_path, team_id, content, quota) for content in PICTURES),
        return_exceptions=True,
    )

    assert [outcome for outcome in outcomes if outcome is not None] == [
        outcome for outcome in outcomes if isinstance(outcome, InputsFull)
    ]
    assert await count_files(pool) == 2


async def test_a_new_process_counts_what_others_have_stored(
    pool: Pool, team_id: UUID, tmp_path: Path
) -> None:
    await keep(pool, tmp_path, team_id, PICTURES[0], InputQuota(pool, limit_bytes=SIZE))

    with pytest.raises(InputsFull):
        await keep(pool, tmp_path, team_id, PICTURES[1], InputQuota(pool, limit_bytes=SIZE))


async def test_what_was_deleted_makes_room(
    pool: Pool, team_id: UUID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = InputQuota(pool, limit_bytes=SIZE)
    await keep(pool, tmp_path, team_id, PICTURES[0], quota)
    await pool.execute("delete from files")
    monkeypatch.setattr("app.media.files.quota.FULL_FOR_SECONDS", 0)

    await keep(pool, tmp_path, team_id, PICTURES[1], quota)

    assert await count_files(pool) == 1


async def test_a_database_too_slow_to_count_refuses_nobody(
    pool: Pool, team_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.media.files.quota.MEASURE_SECONDS", 0.05)
    async with transaction(pool) as connection:
        await connection.execute("lock table files in access exclusive mode")

        await InputQuota(pool, limit_bytes=SIZE).take(team_id, SIZE)
