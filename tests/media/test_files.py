"""Files that expire: their content goes first, and takes no other file's along."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.kit.postgres.database import Pool, Sessions
from app.media.files import FileOrigin, delete_expired_files, insert_file, keep_content
from app.media.inspect import inspect_image
from app.media.store import open_store
from tests.factories import make_team
from tests.media.images import make_noise
from tests.media.stored import is_stored

LONG_AGO = timedelta(hours=2)


async def test_an_expired_file_goes_and_an_equal_one_of_today_stays(
    pool: Pool, sessions: Sessions, tmp_path: Path
) -> None:
    team = await make_team(sessions)
    store = open_store(tmp_path.as_uri())
    content = make_noise()
    facts = inspect_image(content)
    now = datetime.now(UTC)
    keys = []
    for expires_at in (now - LONG_AGO, now + LONG_AGO):
        keys.append(await keep_content(store, content, facts))
        await insert_file(pool, FileOrigin(team.id, expires_at), facts, store_key=keys[-1])

    deleted = await delete_expired_files(pool, store, limit=10)

    assert deleted == 1
    assert [await is_stored(store, key) for key in keys] == [False, True]
    assert await pool.fetchval("select store_key from files") == keys[1]


async def test_a_file_that_expired_just_now_is_left_to_whoever_found_it_valid(
    pool: Pool, sessions: Sessions, tmp_path: Path
) -> None:
    team = await make_team(sessions)
    store = open_store(tmp_path.as_uri())
    content = make_noise()
    facts = inspect_image(content)
    key = await keep_content(store, content, facts)
    just_now = datetime.now(UTC) - timedelta(minutes=1)
    await insert_file(pool, FileOrigin(team.id, just_now), facts, store_key=key)

    assert await delete_expired_files(pool, store, limit=10) == 0
    assert await is_stored(store, key)
