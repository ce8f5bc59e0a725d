"""What a command says when it cannot: one sentence, no traceback, no secret."""

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app import PROGRAM
from app.kit.postgres.database import make_engine, make_sessions
from tests.cli.conftest import SECRET, Run
from tests.databases import cloned_database, to_database_url
from tests.factories import make_team

ROOT = Path(__file__).parents[2]
ADD = ("account", "add", "main", "--region", "cn-beijing")


@pytest.fixture(scope="module")
async def with_ads(server_url: str, template: str) -> AsyncIterator[str]:
    """A database for commands that change nothing; it has a team."""
    async with cloned_database(server_url, template) as url:
        engine = make_engine(url)
        await make_team(make_sessions(engine), name="ads")
        await engine.dispose()
        yield url


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("team", "create", "Ads"), "name: 'Ads' is no name"),
        (("team", "show", "adz"), "no team 'adz'; did you mean ads?"),
        (("team", "create", "ads"), "there is a team 'ads' already"),
        (("key", "create", "--team", "adz", "--name", "ci"), "did you mean ads?"),
        (("key", "revoke", "ci"), "no key 'ci': there is none yet"),
        (("key", "create", "--team", "ads", "--name", "ci", "--expires", "2020-01-01"), "is over"),
        (("key", "create", "--team", "ads", "--name", "ci", "--allow-ip", "x"), "allow_ips[0]"),
        ((*ADD, "--api-key-env", "UNSET_VARIABLE"), "'UNSET_VARIABLE' is not set"),
        ((*ADD, "--api-key-stdin"), "api_key"),
        ((*ADD, "--api-key-stdin", "--base-url", "http://h"), "must end in /api/v1"),
        (("account", "drain", "main"), "no account 'main': there is none yet"),
        (("price", "set", "wan2.5", "1", "--region", "cn-beijing"), "mean wan2.5-i2i-preview?"),
        (("price", "set", "wan2.5-i2i-preview", "1", "--region", "beijing"), "mean cn-beijing?"),
        (("price", "set", "wan2.5-i2i-preview", "x", "--region", "cn-beijing"), "is no amount"),
        (("report", "--group-by", "teams"), "'teams' is no group"),
        (("report", "--from", "2026-11-02", "--to", "2026-11-01"), "before the first"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    run_bare: Run,
    with_ads: str,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setenv("DATABASE_URL", with_ads)
    monkeypatch.setenv("DASHGATE_SECRET_KEY", SECRET)

    refused = run_bare(*command, "--json")

    assert (refused.code, refused.out) == (1, "")
    assert said in refused.err
    assert refused.err.startswith("dashgate: ")
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ("team", "create"),
        ("team", "create", "ads", "--weight", "heavy"),
        ("key", "create", "--name", "ci"),
        ("key", "create", "--name", "ci", "--team", "ads", "--role", "admin"),
        ("key", "create", "--name", "ci", "--role", "admin", "--scopes", "jobs:read"),
        ("key", "create", "--name", "ci", "--team", "ads", "--expires", "tomorrow"),
        ADD,
        (*ADD, "--api-key-stdin", "--api-key-env", "VAR"),
        (*ADD, "--api-key", "sk-on-the-command-line"),
        ("price", "set", "m", "1", "--region", "cn-beijing", "--from", "soon"),
        ("report", "--from", "yesterday"),
        ("report", "--format", "xlsx"),
        ("report", "--out", "x.txt"),
        ("report", "--out", "x.xlsx"),
        ("report", "--out", "x.csv", "--json"),
        ("report", "--out", "x.json", "--format", "csv"),
        ("report", "--out", "x.csv", "--format", "table"),
        ("nonsense",),
    ],
)
def test_a_wrong_use_ends_with_2_before_anything_is_touched(
    run_bare: Run, command: tuple[str, ...]
) -> None:
    refused = run_bare(*command)

    assert (refused.code, refused.out) == (2, "")
    assert "Usage:" in refused.err


