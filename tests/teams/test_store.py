"""Teams and keys in Postgres: names are unique, faults are named, changes are recorded."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.tables import AuditEntry
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.errors import Conflict, InvalidRequest, NotFound
from app.kit.postgres.database import Sessions
from app.teams import store
from app.teams.rules import KeySettings, Role, TeamSettings
from app.teams.tables import Key, Team
from tests.factories import ACTOR, make_team

NOW = utc_now()


async def _create(session: AsyncSession, name: str = "ads", **settings: Any) -> Team:
    return await store.create_team(session, name, TeamSettings(**settings), actor=ACTOR)


async def _create_key(
    session: AsyncSession, vault: Vault, owner: store.Owner, name: str = "ci", **settings: Any
) -> tuple[Key, str]:
    return await store.create_key(
        session, vault, KeySettings(name=name, **settings), owner=owner, actor=ACTOR, now=NOW
    )


async def _actions(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))


async def test_a_team_is_found_by_name_and_by_id(session: AsyncSession) -> None:
    team = await _create(session, weight=Decimal("2.5"), max_running=3, cost_center="CC-7")

    by_name = await store.get_team(session, "ads")
    by_id = await store.get_team(session, str(team.id))

    assert by_name.id == by_id.id == team.id
    assert store.to_settings(by_name) == TeamSettings(
        weight=Decimal("2.5"), max_running=3, cost_center="CC-7"
    )


async def test_a_missing_team_is_named_with_its_neighbours(session: AsyncSession) -> None:
    with pytest.raises(NotFound, match=r"'ads'.*none yet"):
        await store.get_team(session, "ads")
    await _create(session, "marketing")

    with pytest.raises(NotFound, match=r"'marketting'; did you mean marketing\?"):
        await store.get_team(session, "marketting")


@pytest.mark.parametrize(
    ("name", "settings", "field"),
    [
        ("", {}, "name"),
        ("Ads", {}, "name"),
        ("-ads", {}, "name"),
        ("ads\n", {}, "name"),
        ("a" * 64, {}, "name"),
        ("0198c0f2-0000-7000-8000-000000000000", {}, "name"),
        ("ads", {"weight": Decimal(-1)}, "weight"),
        ("ads", {"weight": Decimal("1000.001")}, "weight"),
        ("ads", {"weight": Decimal("0.0001")}, "weight"),
        ("ads", {"weight": Decimal("nan")}, "weight"),
        ("ads", {"max_running": 0}, "max_running"),
        ("ads", {"requests_per_minute": 10**9}, "requests_per_minute"),
        ("ads", {"cost_center": ""}, "cost_center"),
        ("ads", {"cost_center": "a\x00b"}, "cost_center"),
        ("ads", {"timezone": "Mars/Olympus"}, "timezone"),
        ("ads", {"timezone": "../etc/passwd"}, "timezone"),
    ],
)
async def test_a_bad_setting_is_refused_by_its_field(
    session: AsyncSession, name: str, settings: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await _create(session, name, **settings)

    assert [problem.path for problem in refused.value.problems] == [field]


async def test_of_many_that_create_one_name_at_once_one_succeeds(sessions: Sessions) -> None:
    outcomes = await asyncio.gather(
        *(make_team(sessions, name="ads") for _ in range(5)), return_exceptions=True
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict"] * 4 + ["Team"]
    async with sessions() as session:
        assert await session.scalar(select(func.count(Team.id))) == 1
        assert await _actions(session) == ["team.created"]


async def test_settings_are_replaced_but_for_the_time_zone(session: AsyncSession) -> None:
    team = await _create(session)
    before = store.to_settings(team)

    await store.set_team(session, team, replace(before, weight=Decimal(0)), actor=ACTOR)

    assert (await store.get_team(session, "ads")).weight == 0
    with pytest.raises(InvalidRequest, match="Asia/Shanghai"):
        await store.set_team(session, team, replace(before, timezone="UTC"), actor=ACTOR)
    assert await _actions(session) == ["team.created", "team.set"]


async def test_disabling_twice_keeps_the_first_time(session: AsyncSession) -> None:
    team = await _create(session)

    await store.disable_team(session, team, actor=ACTOR)
    first = team.disabled_at
    await store.disable_team(session, team, actor=ACTOR)

    assert first is not None
    assert team.disabled_at == first
    assert await _actions(session) == ["team.created", "team.disabled"]


async def test_a_key_is_kept_only_as_its_digest(session: AsyncSession, vault: Vault) -> None:
    key, plain = await _create_key(session, vault, await _create(session))

    stored = await session.scalar(text("select keys::text from keys"))
    audited = str(list(await session.scalars(select(AuditEntry.detail))))

    assert plain[-38:] not in str(stored) + audited
    assert key.digest == vault.digests(plain)[0]
    assert key.public_id in audited


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"name": "CI"}, "name"),
        ({"scopes": ()}, "scopes"),
        ({"scopes": ("jobs:read", "everything")}, "scopes"),
        ({"expires_at": NOW}, "expires"),
        ({"expires_at": NOW - timedelta(days=1)}, "expires"),
        ({"allow_ips": ("10.0.0.0/8", "10.0.0.1/8")}, "allow_ips[1]"),
        ({"allow_ips": ("office",)}, "allow_ips[0]"),
        ({"allow_ips": ("fe80::1%eth0",)}, "allow_ips[0]"),
        ({"allow_ips": ("10.0.0.1",) * 101}, "allow_ips"),
    ],
)
async def test_a_bad_key_is_refused_by_its_field(
    session: AsyncSession, vault: Vault, settings: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await _create_key(session, vault, Role.ADMIN, **settings)

    assert [problem.path for problem in refused.value.problems] == [field]


async def test_a_name_is_free_again_once_its_key_is_revoked(
    session: AsyncSession, vault: Vault
) -> None:
    team = await _create(session)
    first, _ = await _create_key(session, vault, team)
    with pytest.raises(Conflict, match="'ci'"):
        await _create_key(session, vault, team)

    await store.revoke_key(session, first, actor=ACTOR)
    second, _ = await _create_key(session, vault, team)

    found, team_name = await store.get_key(session, "ci")
    assert (found.id, team_name) == (second.id, "ads")
    assert await _actions(session) == [
        "team.created",
        "key.created",
        "key.revoked",
        "key.created",
    ]


async def test_a_key_is_found_by_all_its_names(session: AsyncSession, vault: Vault) -> None:
    key, plain = await _create_key(session, vault, await _create(session))

    for asked in ("ci", key.public_id, str(key.id), plain):
        found, _ = await store.get_key(session, asked)
        assert found.id == key.id


async def test_a_name_that_several_teams_use_needs_the_team(
    session: AsyncSession, vault: Vault
) -> None:
    ads, web = await _create(session, "ads"), await _create(session, "web")
    for owner in (ads, web, Role.ADMIN):
        await _create_key(session, vault, owner)

    with pytest.raises(Conflict, match="ads, web, operators"):
        await store.get_key(session, "ci")

    assert (await store.get_key(session, "ci", web))[1] == "web"
    assert [team_name for _, team_name in await store.list_keys(session)] == ["ads", "web", None]
    assert len(await store.list_keys(session, ads)) == 1


async def test_a_missing_key_is_named_unless_it_is_a_keys_text(
    session: AsyncSession, vault: Vault
) -> None:
    _, plain = await _create_key(session, vault, await _create(session))
    await session.execute(delete(Key))

    with pytest.raises(NotFound, match="'nightly'"):
        await store.get_key(session, "nightly")
    with pytest.raises(NotFound) as missing:
        await store.get_key(session, plain)
    assert plain[-38:] not in missing.value.message
