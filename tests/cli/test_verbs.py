"""The operator's verbs: what they do, print and record."""

import asyncio
import csv
import io
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from app.accounts.directory import load_accounts
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions, open_pool
from app.teams.authenticate import KeyRing
from tests.billing.books import accept_job, end_job, make_payer
from tests.cli.conftest import SECRET, Run

T = TypeVar("T")

API_KEY = "sk-0123456789abcdefghij"
VAULT = Vault((SECRET,))
CREATE_KEY = ("key", "create", "--team", "ads", "--name", "ci")


def ask(database: str, work: Callable[[Pool], Awaitable[T]]) -> T:
    async def in_pool() -> T:
        pool = await open_pool(database, max_size=2)
        try:
            return await work(pool)
        finally:
            await pool.close()

    return asyncio.run(in_pool())


def _add_account(run: Run, *more: str) -> Any:
    place = ("--region", "cn-beijing", "--api-key-stdin")
    return run("account", "add", "main", *place, *more, stdin=API_KEY + "\n")


def test_a_team_is_created_listed_changed_and_disabled(run: Run) -> None:
    created = run("team", "create", "ads", "--weight", "2.5", "--max-running", "3", "--json")
    assert created.document["weight"] == 2.5

    (listed,) = run("team", "list", "--json").document
    assert listed == created.document
    changed = run("team", "set", "ads", "--max-running", "0", "--cost-center", "CC-7", "--json")
    assert (changed.document["max_running"], changed.document["cost_center"]) == (None, "CC-7")
    assert changed.document["weight"] == 2.5
    run("team", "disable", listed["id"])
    assert run("team", "show", "ads", "--json").document["disabled_at"]
    run("team", "enable", "ads")
    assert run("team", "show", "ads", "--json").document["disabled_at"] is None


def test_a_limit_that_is_not_applied_yet_is_said_to_be_none(run: Run) -> None:
    created = run("team", "create", "ads", "--requests-per-minute", "60", "--json")
    assert created.document["requests_per_minute"] == 60
    assert "not applied yet" in created.err

    assert "not applied yet" in run("team", "set", "ads", "--requests-per-minute", "6").err
    assert "not applied yet" not in run("team", "set", "ads", "--max-running", "6").err


def test_a_created_key_gets_in_until_it_is_revoked(run: Run, database: str) -> None:
    async def use(pool: Pool) -> str:
        caller = await KeyRing(pool, VAULT, utc_now).authenticate(made["key"], "10.1.2.3")
        return f"{caller.team_name}/{caller.key_name}"

    run("team", "create", "ads")
    made = run(*CREATE_KEY, "--allow-ip", "10.0.0.0/8,192.0.2.0/24", "--json").document
    assert (made["name"], made["team"]) == ("ci", "ads")
    assert made["public_id"] in made["key"]
    assert ask(database, use) == "ads/ci"

    assert run("key", "revoke", "ci").code == 0

    (listed,) = run("key", "list", "--team", "ads", "--json").document
    assert listed["revoked_at"]
    with pytest.raises(Exception, match="was revoked"):
        ask(database, use)


def test_only_the_key_is_on_standard_output_and_only_once(run: Run) -> None:
    run("team", "create", "ads")

    made = run(*CREATE_KEY)

    key = made.out.strip()
    assert key.startswith("dg_live_")
    assert key not in run("key", "list").out + run("key", "list", "--json").out
    assert key not in made.err


def test_an_operators_key_has_its_role(run: Run) -> None:
    made = run("key", "create", "--name", "root", "--role", "admin", "--json").document

    assert (made["role"], made["team"], made["scopes"]) == ("admin", None, [])


def test_scopes_and_expiry_are_those_asked_for(run: Run) -> None:
    run("team", "create", "ads", "--timezone", "America/New_York")
    day = utc_now().date() + timedelta(days=40)

    made = run(*CREATE_KEY, "--scopes", "jobs:read", "--expires", str(day), "--json").document

    assert made["scopes"] == ["jobs:read"]
    end = datetime.fromisoformat(made["expires_at"])
    assert end.astimezone(UTC).date() == day + timedelta(days=1)
    assert end.astimezone(UTC).hour in (4, 5)


def test_an_account_is_added_listed_set_drained_and_removed(run: Run, database: str) -> None:
    added = _add_account(run, "--max-running", "2", "--json").document
    assert (added["state"], added["max_running"]) == ("active", 2)

    (account,) = ask(database, lambda pool: load_accounts(pool, VAULT))
    assert account.lanes[0].api_key.get_secret_value() == API_KEY
    assert (
        run("account", "set", "main", "--query-rate", "7.5", "--json").document["query_rate"]
        == 7.5
    )
    assert run("account", "drain", "main", "--json").document["state"] == "draining"
    assert run("account", "drain", "main", "--undo", "--json").document["state"] == "active"
    assert run("account", "remove", added["id"], "--json").document["state"] == "removed"
    assert run("account", "list", "--json").document[0]["max_running"] == 2


