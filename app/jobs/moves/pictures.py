"""What is written of a finished job's pictures: each for itself, as soon as it is kept."""

from collections.abc import Iterable

from app.jobs.events import write_event
from app.jobs.lifecycle import Fence
from app.kit.postgres.database import Connection
from app.media.inspect import ImageFacts

LOST_CODE = "picture_lost"


async def keep_pictures(
    connection: Connection, fence: Fence, indexes: Iterable[int], *, key: str, facts: ImageFacts
) -> None:
    """Make stored content the pictures at those places; a second time changes nothing.

    Who has lost the lease may still do this: what is stored and verified stays true.
    """
    for index in indexes:
        kept = await connection.fetchval(
            _KEEP,
            fence.job_id,
            fence.attempt,
            index,
            key,
            bytes.fromhex(facts.sha256),
            facts.content_type,
            facts.bytes,
            facts.width,
            facts.height,
        )
        if kept is not None:
            detail = {"index": index, "bytes": facts.bytes}
            await write_event(connection, fence.job_id, "picture.kept", detail)


async def lose_pictures(
    connection: Connection, fence: Fence, indexes: Iterable[int], *, reason: str
) -> None:
    """Give up the pictures at those places that were not kept by another hand meanwhile."""
    for index in indexes:
        lost = await connection.fetchval(
            _LOSE, fence.job_id, fence.attempt, index, LOST_CODE, reason
        )
        if lost is not None:
            detail = {"index": index, "reason": reason}
            await write_event(connection, fence.job_id, "picture.lost", detail)


_RUN = """
with run as materialized (
    select job_id from job_runs
    where job_id = $1 and attempt = $2 and status = 'finalizing' for update
)
"""

_KEEP = f"""{_RUN}
update pictures set status = 'kept', store_key = $4, sha256 = $5, content_type = $6,
    byte_count = $7, width = $8, height = $9, kept_at = now(), source_url = null
from run where pictures.job_id = run.job_id and index = $3 and status = 'upstream'
returning true
"""

_LOSE = f"""{_RUN}
update pictures set status = 'failed', error_code = $4, error_message = $5, source_url = null
from run where pictures.job_id = run.job_id and index = $3 and status = 'upstream'
returning true
"""
