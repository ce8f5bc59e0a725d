"""Files that clients brought: their rows, and their content in the store."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex
from uuid import UUID

from app.kit.chores import Apart
from app.kit.ids import make_uuid7
from app.kit.postgres.database import CONNECTION_TROUBLE, Pool, Record
from app.media.inspect import ImageFacts
from app.media.store import PictureStore, StoreUnavailable, content_key

DELETE_AFTER = timedelta(hours=1)
"""Nothing that found a file still valid is at work on it any more by then."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An input image in the store, as a job refers to it."""

    id: UUID
    store_key: str
    content_type: str
    sha256: str
    byte_count: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """Whose a file is, how it came, and until when it stays."""

    team_id: UUID
    expires_at: datetime
    upload_key: str | None = None
    name: str | None = None


_COLUMNS = "id, store_key, content_type, sha256, byte_count, width, height"


class UploadExists(Exception):
    """An upload under a key that is taken: uploads never overwrite."""


async def keep_content(store: PictureStore, content: bytes, facts: ImageFacts) -> str:
    """Put an input into the store; returns its key: the hash of the content, and a word more.

    No two files share content in the store, so that deleting one never takes another's.
    """
    store_key = f"{content_key('inputs', facts.sha256)}-{token_hex(4)}"
    await store.put(store_key, content)
    return store_key


async def insert_file(
    pool: Pool, origin: FileOrigin, facts: ImageFacts, *, store_key: str
) -> StoredFile:
    """Make stored content a file of a team; raises UploadExists."""
    row = await pool.fetchrow(
        f"""
        insert into files (id, team_id, upload_key, name, sha256, store_key, content_type,
            byte_count, width, height, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        on conflict (upload_key) do nothing
        returning {_COLUMNS}
        """,
        make_uuid7(),
        origin.team_id,
        origin.upload_key,
        origin.name,
        bytes.fromhex(facts.sha256),
        store_key,
        facts.content_type,
        facts.bytes,
        facts.width,
        facts.height,
        origin.expires_at,
    )
    if row is None:
        raise UploadExists(origin.upload_key)
    return _to_file(row)


async def find_file(pool: Pool, team_id: UUID, file_id: UUID) -> StoredFile | None:
    """A team's own file; None when it is not there, expired, or another team's."""
    row = await pool.fetchrow(
        f"select {_COLUMNS} from files where id = $1 and team_id = $2 and expires_at > now()",
        file_id,
        team_id,
    )
    return None if row is None else _to_file(row)


async def find_upload(pool: Pool, team_id: UUID, upload_key: str) -> StoredFile | None:
    """A team's own upload by the key of its `oss://` URL; None as for `find_file`."""
    row = await pool.fetchrow(
        f"select {_COLUMNS} from files"
        " where upload_key = $1 and team_id = $2 and expires_at > now()",
        upload_key,
        team_id,
    )
    return None if row is None else _to_file(row)


async def delete_expired_files(
    pool: Pool, store: PictureStore, *, limit: int, apart: Apart | None = None
) -> int:
    """Delete files that expired an hour ago, content first; returns how many.

    One that cannot be deleted rests in `apart`; raises StoreUnavailable when none can.
    """
    apart = apart or apart_files()
    rows = await pool.fetch(
        "select id, store_key from files"
        " where expires_at < now() - $2::interval and id <> all($3::uuid[])"
        " order by expires_at limit $1",
        limit,
        DELETE_AFTER,
        apart.resting(),
    )

    async def delete(row: Record) -> None:
        await store.delete(row["store_key"])
        await pool.execute("delete from files where id = $1", row["id"])

    return len(await apart.each(rows, delete, key=lambda row: row["id"]))


def apart_files() -> Apart:
    """The memory of which files could not be deleted."""
    return Apart("expired files", shared_troubles=(*CONNECTION_TROUBLE, StoreUnavailable))


def _to_file(row: Record) -> StoredFile:
    return StoredFile(
        id=row["id"],
        store_key=row["store_key"],
        content_type=row["content_type"],
        sha256=row["sha256"].hex(),
        byte_count=row["byte_count"],
        width=row["width"],
        height=row["height"],
    )