def test_an_api_key_comes_from_the_environment_and_is_never_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_KEY", API_KEY)
    place = ("--region", "ap-southeast-1", "--api-key-env", "THEIR_KEY")

    added = run("account", "add", "main", *place)
    listed = run("account", "list")

    assert added.code == 0
    assert "...ghij" in listed.out
    assert API_KEY not in added.out + added.err + listed.out + listed.err


def test_prices_are_appended_and_the_current_one_is_marked(run: Run) -> None:
    price = ("price", "set", "wan2.5-i2i-preview")
    tomorrow = str(date.today() + timedelta(days=2))  # noqa: DTZ011
    first = run(*price, "0.3", "--region", "cn-beijing", "--json").document
    assert (first["unit_price"], first["currency"], first["is_current"]) == ("0.30", "CNY", True)

    run(*price, "0.4", "--region", "cn-beijing", "--from", tomorrow)

    listed = run("price", "list", "--json").document
    assert [(row["unit_price"], row["is_current"]) for row in listed] == [
        ("0.40", False),
        ("0.30", True),
    ]


@pytest.fixture
async def ended_job(pool: Pool, sessions: Sessions, vault: Vault) -> datetime:
    at = datetime(2026, 11, 10, 12, tzinfo=UTC)
    payer = await make_payer(sessions, vault, name="ads")
    job = await accept_job(pool, payer, n=2, metadata={"campaign": "春"})
    await end_job(pool, job, image_count=2, at=at)
    return at


REPORT = ("report", "--from", "2026-11-10", "--to", "2026-11-10")


def test_a_report_is_one_document(run: Run, ended_job: datetime) -> None:
    document = run(*REPORT, "--group-by", "team,day", "--json").document

    assert document["as_of"].endswith("Z")
    (row,) = document["rows"]
    assert (row["team"], row["day"]) == ("ads", "2026-11-10")
    assert (row["image_count"], row["amount"], row["currency"]) == (2, "0.40", "CNY")
    assert run(*REPORT, "--format", "json").document["rows"][0]["jobs"] == 1


def test_a_report_is_csv_for_programs_and_for_spreadsheets(
    run: Run, ended_job: datetime, home: Path
) -> None:
    asked = (*REPORT, "--group-by", "tag:campaign", "--format", "csv")

    printed = run(*asked).out
    run(*asked, "--out", "report.csv")

    row, _ = csv.DictReader(io.StringIO(printed))
    assert (row["tag:campaign"], row["amount"]) == ("春", "0.40")
    assert (home / "report.csv").read_bytes().startswith(b"\xef\xbb\xbftag:campaign")


def test_a_table_ends_in_its_total(run: Run, ended_job: datetime) -> None:
    lines = run(*REPORT, "--group-by", "team", "--group-by", "day").out.splitlines()

    assert lines[3].split()[:3] == ["team", "day", "jobs"]
    assert lines[-1].split() == ["total", "-", "1", "1", "0", "0", "0", "2", "-", "0.40", "CNY"]


def test_a_report_may_be_of_one_team(run: Run, ended_job: datetime) -> None:
    run("team", "create", "web")

    assert run(*REPORT, "--team", "web", "--json").document["rows"] == []
    assert len(run(*REPORT, "--team", "ads", "--json").document["rows"]) == 1


CHANGES: list[tuple[str, tuple[str, ...]]] = [
    ("team.created", ("team", "create", "web")),
    ("team.set", ("team", "set", "ads", "--weight", "2")),
    ("team.disabled", ("team", "disable", "ads")),
    ("key.created", ("key", "create", "--team", "ads", "--name", "ci")),
    ("key.revoked", ("key", "revoke", "old")),
    ("account.set", ("account", "set", "main", "--weight", "2")),
    ("account.drained", ("account", "drain", "main")),
    ("account.removed", ("account", "remove", "main")),
    ("price.set", ("price", "set", "wan2.5-i2i-preview", "1", "--region", "cn-beijing")),
]


@pytest.mark.parametrize(("action", "command"), CHANGES, ids=[change[0] for change in CHANGES])
def test_every_change_is_in_the_audit_log_without_secrets(
    run: Run, database: str, action: str, command: tuple[str, ...]
) -> None:
    run("team", "create", "ads")
    old = run("key", "create", "--team", "ads", "--name", "old", "--json").document["key"]
    _add_account(run)

    assert run(*command).code == 0

    entries = ask(
        database, lambda pool: pool.fetch("select * from audit_entries order by id desc")
    )
    assert entries[0]["action"] == action
    assert entries[0]["actor"].startswith("cli:")
    assert API_KEY not in str(entries)
    assert old[-38:] not in str(entries)
