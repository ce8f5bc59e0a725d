"""Who is the upstream of `up`: what it says is true, and it makes it true."""

import pytest
from pydantic import SecretStr

from app.accounts.rules import NewAccount
from app.accounts.store import create_account, get_account, list_accounts, remove_account
from app.cli.local.upstream import EMULATOR, choose_upstream
from app.kit.crypto import Vault
from app.kit.postgres.database import Sessions
from app.settings import Settings


def make_settings(database: str, **changes: object) -> Settings:
    return Settings(_env_file=None, database_url=database, **changes)  # type: ignore[arg-type]


async def add(sessions: Sessions, vault: Vault, name: str) -> None:
    new = NewAccount(name=name, region="cn-beijing", api_key=SecretStr("sk-" + "a" * 32))
    async with sessions.begin() as session:
        await create_account(session, vault, new, actor="test")


async def remove(sessions: Sessions, name: str) -> None:
    async with sessions.begin() as session:
        await remove_account(session, await get_account(session, name), actor="test")


async def find_states(sessions: Sessions) -> dict[str, tuple[str, int]]:
    async with sessions() as session:
        return {
            account.name: (account.state, len(hints))
            for account, hints in await list_accounts(session)
        }


async def test_a_stand_in_that_was_removed_is_back_when_no_account_is_left(
    database: str, sessions: Sessions, vault: Vault
) -> None:
    settings = make_settings(database)
    first = await choose_upstream(settings, database, vault)
    await add(sessions, vault, "real")
    assert await choose_upstream(settings, database, vault) is None
    assert (await find_states(sessions))[EMULATOR] == ("removed", 0)
    await remove(sessions, "real")

    again = await choose_upstream(settings, database, vault)

    assert first is not None
    assert again is not None
    assert (await find_states(sessions))[EMULATOR] == ("active", 1)


async def test_a_stand_in_that_an_operator_removed_is_back_with_the_next_start(
    database: str, sessions: Sessions, vault: Vault
) -> None:
    settings = make_settings(database)
    await choose_upstream(settings, database, vault)
    await remove(sessions, EMULATOR)

    assert await choose_upstream(settings, database, vault) is not None
    assert (await find_states(sessions))[EMULATOR] == ("active", 1)


async def test_a_key_of_the_environment_whose_account_was_removed_is_told(
    database: str, sessions: Sessions, vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    await add(sessions, vault, "default")
    await remove(sessions, "default")
    settings = make_settings(database, dashscope_api_key="sk-" + "b" * 32)

    assert await choose_upstream(settings, database, vault) is not None

    said = capsys.readouterr().err
    assert "DASHSCOPE_API_KEY is not used" in said
    assert "account add" in said
    assert "sk-" not in said


async def test_a_key_of_the_environment_keeps_the_stand_in_out(
    database: str, sessions: Sessions, vault: Vault
) -> None:
    settings = make_settings(database, dashscope_api_key="sk-" + "b" * 32)

    assert await choose_upstream(settings, database, vault) is None
    assert await find_states(sessions) == {}
