"""From a credential to its owner: a checksum, then one indexed look-up, remembered briefly."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from uuid import UUID

import asyncpg

from app.kit.clock import Clock
from app.kit.crypto import MINIMUM_SECRET_LENGTH, Vault, is_guessable
from app.kit.errors import InvalidRequest, NotAuthenticated, NotPermitted
from app.kit.ids import make_uuid7
from app.kit.postgres.database import Pool, Record
from app.teams.keys import KEY_PREFIX, MalformedKey, make_public_id, parse_key

REMEMBERED_FOR = timedelta(seconds=2)
"""How long a revoked key may still be taken by a process that saw it just before."""

UNKNOWN_FOR = timedelta(seconds=1)
"""How long a credential that was not found is refused without a look: a new key works then."""

REMEMBERED_KEYS_LIMIT = 10_000
FIRST_LOOKS_AT_ONCE = 2
"""Look-ups of credentials that were never seen: a flood of them leaves the connections free."""
CREDENTIAL_LENGTH_LIMIT = 512
OPERATOR_TIMEZONE = "UTC"
_OTHER_SCHEMES = frozenset({"apikey", "basic", "bearer:", "digest", "key", "negotiate", "token"})
"""What is named when it comes in place of `Bearer`; anything else may be the key itself."""

_FIND = """
select keys.id, keys.name, keys.public_id, keys.team_id, keys.role, keys.scopes, keys.allow_ips,
       keys.expires_at, keys.revoked_at,
       teams.name as team_name, teams.timezone, teams.disabled_at
