"""Inputs in the store, as the doors keep them."""

from datetime import datetime
from uuid import UUID

from app.kit.postgres.database import Pool
from app.media.files.keeping import StoredFile, keep_input
from app.media.inspect import inspect_image
from app.media.store import PictureStore


async def keep_until(
    pool: Pool, store: PictureStore, team_id: UUID, content: bytes, expires_at: datetime
) -> StoredFile:
    """Content of a team that stays, or stayed, until then."""
    file = await keep_input(pool, store, team_id, content, inspect_image(content))
    await pool.execute("update files set expires_at = $2 where id = $1", file.id, expires_at)
    return file
