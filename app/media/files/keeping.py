"""Files that clients brought: their rows, and their content in the store.

A row is written before its bytes, so that a sweep finds what a crash left. Equal content of one
team is one object: its own row, and the uploads that name it. The object goes with the last row
that names it, and a key that has been given up is never used again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex
from uuid import UUID

from app.kit.errors import Unavailable
from app.kit.ids import make_uuid7
from app.kit.postgres.database import (
    Connection,
    Pool,
    Record,
    UniqueViolation,
    transaction,
)
from app.media.files.quota import InputQuota
from app.media.inspect import ImageFacts
from app.media.store import PictureStore, content_key

ARRIVAL = timedelta(hours=1)
"""How long content stays that no job and no upload has claimed yet."""


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
    upload_key: str
    name: str


_COLUMNS = "id, store_key, content_type, sha256, byte_count, width, height"


class UploadExists(Exception):
    """An upload under a key that is taken: uploads never overwrite."""


class FileRemoved(Unavailable):
    """The row was swept while its bytes arrived: that takes hours."""

    code = "file_removed"


async def keep_input(
    pool: Pool,
    store: PictureStore,
    team_id: UUID,
    content: bytes,
    facts: ImageFacts,
    quota: InputQuota | None = None,
) -> StoredFile:
    """Have content of a team in the store; it goes soon unless a job claims it.

    The bytes are written even where they should be: that heals a store that has lost them.
    Raises InputsFull for content that is new and beyond the quota.
    """
    row = await pool.fetchrow(_FIND_CONTENT, team_id, bytes.fromhex(facts.sha256), ARRIVAL / 2)
    if row is None:
        if quota is not None:
            await quota.take(team_id, facts.bytes)
        row = await pool.fetchrow(_RESERVE, *_content_values(team_id, facts), ARRIVAL)
    assert row is not None
    await store.put(row["store_key"], content)
    if row["state"] != "kept":
        row = await pool.fetchrow(_ARRIVE, row["id"])
    if row is None:
        raise FileRemoved("the image was removed while it was stored: send the request again")
    return _to_file(row)


async def keep_upload(
    pool: Pool,
    store: PictureStore,
    origin: FileOrigin,
    content: bytes,
    facts: ImageFacts,
    quota: InputQuota | None = None,
) -> StoredFile:
    """Make content a file of a team under its own key; the same again is the same file.

    Raises UploadExists when the key stands for other content, and what `keep_input` raises.
    """
    taken = await pool.fetchrow(_FIND_UPLOAD, origin.upload_key)
    if taken is not None:
        return _same_upload(taken, origin, facts)
    kept = await keep_input(pool, store, origin.team_id, content, facts, quota)
    async with transaction(pool) as connection:
        return await _name_upload(connection, kept, origin, facts)


async def _name_upload(
    connection: Connection, kept: StoredFile, origin: FileOrigin, facts: ImageFacts
) -> StoredFile:
    """Give content its upload key: its own row when that has none, else a row beside it."""
    held = await connection.fetchrow(_HOLD_CONTENT, kept.id, origin.expires_at)
    if held is None:
        raise FileRemoved("the image was removed while it was stored: upload it again")
    if held["upload_key"] is None:
        try:
            async with connection.transaction():
                named = await connection.fetchrow(_NAME, kept.id, origin.upload_key, origin.name)
        except UniqueViolation:
            named = None
    else:
        named = await connection.fetchrow(
            _BESIDE, make_uuid7(), kept.id, origin.upload_key, origin.name, origin.expires_at
        )
    if named is not None:
        return _to_file(named)
    taken = await connection.fetchrow(_FIND_UPLOAD, origin.upload_key)
    if taken is None:
        raise UploadExists(origin.upload_key)
    return _same_upload(taken, origin, facts)


def _same_upload(taken: Record, origin: FileOrigin, facts: ImageFacts) -> StoredFile:
    is_same = taken["sha256"].hex() == facts.sha256 and taken["team_id"] == origin.team_id
    if not is_same or taken["state"] != "kept":
        raise UploadExists(origin.upload_key)
    return _to_file(taken)


async def find_file(pool: Pool, team_id: UUID, file_id: UUID) -> StoredFile | None:
    """A team's own file; None when it is not there, expired, or another team's."""
    row = await pool.fetchrow(
        f"select {_FILE} from files where id = $1 and {_VALID}", file_id, team_id
    )
    return None if row is None else _to_file(row)


async def find_upload(pool: Pool, team_id: UUID, upload_key: str) -> StoredFile | None:
    """A team's own upload by the key of its `oss://` URL; None as for `find_file`."""
    row = await pool.fetchrow(
        f"select {_FILE} from files where upload_key = $1 and {_VALID}", upload_key, team_id
    )
    return None if row is None else _to_file(row)


def _content_values(team_id: UUID, facts: ImageFacts) -> tuple[object, ...]:
    return (
        make_uuid7(),
        team_id,
        bytes.fromhex(facts.sha256),
        f"{content_key('inputs', facts.sha256)}-{token_hex(4)}",
        facts.content_type,
        facts.bytes,
        facts.width,
        facts.height,
    )


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


_FILE = (
    "id, team_id, upload_key, sha256, store_key, content_type, byte_count, width, height, state"
)
_VALID = "team_id = $2 and state = 'kept' and expires_at > now()"

_FIND_UPLOAD = f"select {_FILE} from files where upload_key = $1"

_FIND_CONTENT = f"""
select {_FILE} from files
where team_id = $1 and sha256 = $2 and is_shared and state = 'kept'
    and expires_at > now() + $3::interval
"""
"""Content in steady use is found without a lock that acceptances would wait for."""

_RESERVE = f"""
insert into files (id, team_id, sha256, store_key, content_type, byte_count, width, height,
    expires_at, state, is_shared)
values ($1, $2, $3, $4, $5, $6, $7, $8, now() + $9::interval, 'arriving', true)
on conflict (team_id, sha256) where is_shared and state <> 'leaving'
do update set expires_at = greatest(files.expires_at, excluded.expires_at)
returning {_FILE}
"""

_ARRIVE = f"""
update files set state = 'kept' where id = $1 and state <> 'leaving' returning {_FILE}
"""

_HOLD_CONTENT = f"""
update files set expires_at = greatest(expires_at, $2) where id = $1 and state = 'kept'
returning {_FILE}
"""

_NAME = f"update files set upload_key = $2, name = $3 where id = $1 returning {_FILE}"

_BESIDE = f"""
insert into files (id, team_id, upload_key, name, sha256, store_key, content_type, byte_count,
    width, height, expires_at)
select $1, team_id, $3, $4, sha256, store_key, content_type, byte_count, width, height, $5
from files where id = $2
on conflict (upload_key) do nothing
returning {_FILE}
"""