from keys left join teams on teams.id = keys.team_id
where keys.digest = any($1::bytea[])
"""

_FIND_HOLDER = "select team_id from keys where digest = any($1::bytea[])"

_KEEP_OPERATOR = """
with kept as (
  insert into keys (id, role, name, public_id, digest) values ($1, 'admin', $2, $3, $4)
  on conflict (team_id, name) where revoked_at is null do update
  set digest = excluded.digest, public_id = excluded.public_id
  returning id, name, public_id, role
)
insert into audit_entries (at, actor, action, subject_kind, subject_id, detail)
select clock_timestamp(), 'environment', 'key.kept', 'key', id, to_jsonb(kept) - 'id' from kept
"""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: a team through one of its keys, or an operator (no team, but a role)."""

    key_id: UUID
    key_name: str
    team_id: UUID | None
    team_name: str | None
    timezone: str
    role: str | None
    scopes: frozenset[str]

    def require_scope(self, scope: str) -> None:
        """Raises NotPermitted when the key was not given that scope."""
        if scope in self.scopes:
            return
        if self.team_id is None:
            raise NotPermitted(
                f"the key {self.key_name!r} is an operator's and belongs to no team: use a "
                "team's key here",
                code="team_key_required",
            )
        given = ", ".join(sorted(self.scopes)) or "none"
        raise NotPermitted(
            f"the key {self.key_name!r} lacks the scope {scope!r} (it has: {given})",
            code="scope_missing",
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """A stored key as it was at one moment."""

    caller: Caller
    public_id: str
    allow_ips: tuple[IPv4Network | IPv6Network, ...]
    expires_at: datetime | None
    revoked_at: datetime | None
    team_disabled_at: datetime | None
    read_at: datetime


class KeyRing:
    """Authenticates credentials; what it remembers are digests, never a key."""

    def __init__(
        self, pool: Pool, vault: Vault, clock: Clock, *, limit: int = REMEMBERED_KEYS_LIMIT
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._clock = clock
        self._limit = limit
        self._known: dict[bytes, _Known] = {}
        self._unknown: dict[bytes, datetime] = {}
        self._first_looks = asyncio.Semaphore(FIRST_LOOKS_AT_ONCE)

    async def authenticate(self, credential: str | None, client_ip: str | None) -> Caller:
        """Raises NotAuthenticated or NotPermitted, neither of which repeats the credential."""
        if not credential:
            raise NotAuthenticated(
                "no API key was given: send `Authorization: Bearer <key>`", code="missing_api_key"
            )
        check_credential(credential)
        known = await self._find(self._vault.digests(credential))
        if known is None:
            raise NotAuthenticated("this API key was not issued by this gateway")
        _check_key(known, self._clock())
        _check_address(known, client_ip)
        return known.caller

    async def _find(self, digests: tuple[bytes, ...]) -> _Known | None:
        known = self._known.get(digests[0])
        if known is None:
            async with self._first_looks:
                return await self._look_first(digests)
        if self._clock() - known.read_at < REMEMBERED_FOR:
            return known
        return await self._look(digests)

    async def _look_first(self, digests: tuple[bytes, ...]) -> _Known | None:
        """An equal credential may have been looked up while this one waited."""
        if (known := self._known.get(digests[0])) is not None:
            return known
        missed_at = self._unknown.get(digests[0])
        if missed_at is not None and self._clock() - missed_at < UNKNOWN_FOR:
            return None
        return await self._look(digests)

    async def _look(self, digests: tuple[bytes, ...]) -> _Known | None:
        now = self._clock()
        row = await self._pool.fetchrow(_FIND, digests)
        known = None if row is None else _from_row(row, now)
        self._known.pop(digests[0], None)
        self._unknown.pop(digests[0], None)
        if known is None:
            self._unknown[digests[0]] = now
        else:
            self._known[digests[0]] = known
        for remembered in (self._known, self._unknown):
            if len(remembered) > self._limit:
                remembered.pop(next(iter(remembered)))
        return known


def one_of(name: str, values: Sequence[str]) -> str | None:
    """The value of a header that may be sent once; raises InvalidRequest for different ones."""
    if len(set(values)) > 1:
        raise InvalidRequest(
            f"there are {len(values)} {name} headers that differ: send one", code="two_api_keys"
        )
    return values[0] if values else None


def read_bearer(authorization: str | None, x_api_key: str | None) -> str | None:
    """The credential in the two headers, or None.

    Raises NotAuthenticated for what is no Bearer, InvalidRequest when the headers disagree.
    """
    bearer = _read_authorization(authorization.strip()) if authorization else None
    plain = x_api_key.strip() if x_api_key else None
    if bearer and plain and bearer != plain:
        raise InvalidRequest(
            "Authorization and X-API-Key carry different keys: send one of them",
            code="two_api_keys",
        )
    return bearer or plain or None


def _read_authorization(text: str) -> str | None:
    """The credential behind `Bearer`, of which no part is ever repeated."""
    scheme, *credential = text.split(None, 1) or ("bearer",)
    if scheme.lower() in _OTHER_SCHEMES:
        raise _refuse_header(f"begins with {scheme}")
    if scheme.lower() != "bearer":
        raise _refuse_header("has no `Bearer` in front of the key")
    if not credential:
        return None
    if credential[0].split(None, 1)[0].lower() == "bearer":
        raise _refuse_header("says `Bearer` twice")
    return credential[0]


def _refuse_header(fault: str) -> NotAuthenticated:
    return NotAuthenticated(
        f"the Authorization header {fault}: send `Authorization: Bearer <key>`",
        code="bad_authorization",
    )


async def ensure_operator_key(
    pool: Pool, vault: Vault, text: str, *, name: str = "bootstrap"
) -> None:
    """Make the text an operator's credential of that name, replacing the one it had before.

    A revoked credential stays revoked until another text takes its place. Raises InvalidRequest
    for a text that is too short, or is a team's key; MalformedKey for a damaged one.
    """
    if len(text) < MINIMUM_SECRET_LENGTH:
        raise InvalidRequest(
            f"the operator key has {len(text)} characters; it needs {MINIMUM_SECRET_LENGTH}"
        )
    if is_guessable(text):
        raise InvalidRequest(
            "the operator key can be guessed (it repeats a few characters, or is an example): "
            "make one with python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    check_credential(text)
    digests = vault.digests(text)
    holder = await pool.fetchrow(_FIND_HOLDER, digests)
    if holder is None:
        # Unique violation: a process that started at the same time stored this very text.
        with suppress(asyncpg.UniqueViolationError):
            await pool.execute(_KEEP_OPERATOR, make_uuid7(), name, make_public_id(), digests[0])
    elif holder["team_id"] is not None:
        raise InvalidRequest("the operator key is the key of a team: make one of its own")


def check_credential(text: str) -> None:
    """Raises MalformedKey for what can be neither a key of ours nor an operator's own text."""
    if text.startswith(KEY_PREFIX) or len(text) < MINIMUM_SECRET_LENGTH:
        parse_key(text)
    elif len(text) > CREDENTIAL_LENGTH_LIMIT:
        raise MalformedKey(
            f"the API key has {len(text)} characters, more than {CREDENTIAL_LENGTH_LIMIT}"
        )


def _from_row(row: Record, now: datetime) -> _Known:
    caller = Caller(
        key_id=row["id"],
        key_name=row["name"],
        team_id=row["team_id"],
        team_name=row["team_name"],
        timezone=row["timezone"] or OPERATOR_TIMEZONE,
        role=row["role"],
        scopes=frozenset(row["scopes"]),
    )
    return _Known(
        caller=caller,
        public_id=row["public_id"],
        allow_ips=tuple(row["allow_ips"]),
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        team_disabled_at=row["disabled_at"],
        read_at=now,
    )


def _check_key(known: _Known, now: datetime) -> None:
    named = f"the key {known.caller.key_name!r} ({known.public_id})"
    if known.revoked_at is not None:
        raise NotAuthenticated(f"{named} was revoked", code="api_key_revoked")
    if known.expires_at is not None and known.expires_at <= now:
        raise NotAuthenticated(
            f"{named} expired at {known.expires_at.isoformat()}", code="api_key_expired"
        )
    if known.team_disabled_at is not None:
        raise NotPermitted(
            f"the team {known.caller.team_name!r} is disabled", code="team_disabled"
        )


def _check_address(known: _Known, client_ip: str | None) -> None:
    if not known.allow_ips:
        return
    try:
        address = ip_address(client_ip or "")
    except ValueError:
        raise _refuse_address(known, client_ip) from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if not any(address in network for network in known.allow_ips):
        raise _refuse_address(known, client_ip)


def _refuse_address(known: _Known, client_ip: str | None) -> NotPermitted:
    return NotPermitted(
        f"the key {known.caller.key_name!r} ({known.public_id}) may not be used from "
        f"{client_ip or 'an unknown address'}: ask an operator to allow that address",
        code="address_not_allowed",
    )
