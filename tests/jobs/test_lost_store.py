"""An input that cannot be read because the store is not mounted costs no job its life."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from app.dashscope.client import DashScope
from app.jobs.core.state import Unprepared
from app.jobs.engine.submit import Submission, submit
from app.jobs.lifecycle import Fence
from app.kit.postgres.database import Pool, Sessions
from app.media.files.expiry import delete_expired_files
from app.media.register import DatabaseRegister
from app.media.store import PictureStore, StoreUnavailable, content_key, open_store
from tests.factories import make_team
from tests.media.images import make_image
from tests.media.kept import keep_until

NOBODY = cast("DashScope", None)
"""No call goes upstream: the inputs come first."""
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
CONTENT = make_image("PNG", 400, 400)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mount point"


@pytest.fixture
def store(folder: Path, pool: Pool) -> PictureStore:
    return open_store(folder.as_uri(), register=DatabaseRegister(pool))


async def try_to_send(store: PictureStore, key: str) -> Unprepared:
    image: dict[str, Any] = {"store_key": key, "content_type": "image/png", "sha256": "0" * 64}
    submission = Submission(
        Fence(uuid4(), 1), "m", "p", None, images=(image,), parameters={}, intended_at=LONG_AGO
    )
    outcome = await submit(
        NOBODY, submission, read_input=store.get, send_before=0.0, timeout_seconds=1.0
    )
    assert isinstance(outcome, Unprepared)
    return outcome


async def test_an_unmounted_disk_delays_a_job_and_a_deleted_input_fails_it(
    store: PictureStore, folder: Path
) -> None:
    key = content_key("inputs", "ab" * 32)
    await store.put(key, CONTENT)
    folder.rename(folder.with_name("away"))
    folder.mkdir()

    delayed = await try_to_send(store, key)
    assert not delayed.is_input_lost
    assert "it is not mounted" in delayed.reason

    folder.rmdir()
    folder.with_name("away").rename(folder)
    await store.delete(key)
    assert (await try_to_send(store, key)).is_input_lost


async def test_a_database_restored_beside_an_empty_store_says_so_and_forgets_no_file(
    store: PictureStore, pool: Pool, sessions: Sessions, tmp_path: Path
) -> None:
    team = await make_team(sessions)
    key = (await keep_until(pool, store, team.id, CONTENT, LONG_AGO)).store_key
    empty = open_store((tmp_path / "empty").as_uri(), register=DatabaseRegister(pool))

    with pytest.raises(StoreUnavailable, match=r"Mount or restore the right one.*mark it: echo"):
        await empty.get(key)
    assert await delete_expired_files(pool, empty, limit=10) == 0

    assert await pool.fetchval("select count(*) from files") == 1


async def test_a_gateway_of_before_the_mark_takes_its_own_store_and_no_empty_one(
    pool: Pool, sessions: Sessions, folder: Path, tmp_path: Path
) -> None:
    team = await make_team(sessions)
    later = datetime(2099, 1, 1, tzinfo=UTC)
    before = open_store(folder.as_uri())
    key = (await keep_until(pool, before, team.id, CONTENT, later)).store_key
    await pool.execute("update picture_store set registered_at = now() + interval '1 s'")

    with pytest.raises(StoreUnavailable, match="it is not mounted"):
        await open_store((tmp_path / "empty").as_uri(), register=DatabaseRegister(pool)).put(
            key, CONTENT
        )
    await open_store(folder.as_uri(), register=DatabaseRegister(pool)).put(key, CONTENT)

    assert await pool.fetchval("select is_marked from picture_store")
