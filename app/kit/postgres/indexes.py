"""Indexes that migrations make and drop beside running processes: nobody waits for them."""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from alembic import op


def make_indexes(definitions: Mapping[str, str]) -> None:
    """Make each index by its name; what an earlier run has left half done is made anew."""
    with op.get_context().autocommit_block():
        for name, definition in definitions.items():
            is_valid = op.get_bind().scalar(
                sa.text("select indisvalid from pg_index where indexrelid = to_regclass(:name)"),
                {"name": name},
            )
            if is_valid is False:
                op.execute(f"drop index concurrently {name}")
            op.execute(f"create index concurrently if not exists {name} on {definition}")


def drop_indexes(names: Iterable[str]) -> None:
    """Drop each index that is there."""
    with op.get_context().autocommit_block():
        for name in names:
            op.execute(f"drop index concurrently if exists {name}")
