"""`price`: begins with the day of a stated zone, can be taken back, asks about currencies."""

import asyncio
import io
import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from app.kit.clock import utc_now
from app.kit.postgres.database import to_asyncpg_dsn
from tests.cli.conftest import Run

MODEL = "wan2.5-i2i-preview"
SET = ("price", "set", MODEL)
CANCEL = ("price", "cancel", MODEL)
BEIJING = ("--region", "cn-beijing")
SINGAPORE = ("--region", "ap-southeast-1")


class Terminal(io.StringIO):
    """Somebody sits there and types."""

    def isatty(self) -> bool:
        return True


def fetch(database: str, query: str) -> list[Any]:
    async def work() -> list[Any]:
        connection = await asyncpg.connect(to_asyncpg_dsn(database))
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    return asyncio.run(work())


def list_prices(run: Run) -> list[tuple[str, str, str]]:
    listed = run("price", "list", "--json").document
    return [(row["unit_price"], row["currency"], row["state"]) for row in listed]


@pytest.mark.parametrize(
    ("begin", "zone", "moment"),
    [
        (("2099-01-01",), "Asia/Shanghai", "2098-12-31T16:00:00Z"),
        (("2099-01-01", "--timezone", "UTC"), "UTC", "2099-01-01T00:00:00Z"),
        (
            ("2099-07-01", "--timezone", "Europe/Berlin"),
            "Europe/Berlin",
            "2099-06-30T22:00:00Z",
        ),
        (("2099-01-01T08:00",), "Asia/Shanghai", "2099-01-01T00:00:00Z"),
        (("2099-01-01T08:00+01:00",), "Asia/Shanghai", "2099-01-01T07:00:00Z"),
    ],
)
def test_a_price_begins_with_the_day_of_a_zone(
    run: Run, begin: tuple[str, ...], zone: str, moment: str
) -> None:
    made = run(*SET, "0.25", *BEIJING, "--from", *begin)

    assert run("price", "list", "--json").document[0]["valid_from"] == moment
    assert zone in made.out
    assert f"({moment[:10]} {moment[11:16]} UTC)" in made.out


def test_the_start_of_the_day_is_said_in_local_time(run: Run) -> None:
    made = run(*SET, "0.25", *BEIJING, "--from", "2099-01-01")

    assert "0.25 CNY from 2099-01-01 00:00 Asia/Shanghai on" in made.out
    table = run("price", "list", "--timezone", "UTC").out
    assert "(UTC)" in table
    assert "2098-12-31 16:00" in table


@pytest.mark.parametrize(
    "command",
    [(*SET, "1", *BEIJING), ("price", "list"), (*CANCEL, *BEIJING, "--from", "2099-01-01")],
)
def test_a_zone_that_is_none_is_refused(run: Run, command: tuple[str, ...]) -> None:
    refused = run(*command, "--timezone", "Mars/Base")

    assert refused.code == 1
    assert "no IANA time zone" in refused.err


def test_today_has_begun_and_cannot_be_the_first_day(run: Run) -> None:
    today = str(utc_now().date())

    refused = run(*SET, "1", *BEIJING, "--from", today, "--timezone", "UTC")

    assert refused.code == 1
    assert "begin now or later" in refused.err


def test_a_price_that_has_not_begun_is_taken_back_and_audited(run: Run, database: str) -> None:
    run(*SET, "0.20", *BEIJING)
    made = run(*SET, "0.25", *BEIJING, "--from", "2099-01-01")
    assert list_prices(run) == [("0.25", "CNY", "future"), ("0.20", "CNY", "current")]

    canceled = run(*CANCEL, *BEIJING, "--from", "2099-01-01")

    assert canceled.code == 0, canceled.err
    assert "0.25 CNY" in canceled.out
    assert "2099-01-01 00:00 Asia/Shanghai" in canceled.out
    assert list_prices(run) == [("0.20", "CNY", "current")]
    (entry,) = fetch(database, "select * from audit_entries where action = 'price.canceled'")
    assert entry["actor"].startswith("cli:")
    assert json.loads(entry["detail"])["unit_price"] == "0.25"
    assert run(*SET, "0.26", *BEIJING, "--from", "2099-01-01").code == 0
    assert "price cancel" in made.err


