"""The store's mark: an object that tells the right store from an empty mount point."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

MARK_KEY = "dashgate-store"


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """What the database knows of its store."""

    id: UUID
    is_marked: bool
    """Whether the mark was ever seen in the store: from then on it must be there."""


class RegisterLost(Exception):
    """The register cannot be asked now."""


class StoreRegister(Protocol):
    """Where the store's id is written down, apart from the store; raises RegisterLost."""

    async def load(self) -> StoreEntry: ...

    async def list_promised(self) -> Sequence[str]:
        """Some keys that were written before anybody thought of a mark; none in a new gateway."""
        ...

    async def note_marked(self, store_id: UUID) -> None:
        """Say that the store has a mark with that id."""
        ...


def find_id(content: bytes | None) -> UUID | None:
    """The id in a mark; None for no mark, or for one that holds something else."""
    try:
        return UUID(content.decode().strip()) if content is not None else None
    except ValueError:
        return None