def test_a_missing_schema_says_what_to_run(
    run_bare: Run, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", server_url)

    refused = run_bare("team", "list")

    assert refused.code == 1
    assert f"run `{PROGRAM} migrate`" in refused.err


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:hidden-word@127.0.0.1:1/x", "Postgres at 127.0.0.1:1/x is not to be had"),
        ("not a url hidden-word", "is no URL"),
        ("postgresql://u:hidden-word@[::1/d", "is no URL"),
        ("postgresql://u:hidden-word@h:port/d", "is no URL"),
    ],
)
def test_an_unreachable_database_is_named_without_its_password(
    run_bare: Run, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    refused = run_bare("team", "list")

    assert refused.code == 1
    assert said in refused.err
    assert "hidden-word" not in refused.err


def test_a_missing_database_is_told_apart_from_a_missing_schema(
    run_bare: Run, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", to_database_url(server_url, "nowhere"))

    assert 'database "nowhere" does not exist' in run_bare("team", "list").err


def test_without_settings_each_command_says_which_is_missing(
    run_bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "DATABASE_URL is not set" in run_bare("team", "list").err
    create_key = ("key", "create", "--team", "ads", "--name", "ci")
    assert "DASHGATE_SECRET_KEY is not set" in run_bare(*create_key).err
    monkeypatch.setenv("DASHGATE_SECRET_KEY", "short")
    assert "DASHGATE_SECRET_KEY: a secret in it has fewer than 32" in run_bare(*create_key).err
    monkeypatch.setenv("DATABASE_URL", "mysql://somewhere/else")
    assert "DATABASE_URL begins with mysql://" in run_bare("team", "list").err


def test_a_wrong_setting_is_named_without_its_value(
    run_bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASHGATE_PORT", "hidden-word")

    refused = run_bare("team", "list")

    assert refused.code == 1
    assert "DASHGATE_PORT" in refused.err
    assert "hidden-word" not in refused.err


def test_database_and_secret_of_a_running_up_are_found_in_its_folder(
    run_bare: Run, home: Path, database: str
) -> None:
    (home / ".dashgate" / "run").mkdir(parents=True)
    (home / ".dashgate" / "run" / "database_url").write_text(database + "\n")
    (home / ".dashgate" / "secret_key").write_text(SECRET + "\n")

    run_bare("team", "create", "ads")
    made = run_bare("key", "create", "--team", "ads", "--name", "ci", "--json")

    assert made.document["team"] == "ads"


def _start(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DASHGATE_NO_SETUP": "1", **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_program_itself_answers_and_fails_likewise(home: Path, database: str) -> None:
    made = _start(home, "team", "create", "ads", "--json", DATABASE_URL=database)
    refused = _start(home, "team", "create", "ads", DATABASE_URL=database)

    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("{")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "dashgate: there is a team 'ads' already\n"


def test_a_taken_port_is_one_sentence(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        for command in ("serve", "emulator", "up"):
            refused = run(command, "--port", port)

            assert refused.code == 1
            assert refused.err.startswith(f"dashgate: port {port} of 127.0.0.1 is taken")
            assert refused.err.count("\n") == 1


@pytest.mark.parametrize("host", ["999.1.1.1", "192.0.2.1", "nowhere.invalid"])
def test_an_address_of_another_machine_is_one_sentence(run: Run, host: str) -> None:
    refused = run("serve", "--host", host)

    assert refused.code == 1
    assert f"nobody can listen at {host}:8080" in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize("command", ["serve", "work"])
@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("s3://", "DASHGATE_STORE_URL must be"),
        ("nonsense", "DASHGATE_STORE_URL must be"),
        ("file:///dev/null", "cannot make the picture store /dev/null"),
        ("file:///proc/nowhere", "cannot make the picture store /proc/nowhere"),
    ],
)
def test_a_store_that_cannot_be_is_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str, store: str, said: str
) -> None:
    monkeypatch.setenv("DASHGATE_STORE_URL", store)

    refused = run(command)

    assert refused.code == 1
    assert refused.err.startswith(f"dashgate: {said}")
    assert refused.err.count("\n") == 1


def test_without_a_database_the_folder_that_was_looked_in_is_named(
    run_bare: Run, home: Path
) -> None:
    refused = run_bare("team", "list")

    assert refused.code == 1
    assert f"runs in the data folder {home / '.dashgate'}" in refused.err
    assert "DASHGATE_DATA_DIR" in refused.err


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("emulator", "--running-seconds", "abc"),
        ("emulator", "--running-seconds", "5-3"),
        ("emulator", "--key", "=account"),
        ("emulator", "--faults", __file__),
        ("up", "--running-seconds", "soon"),
    ],
)
def test_an_option_of_the_stand_in_is_named_in_one_sentence(
    run: Run, command: str, option: str, value: str
) -> None:
    refused = run(command, option, value)

    assert refused.code == 1
    assert refused.err.startswith(f"dashgate: {option}: ")
    assert refused.err.count("\n") == 1