def test_the_command_that_takes_it_back_is_said_and_works(run: Run) -> None:
    made = run(*SET, "0.25", *BEIJING, "--from", "2099-01-01T10:30", "--timezone", "Asia/Tokyo")
    _, _, typed = made.err.strip().partition(" price cancel ")

    taken = run("price", "cancel", *typed.split(), "--json").document

    assert (taken["state"], taken["unit_price"]) == ("canceled", "0.25")
    assert list_prices(run) == []


def test_a_price_that_has_begun_stays(run: Run, database: str) -> None:
    begun = run(*SET, "0.20", *BEIJING, "--json").document["valid_from"]

    refused = run(*CANCEL, *BEIJING, "--from", begun)

    assert refused.code == 1
    assert "has begun" in refused.err
    assert list_prices(run) == [("0.20", "CNY", "current")]
    assert fetch(database, "select from audit_entries where action = 'price.canceled'") == []


def test_a_price_that_begins_within_a_minute_stays(run: Run) -> None:
    soon = (utc_now() + timedelta(seconds=30)).isoformat()
    run(*SET, "0.20", *BEIJING, "--from", soon)

    assert "within a minute" in run(*CANCEL, *BEIJING, "--from", soon).err


def test_a_price_that_is_not_there_is_named_beside_the_last_one(run: Run) -> None:
    run(*SET, "0.25", *BEIJING, "--from", "2099-01-01")

    for place, day, last in (
        (BEIJING, "2099-01-02", "2099-01-01T00:00"),
        (SINGAPORE, "2099-01-01", "none"),
    ):
        refused = run(*CANCEL, *place, "--from", day)
        assert refused.code == 1
        assert f"the last one begins at {last}" in refused.err
    assert len(list_prices(run)) == 1


def test_the_states_are_past_current_and_future(run: Run) -> None:
    for amount, more in (("1", ()), ("2", ()), ("3", ("--from", "2099-01-01"))):
        run(*SET, amount, *BEIJING, *more)

    assert [state for _, _, state in list_prices(run)] == ["future", "current", "past"]


def test_a_change_of_currency_is_asked_on_a_terminal(run: Run) -> None:
    run(*SET, "0.20", *BEIJING)
    dollars = (*SET, "0.03", *BEIJING, "--currency", "USD")

    refused = run(*dollars, stdin=Terminal("n\n"))

    assert refused.code == 1
    assert "changes from CNY to USD" in refused.err
    assert list_prices(run) == [("0.20", "CNY", "current")]
    assert run(*dollars, stdin=Terminal("y\n")).code == 0
    assert [currency for _, currency, _ in list_prices(run)] == ["USD", "CNY"]


@pytest.mark.parametrize("terminal", [True, False])
def test_who_said_yes_and_a_script_are_not_asked_but_told(run: Run, terminal: bool) -> None:
    run(*SET, "0.20", *BEIJING)
    said, stdin = (("--yes",), Terminal("n\n")) if terminal else ((), io.StringIO())

    made = run(*SET, "0.03", *BEIJING, "--currency", "USD", *said, stdin=stdin)

    assert made.code == 0
    assert "changes from CNY to USD" in made.err
    assert "all the same" not in made.err


def test_a_currency_unlike_that_of_another_region_is_asked_about(run: Run) -> None:
    run(*SET, "0.20", *BEIJING)

    refused = run(*SET, "0.03", *SINGAPORE, "--currency", "USD", stdin=Terminal("n\n"))

    assert refused.code == 1
    assert "0.20 CNY in cn-beijing" in refused.err
    assert "refused" in refused.err


def test_what_changes_no_currency_is_not_asked(run: Run) -> None:
    run(*SET, "0.20", *BEIJING)

    for more in (("0.25", *BEIJING, "--from", "2099-01-01"), ("0.22", *SINGAPORE)):
        assert run(*SET, *more, stdin=Terminal("n\n")).code == 0


def test_the_currency_is_compared_at_the_moment_when_the_price_begins(run: Run) -> None:
    run(*SET, "0.20", *BEIJING)
    run(*SET, "0.03", *BEIJING, "--currency", "USD", "--from", "2098-01-01")

    for currency, day, code in (("USD", "2098-01-02", 0), ("CNY", "2098-01-03", 1)):
        more = ("--currency", currency, "--from", day)
        assert run(*SET, "0.04", *BEIJING, *more, stdin=Terminal("n\n")).code == code
