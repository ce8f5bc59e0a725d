"""The files of accepted jobs: held in the acceptance transaction, so that no sweep takes them."""

from collections.abc import Sequence
from uuid import UUID

from app.kit.postgres.database import Connection

SLACK_SECONDS = 3600
"""More is added than is needed, so that an input in steady use is seldom written."""


async def hold_files(connection: Connection, wanted: Sequence[tuple[UUID, int]]) -> set[UUID]:
    """Keep files for so many seconds from now on; returns those that are there.

    The locks last until the commit: nobody deletes such a file between here and there.
    """
    if not wanted:
        return set()
    asked = [{"id": str(file_id), "seconds": seconds} for file_id, seconds in wanted]
    await connection.execute(_EXTEND, asked, SLACK_SECONDS)
    rows = await connection.fetch(_HOLD, [file_id for file_id, _ in wanted])
    return {row["id"] for row in rows}


# Locks that those who only hold the same files, below, do not wait for.
_EXTEND = """
with asked as (
    select id, now() + make_interval(secs => max(seconds)) as needed_until
    from jsonb_to_recordset($1) as rows(id uuid, seconds int) group by id
), short as (
    select files.id from files join asked on asked.id = files.id
    where files.expires_at < needed_until and files.state <> 'leaving'
    order by files.id for no key update of files
)
update files set expires_at = needed_until + make_interval(secs => $2)
from asked where asked.id = files.id and files.id in (select id from short)
"""

_HOLD = """
select id from files where id = any($1::uuid[]) and state = 'kept' order by id for key share
"""
