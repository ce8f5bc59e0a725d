"""The upstream accounts as the engine needs them: limits, state, and keys ready for use."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from uuid import UUID

import structlog
from pydantic import SecretStr

from app.accounts.key_rest import IS_RESTING
from app.kit.crypto import CannotOpen, Vault
from app.kit.postgres.database import Pool, Record

_LOAD = f"""
select accounts.id, accounts.name, accounts.region, accounts.base_url, accounts.max_running,
       accounts.submit_rate, accounts.query_rate, accounts.weight, accounts.state,
       lanes.id as lane_id, lanes.api_key_sealed
from accounts
left join lanes on lanes.account_id = accounts.id and lanes.removed_at is null
    and not {IS_RESTING}
where accounts.state in ('active', 'draining')
order by accounts.name, lanes.created_at, lanes.id
"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UpstreamLane:
    id: UUID
    api_key: SecretStr


@dataclass(frozen=True, slots=True)
class UpstreamAccount:
    """Rates are per second; a draining account finishes what it has and takes nothing new."""

    id: UUID
    name: str
    region: str
    base_url: str
    max_running: int
    submit_rate: float
    query_rate: float
    weight: float
    state: str
    lanes: tuple[UpstreamLane, ...]


def to_key_place(lane_id: UUID) -> str:
    """Where a lane's API key is sealed: it opens there and nowhere else."""
    return f"lanes/{lane_id}/api_key"


async def load_accounts(pool: Pool, vault: Vault) -> tuple[UpstreamAccount, ...]:
    """Accounts that have or may get tasks, by name; without keys that rest or do not open."""
    rows = await pool.fetch(_LOAD)
    return tuple(
        _to_account(list(group), vault) for _, group in groupby(rows, key=lambda row: row["id"])
    )


def _to_account(rows: list[Record], vault: Vault) -> UpstreamAccount:
    first = rows[0]
    lanes = (_open_lane(row, vault) for row in rows if row["lane_id"] is not None)
    return UpstreamAccount(
        id=first["id"],
        name=first["name"],
        region=first["region"],
        base_url=first["base_url"],
        max_running=first["max_running"],
        submit_rate=float(first["submit_rate"]),
        query_rate=float(first["query_rate"]),
        weight=float(first["weight"]),
        state=first["state"],
        lanes=tuple(lane for lane in lanes if lane is not None),
    )


def _open_lane(row: Record, vault: Vault) -> UpstreamLane | None:
    lane_id: UUID = row["lane_id"]
    try:
        api_key = vault.open(row["api_key_sealed"], to_key_place(lane_id))
    except CannotOpen as error:
        _tell_unreadable(row["name"], lane_id, row["api_key_sealed"], str(error))
        return None
    return UpstreamLane(lane_id, SecretStr(api_key))


@lru_cache(maxsize=1024)
def _tell_unreadable(account: str, lane_id: UUID, _sealed: bytes, reason: str) -> None:
    """Cached, so that it is told when it changes and not at each look."""
    _log.error("account.key_unreadable", account=account, lane_id=str(lane_id), reason=reason)
