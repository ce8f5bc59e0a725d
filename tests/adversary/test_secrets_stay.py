"""Whatever goes wrong, and whoever repeats them: secrets stay where they are."""

from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from app.accounts.directory import load_accounts
from app.accounts.rules import NewAccount
from app.dashscope.certificates import Certificates
from app.dashscope.client import DashScope
from app.dashscope.line import make_create_http, make_query_http
from app.hooks.eventbridge import EventDesk
from app.jobs.links import Links
from app.kit.crypto import Vault
from app.kit.postgres.database import open_pool
from app.settings import Settings
from app.wiring import open_resources
from tests.adversary.telltale import ENVIRONMENT, TOKEN, UPSTREAM_KEY, Scene, playing
from tests.databases import cloned_database
from tests.gateway import SECRET

SECRETS = (
    *("upstream key", "secret", "older secret", "admin key", "event token", "bucket's secret"),
    *("database password", "team's key", "operator's key", "result's signature"),
)


@pytest.fixture(scope="module")
async def scene(server_url: str, template: str) -> AsyncIterator[Scene]:
    async with (
        cloned_database(server_url, template) as database_url,
        playing(database_url) as scene,
    ):
        yield scene


@pytest.mark.parametrize("name", SECRETS)
def test_no_answer_tells_a_secret(scene: Scene, name: str) -> None:
    answers = {what: told for what, told in scene.told.items() if not what.startswith("log")}

    assert [what for what, told in answers.items() if scene.find_secrets(told, name)] == []


@pytest.mark.parametrize("name", SECRETS)
def test_no_log_tells_a_secret(scene: Scene, name: str) -> None:
    logs = {what: told for what, told in scene.told.items() if what.startswith("log")}

    assert len(logs) == 4
    assert [what for what, told in logs.items() if scene.find_secrets(told, name)] == []


@pytest.mark.parametrize("name", SECRETS)
def test_no_table_holds_a_secret_in_clear(scene: Scene, name: str) -> None:
    """But where a result is, until it is ours: the link is what it is fetched by."""
    waiting = {"pictures"} if name == "result's signature" else set()
    tables = {table: rows for table, rows in scene.rows.items() if table not in waiting}

    assert [table for table, rows in tables.items() if scene.find_secrets(rows, name)] == []


def test_the_scene_was_played(scene: Scene) -> None:
    """All of it came to pass, and each secret would be noticed in every dress."""
    logs = "".join(told for what, told in scene.told.items() if what.startswith("log"))
    assert set(SECRETS) == set(scene.secrets)
    assert all(secret for secret in scene.secrets.values())
    assert "HTTP 500" in logs
    assert "request.answered" in logs
    assert "picture.not_kept_yet" in logs
    assert "you said" in scene.rows["attempts"]
    for name, secret in scene.secrets.items():
        for dress in (secret, secret.encode().hex(), b64encode(f"key:{secret}".encode()).decode()):
            assert scene.find_secrets(f"before {dress} behind", name) == [name]


async def test_what_holds_a_secret_does_not_show_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    url = scene.gateway.database_url
    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("DATABASE_URL", url)
    vault = Vault((SECRET,))
    pool = await open_pool(url, max_size=1)
    accounts = await load_accounts(pool, vault)
    async with make_query_http() as queries, make_create_http() as creates:
        key = SecretStr(UPSTREAM_KEY)
        holders = [
            *(Settings(), vault, accounts, Links(vault, "http://gate.example", 60)),
            DashScope("http://upstream.example", key, queries, creates),
            NewAccount(name="a", region="cn-beijing", api_key=key),
            EventDesk(SecretStr(TOKEN), Certificates()),
            scene.gateway.seat,
        ]
        shown = " ".join(f"{holder!r} {holder}" for holder in holders)
    await pool.close()

    assert len(accounts) > 1
    assert scene.find_secrets(shown) == []


async def test_what_a_process_lives_on_does_not_show_its_secrets(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    password = make_url(scene.gateway.database_url).password
    assert password

    settings = Settings(
        _env_file=None,
        database_url=SecretStr(scene.gateway.database_url),
        secret_key=SecretStr(SECRET),
        data_dir=tmp_path,
    )
    async with open_resources(settings) as base:
        shown = f"{base!r} {base}"

    assert password not in shown
