"""`account`: keys changed, suspensions ended, health shown."""

from typing import Any

import pytest

from app import PROGRAM
from app.accounts.directory import load_accounts
from app.accounts.news import Barred, Crowded, News, Reach, Throttled
from app.accounts.paces import note
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, transaction
from tests.cli.conftest import SECRET, Run
from tests.cli.test_verbs import ask

MODEL = "wan2.5-i2i-preview"
ADD = ("account", "add", "main", "--region", "cn-beijing", "--api-key-stdin")
FIRST, SECOND = "sk-first-0123456789", "sk-second-9876543210"
VAULT = Vault((SECRET,))


@pytest.fixture(autouse=True)
def main_account(run: Run) -> None:
    assert run(*ADD, stdin=FIRST).code == 0


def read_keys(database: str) -> list[str]:
    (account,) = ask(database, lambda pool: load_accounts(pool, VAULT))
    return [lane.api_key.get_secret_value() for lane in account.lanes]


def hear(database: str, news: News) -> None:
    async def work(pool: Pool) -> None:
        async with transaction(pool) as connection:
            account_id: Any = await connection.fetchval("select id from accounts")
            await connection.execute(
                "insert into account_paces (account_id, model) values ($1, $2)", account_id, MODEL
            )
            await note(connection, account_id, MODEL, news)

    ask(database, work)


def test_a_key_is_replaced_from_either_place_and_never_shown(
    run: Run, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_KEY", SECOND)

    replaced = run("account", "set", "main", "--api-key-env", "THEIR_KEY")
    assert read_keys(database) == [SECOND]
    run("account", "set", "main", "--api-key-stdin", stdin=FIRST)
    assert read_keys(database) == [FIRST]

    listed = run("account", "list", "--json")
    assert listed.document[0]["api_keys"] == [{"hint": "6789", "state": "works"}]
    assert FIRST not in replaced.out + replaced.err + listed.out + listed.err


def test_a_second_key_is_added_beside_a_new_limit(
    run: Run, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_KEY", SECOND)

    changed = run(
        "account", "set", "main", "--add-api-key-env", "THEIR_KEY", "--max-running", "9", "--json"
    )

    assert changed.document["max_running"] == 9
    assert read_keys(database) == [FIRST, SECOND]


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--api-key-stdin", "--add-api-key-env", "THEIR_KEY"),
        ("--api-key-env", "THEIR_KEY", "--add-api-key-env", "THEIR_KEY"),
    ],
)
def test_a_change_of_nothing_or_of_two_keys_at_once_is_a_usage_error(
    run: Run, database: str, flags: tuple[str, ...]
) -> None:
    refused = run("account", "set", "main", *flags)

    assert refused.code == 2
    assert "--add-api-key-env" in refused.err
    assert read_keys(database) == [FIRST]


def test_a_variable_that_is_not_set_is_named(run: Run, database: str) -> None:
    refused = run("account", "set", "main", "--add-api-key-env", "THEIR_KEY")

    assert refused.code == 1
    assert "'THEIR_KEY' is not set" in refused.err
    assert read_keys(database) == [FIRST]


@pytest.mark.parametrize(
    ("news", "shown"),
    [
        (Throttled("Throttling.RateQuota", 30.0), ("throttled until", "(Throttling.RateQuota)")),
        (Barred("Arrearage", Reach.ACCOUNT), ("suspended (Arrearage), next try",)),
    ],
)
def test_the_list_says_what_holds_an_account_back_and_a_person_ends_it(
    run: Run, database: str, news: News, shown: tuple[str, ...]
) -> None:
    assert "not reachable" in run("account", "list").out
    hear(database, news)

    listed = run("account", "list").out
    resumed = run("account", "resume", "main")

    assert all(words in " ".join(listed.split()) for words in shown)
    assert resumed.code == 0
    assert "not reachable" in run("account", "list").out
    (document,) = run("account", "list", "--json").document
    assert document["models"][0]["health"] == "healthy"
    assert document["last_trouble"]["code"] == getattr(news, "code", None)


@pytest.mark.parametrize(
    ("news", "typed"),
    [
        (Barred("Arrearage", Reach.ACCOUNT), f"{PROGRAM} account resume main"),
        (Crowded("Throttling.Concurrency", 4), f"{PROGRAM} account set main --max-running 3"),
    ],
)
def test_the_list_says_what_to_type(run: Run, database: str, news: News, typed: str) -> None:
    assert run("account", "list").err == ""
    hear(database, news)

    assert typed in run("account", "list").err


def test_a_draining_account_shows_what_still_runs(run: Run, database: str) -> None:
    hear(database, Throttled("Throttling"))

    run("account", "drain", "main")

    (line,) = [line for line in run("account", "list").out.splitlines() if "main" in line]
    assert "draining" in line
    assert "0 of 5" in line


def test_the_list_needs_no_secret(
    run: Run, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASHGATE_SECRET_KEY")

    assert "...6789" in run("account", "list").out
