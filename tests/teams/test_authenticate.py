"""Credentials: who gets in, who is told why not, and how soon a change counts."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.errors import GatewayError, InvalidRequest, NotAuthenticated, NotPermitted
from app.kit.postgres.database import Pool, Sessions, transaction
from app.teams.authenticate import (
    REMEMBERED_FOR,
    UNKNOWN_FOR,
    KeyRing,
    ensure_operator_key,
    read_bearer,
)
from app.teams.keys import MalformedKey, make_key
from app.teams.rules import SCOPES, Role
from app.teams.store import disable_team, get_key, get_team, revoke_key
from tests.factories import ACTOR, make_team
from tests.factories import make_key as store_key

OPERATOR_TEXT = "an-operators-own-text-of-enough-length"


class HandClock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def ring(pool: Pool, vault: Vault, clock: HandClock) -> KeyRing:
    return KeyRing(pool, vault, clock)


async def _code(ring: KeyRing, credential: str | None, client_ip: str | None = None) -> str:
    with pytest.raises(GatewayError) as refused:
        await ring.authenticate(credential, client_ip)
    assert not credential or credential not in refused.value.message
    return refused.value.code


async def test_a_teams_key_tells_team_and_scopes(
    ring: KeyRing, sessions: Sessions, vault: Vault
) -> None:
    team = await make_team(sessions, name="ads", timezone="Europe/Berlin")
    key = await store_key(sessions, vault, owner=team, name="ci")

    caller = await ring.authenticate(key.text, None)

    assert (caller.team_id, caller.team_name, caller.timezone) == (team.id, "ads", "Europe/Berlin")
    assert (caller.key_id, caller.key_name, caller.role) == (key.row.id, "ci", None)
    assert caller.scopes == set(SCOPES)


async def test_a_scope_that_was_not_given_is_refused_by_name(
    ring: KeyRing, sessions: Sessions, vault: Vault
) -> None:
    team = await make_team(sessions)
    key = await store_key(sessions, vault, owner=team, scopes=("jobs:read",))

    caller = await ring.authenticate(key.text, None)

    caller.require_scope("jobs:read")
    with pytest.raises(NotPermitted, match="jobs:write"):
        caller.require_scope("jobs:write")


async def test_an_operators_key_has_a_role_and_no_team(
    ring: KeyRing, sessions: Sessions, vault: Vault
) -> None:
    key = await store_key(sessions, vault, owner=Role.VIEWER)

    caller = await ring.authenticate(key.text, None)

    assert (caller.role, caller.team_id, caller.scopes) == ("viewer", None, frozenset())
    with pytest.raises(NotPermitted, match="team's key"):
        caller.require_scope("jobs:read")


async def test_nothing_unknown_or_damaged_gets_in(ring: KeyRing) -> None:
    key = make_key().text

    assert await _code(ring, None) == "missing_api_key"
    assert await _code(ring, "") == "missing_api_key"
    assert await _code(ring, key) == "invalid_api_key"
    assert await _code(ring, key[:-1]) == "malformed_api_key"
    assert await _code(ring, "sk-short") == "malformed_api_key"
    assert await _code(ring, "x" * 40) == "invalid_api_key"
    assert await _code(ring, "x" * 600) == "malformed_api_key"


async def test_a_damaged_key_costs_no_database(vault: Vault, database: str) -> None:
    ring = KeyRing(pool=None, vault=vault, clock=utc_now)  # type: ignore[arg-type]

    with pytest.raises(MalformedKey):
        await ring.authenticate(make_key().text[:-1], None)


async def test_a_revoked_key_stops_within_two_seconds(
    ring: KeyRing, sessions: Sessions, vault: Vault, clock: HandClock
) -> None:
    team = await make_team(sessions)
    key = await store_key(sessions, vault, owner=team)
    await ring.authenticate(key.text, None)

    async with sessions.begin() as session:
        row, _ = await get_key(session, key.text)
        await revoke_key(session, row, actor=ACTOR)
    await ring.authenticate(key.text, None)
    clock.now += REMEMBERED_FOR

    assert await _code(ring, key.text) == "api_key_revoked"


async def test_a_key_ends_at_its_moment_even_when_remembered(
    ring: KeyRing, sessions: Sessions, vault: Vault, clock: HandClock
) -> None:
    team = await make_team(sessions)
    end = clock.now + timedelta(seconds=1)
    key = await store_key(sessions, vault, owner=team, expires_at=end)
    await ring.authenticate(key.text, None)

    clock.now = end

    assert await _code(ring, key.text) == "api_key_expired"


async def test_keys_of_a_disabled_team_are_refused(
    ring: KeyRing, sessions: Sessions, vault: Vault
) -> None:
    team = await make_team(sessions, name="ads")
    key = await store_key(sessions, vault, owner=team)

    async with sessions.begin() as session:
        await disable_team(session, await get_team(session, "ads"), actor=ACTOR)

    assert await _code(ring, key.text) == "team_disabled"


@pytest.mark.parametrize(
    ("address", "is_let_in"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::7", True),
        ("192.0.2.1", False),
        ("2001:db9::7", False),
        ("testclient", False),
        (None, False),
    ],
)
async def test_only_allowed_addresses_get_in(
    ring: KeyRing, sessions: Sessions, vault: Vault, address: str | None, is_let_in: bool
) -> None:
    team = await make_team(sessions)
    networks = ("10.0.0.0/8", "2001:db8::/32")
    key = await store_key(sessions, vault, owner=team, allow_ips=networks)

    if is_let_in:
        await ring.authenticate(key.text, address)
    else:
        assert await _code(ring, key.text, address) == "address_not_allowed"


async def test_a_key_made_with_an_older_secret_still_gets_in(
    pool: Pool, sessions: Sessions
) -> None:
    older, newer = "o" * 40, "n" * 40
    key = await store_key(sessions, Vault((older,)), owner=await make_team(sessions))

    ring = KeyRing(pool, Vault((newer, older)), utc_now)
    await ring.authenticate(key.text, None)

    assert await _code(KeyRing(pool, Vault((newer,)), utc_now), key.text) == "invalid_api_key"


async def test_a_key_is_usable_a_second_after_it_was_unknown(
    ring: KeyRing, pool: Pool, vault: Vault, clock: HandClock
) -> None:
    assert await _code(ring, OPERATOR_TEXT) == "invalid_api_key"

    await ensure_operator_key(pool, vault, OPERATOR_TEXT)
    clock.now += UNKNOWN_FOR

    assert (await ring.authenticate(OPERATOR_TEXT, None)).role == "admin"


async def test_an_unknown_key_that_is_sent_again_costs_the_database_nothing(
    ring: KeyRing, pool: Pool
) -> None:
    assert await _code(ring, OPERATOR_TEXT) == "invalid_api_key"

    async with transaction(pool) as connection:
        await connection.execute("lock table keys in access exclusive mode")
        async with asyncio.timeout(5):
            assert await _code(ring, OPERATOR_TEXT) == "invalid_api_key"


async def test_a_flood_of_unknown_keys_leaves_connections_for_the_known(
    ring: KeyRing, pool: Pool
) -> None:
    flood = [_code(ring, f"{OPERATOR_TEXT}-{number}") for number in range(50)]
    async with transaction(pool) as connection:
        await connection.execute("lock table keys in access exclusive mode")
        refused = asyncio.gather(*flood)
        async with asyncio.timeout(5):
            for _ in range(20):
                await pool.fetchval("select 1")

    assert set(await refused) == {"invalid_api_key"}


async def test_what_is_unknown_is_forgotten_in_time(
    pool: Pool, vault: Vault, clock: HandClock
) -> None:
    ring = KeyRing(pool, vault, clock, limit=3)

    for number in range(10):
        await _code(ring, f"{OPERATOR_TEXT}-{number}")

    assert len(ring._unknown) == 3


async def test_memory_is_bounded_by_forgetting_the_oldest_key(
    pool: Pool, sessions: Sessions, vault: Vault, clock: HandClock
) -> None:
    ring = KeyRing(pool, vault, clock, limit=1)
    team = await make_team(sessions)
    first, second = [await store_key(sessions, vault, owner=team) for _ in range(2)]

    for key in (first, second):
        await ring.authenticate(key.text, None)
    await pool.execute("update keys set revoked_at = now()")

    await ring.authenticate(second.text, None)
    assert await _code(ring, first.text) == "api_key_revoked"


async def test_processes_that_start_at_once_agree_on_one_operator_key(
    pool: Pool, vault: Vault, ring: KeyRing
) -> None:
    await asyncio.gather(*(ensure_operator_key(pool, vault, OPERATOR_TEXT) for _ in range(10)))

    assert await pool.fetchval("select count(*) from keys where role = 'admin'") == 1
    assert (await ring.authenticate(OPERATOR_TEXT, None)).key_name == "bootstrap"
    assert OPERATOR_TEXT not in str(await pool.fetch("select * from audit_entries"))


async def test_a_kept_operator_key_is_in_the_audit_log(pool: Pool, vault: Vault) -> None:
    for text in (OPERATOR_TEXT, OPERATOR_TEXT, OPERATOR_TEXT + "-2"):
        await ensure_operator_key(pool, vault, text)

    entries = await pool.fetch("select actor, action, detail from audit_entries")
    assert [(entry["actor"], entry["action"]) for entry in entries] == [
        ("environment", "key.kept")
    ] * 2
    assert {entry["detail"]["name"] for entry in entries} == {"bootstrap"}


async def test_a_new_operator_text_replaces_the_old_one(
    pool: Pool, vault: Vault, ring: KeyRing
) -> None:
    await ensure_operator_key(pool, vault, OPERATOR_TEXT)

    await ensure_operator_key(pool, vault, OPERATOR_TEXT + "-2")

    assert (await ring.authenticate(OPERATOR_TEXT + "-2", None)).role == "admin"
    assert await _code(ring, OPERATOR_TEXT) == "invalid_api_key"


async def test_a_revoked_operator_key_stays_revoked_over_a_restart(
    pool: Pool, vault: Vault, ring: KeyRing, sessions: Sessions
) -> None:
    await ensure_operator_key(pool, vault, OPERATOR_TEXT)
    async with sessions.begin() as session:
        row, _ = await get_key(session, "bootstrap")
        await revoke_key(session, row, actor=ACTOR)

    await ensure_operator_key(pool, vault, OPERATOR_TEXT)

    assert await _code(ring, OPERATOR_TEXT) == "api_key_revoked"


@pytest.mark.parametrize("text", ["too-short", make_key().text[:-1]], ids=["short", "damaged"])
async def test_a_bad_operator_text_is_refused(pool: Pool, vault: Vault, text: str) -> None:
    with pytest.raises((InvalidRequest, NotAuthenticated)):
        await ensure_operator_key(pool, vault, text)


async def test_a_teams_key_does_not_become_an_operators(
    pool: Pool, vault: Vault, sessions: Sessions
) -> None:
    key = await store_key(sessions, vault, owner=await make_team(sessions))

    with pytest.raises(InvalidRequest, match="team"):
        await ensure_operator_key(pool, vault, key.text)


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ((None, None), None),
        (("", ""), None),
        (("Bearer abc", None), "abc"),
        (("bearer  abc ", None), "abc"),
        ((None, " abc "), "abc"),
        (("Bearer abc", "abc"), "abc"),
        (("Bearer\tabc", None), "abc"),
        (("Bearer", None), None),
        (("Bearer ", "abc"), "abc"),
    ],
)
def test_either_header_carries_the_key(
    headers: tuple[str | None, str | None], credential: str | None
) -> None:
    assert read_bearer(*headers) == credential


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        (("Bearer abc", "def"), InvalidRequest),
        (("Basic abc", None), NotAuthenticated),
        (("abc", "abc"), NotAuthenticated),
        (("Bearer Bearer abc", None), NotAuthenticated),
    ],
)
def test_headers_that_contradict_or_are_no_bearer_are_refused(
    headers: tuple[Any, Any], kind: type[GatewayError]
) -> None:
    with pytest.raises(kind) as refused:
        read_bearer(*headers)

    assert "abc" not in refused.value.message
