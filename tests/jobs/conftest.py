"""The scene of the engine's tests: one database each, with what a job needs."""

from collections.abc import AsyncIterator

import pytest

from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions
from tests.jobs.scene import Scene, make_scene
from tests.jobs.watcher import Watcher, watching


@pytest.fixture
async def scene(pool: Pool, sessions: Sessions, vault: Vault) -> Scene:
    return await make_scene(pool, sessions, vault)


@pytest.fixture
async def watcher(scene: Scene) -> AsyncIterator[Watcher]:
    """An upstream whose tasks end at once."""
    async with watching(scene) as watcher:
        yield watcher


@pytest.fixture
async def slow_watcher(scene: Scene) -> AsyncIterator[Watcher]:
    """An upstream whose tasks go on for an hour."""
    async with watching(scene, running_seconds=(3_600, 3_600)) as watcher:
        yield watcher
