"""The scene of the engine's tests: one database each, with what a job needs."""

import pytest

from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions
from tests.jobs.scene import Scene, make_scene


@pytest.fixture
async def scene(pool: Pool, sessions: Sessions, vault: Vault) -> Scene:
    return await make_scene(pool, sessions, vault)
