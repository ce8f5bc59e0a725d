"""The store's id in the database, and what the database believes to be in the store."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from app.kit.postgres.database import CONNECTION_TROUBLE, Pool
from app.media.mark import RegisterLost, StoreEntry

SAMPLE = 3


class DatabaseRegister:
    """The one row of `picture_store`, which the schema brings along."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def load(self) -> StoreEntry:
        with _lost():
            row = await self._pool.fetchrow("select id, is_marked from picture_store")
        assert row is not None, "picture_store lost its row"
        return StoreEntry(row["id"], row["is_marked"])

    async def list_promised(self) -> Sequence[str]:
        with _lost():
            rows = await self._pool.fetch(_PROMISED, SAMPLE)
        return [row["store_key"] for row in rows]

    async def note_marked(self, store_id: UUID) -> None:
        with _lost():
            await self._pool.execute(
                "update picture_store set id = $1, is_marked = true where not is_marked", store_id
            )


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except CONNECTION_TROUBLE as error:
        raise RegisterLost(type(error).__name__) from None


_PROMISED = """
(
    select store_key from (
        select store_key, kept_at from pictures order by job_id desc limit 1000
    ) as latest
    where store_key is not null and kept_at < (select registered_at from picture_store)
    limit $1
)
union all
(
    select store_key from (
        select store_key, created_at from files
        where expires_at > now() and state = 'kept' order by expires_at desc limit 1000
    ) as latest
    where created_at < (select registered_at from picture_store)
    limit $1
)
"""
