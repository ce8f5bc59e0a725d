"""An API key that the upstream refuses rests, while another key of its account works."""

from datetime import timedelta
from uuid import UUID

from app.accounts.story import Happening, write_account_event
from app.kit.postgres.database import Connection

RESTED = "key.rested"

REST = timedelta(minutes=10)
"""Then it is tried again: somebody may have put it right."""

IS_RESTING = "coalesce(lanes.rests_until > now(), false)"
"""A condition on a row of `lanes`."""


async def rest_key(connection: Connection, account_id: UUID, lane_id: UUID, code: str) -> bool:
    """Whether the account can do without that key, which rests then or is removed already.

    The caller holds the account's paces, so that two keys do not rest because of each other.
    """
    row = await connection.fetchrow(_LOOK, account_id, lane_id)
    if row is None or row["is_out"]:
        return True
    if not row["has_another"]:
        return False
    await connection.execute(
        "update lanes set rests_until = now() + $2::interval where id = $1", lane_id, REST
    )
    detail = {"lane_id": str(lane_id), "hint": row["api_key_hint"], "code": code}
    await write_account_event(connection, account_id, None, Happening(RESTED, detail))
    return True


_LOOK = f"""
select api_key_hint, removed_at is not null or {IS_RESTING} as is_out, exists (
    select from (
        select * from lanes where account_id = $1 and id <> $2 and removed_at is null
    ) as lanes where not {IS_RESTING}
) as has_another
from lanes where account_id = $1 and id = $2
"""
