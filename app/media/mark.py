"""The store's mark: an object that tells the right store from an empty mount point."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from app.kit.postgres.database import Pool

MARK_KEY = "dashgate-store"
SAMPLE = 3


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """What the database knows of its store."""

    id: UUID
    is_marked: bool
    """Whether the mark was ever seen in the store: from then on it must be there."""


class StoreRegister(Protocol):
    """Where the store's id is written down, apart from the store."""

    async def load(self) -> StoreEntry:
        """Raises what a lost database raises."""
        ...

    async def list_promised(self) -> Sequence[str]:
        """Some keys that were written before anybody thought of a mark; none in a new gateway."""
        ...

    async def note_marked(self, store_id: UUID) -> None:
        """Say that the store has a mark with that id."""
        ...


class DatabaseRegister:
    """The one row of `picture_store`, which the schema brings along."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def load(self) -> StoreEntry:
        row = await self._pool.fetchrow("select id, is_marked from picture_store")
        assert row is not None, "picture_store lost its row"
        return StoreEntry(row["id"], row["is_marked"])

    async def list_promised(self) -> Sequence[str]:
        return [row["store_key"] for row in await self._pool.fetch(_PROMISED, SAMPLE)]

    async def note_marked(self, store_id: UUID) -> None:
        await self._pool.execute(
            "update picture_store set id = $1, is_marked = true where not is_marked", store_id
        )


def find_id(content: bytes | None) -> UUID | None:
    """The id in a mark; None for no mark, or for one that holds something else."""
    try:
        return UUID(content.decode().strip()) if content is not None else None
    except ValueError:
        return None


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
        where expires_at > now() order by expires_at desc limit 1000
    ) as latest
    where created_at < (select registered_at from picture_store)
    limit $1
)
"""
