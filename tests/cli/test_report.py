"""`report` as finance reads it: a month of twelve teams, three of them idle, in each format."""

import csv
import io
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.cells import cell_len
from rich.text import Text

from app.billing.report_rows import Period, Report, ReportRow, Sums
from app.billing.waste import book_waste
from app.cli.operators.report_table import print_report
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, make_engine, make_sessions, open_pool, transaction
from tests.billing.books import accept_job, end_job, make_payer
from tests.cli.conftest import SECRET, Run
from tests.databases import cloned_database
from tests.factories import make_price

TEAMS = (
    *("ads", "app-store", "art-and-marketing", "brand", "catalogue", "demo"),
    *("events", "fashion", "games", "home", "print", "web"),
)
IDLE = {"demo", "events", "print"}
CENTRES = ("4711", "4712", "4713", "0815", None, "=cmd()")
OCTOBER = ("report", "--from", "2026-10-01", "--to", "2026-10-31")
NOON = datetime(2026, 10, 5, 4, tzinfo=UTC)

Show = Callable[..., list[str]]


@pytest.fixture(scope="module")
async def month(server_url: str, template: str, vault: Vault) -> AsyncIterator[str]:
    """The URL of the database; only read."""
    async with cloned_database(server_url, template) as url:
        engine, pool = make_engine(url), await open_pool(url, max_size=2)
        sessions = make_sessions(engine)
        await make_price(sessions)
        await make_price(sessions, amount="0.25", valid_from=NOON)
        for number, name in enumerate(TEAMS):
            payer = await make_payer(sessions, vault, name=name, cost_center=CENTRES[number // 2])
            for price in ("0.20", "0.25")[: 0 if name in IDLE else 1 + number % 2]:
                tag = "=cmd()" if name == "web" else "s\x1b[2Jpring\n"
                job = await accept_job(
                    pool, payer, n=4, unit_price=price, metadata={"campaign": tag}
                )
                await end_job(pool, job, image_count=number % 4 + 1, at=NOON)
        await _waste(pool, job.job_id)
        yield url
        await pool.close()
        await engine.dispose()


async def _waste(pool: Pool, job_id: Any) -> None:
    async with transaction(pool) as connection:
        await book_waste(connection, job_id, "task", billed=2)
        await connection.execute("update daily_waste set day = '2026-10-05'")


@pytest.fixture
def report(run_bare: Run, month: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("DATABASE_URL", month)
    monkeypatch.setenv("DASHGATE_SECRET_KEY", SECRET)
    return lambda *arguments: run_bare(*OCTOBER, *arguments)


@pytest.fixture
def terminal(report: Run, monkeypatch: pytest.MonkeyPatch) -> Show:
    """The same on a terminal of a width; even a dumb one, which claims 80 columns."""

    def on_terminal(width: int, *arguments: str) -> list[str]:
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.delenv("LINES", raising=False)
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((width, 24)))
        return Text.from_ansi(report(*arguments).out).plain.splitlines()

    return on_terminal


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("groups", ["team", "cost_center,team,month"])
def test_a_month_is_a_line_for_each_team_at_every_width(
    terminal: Show, width: int, groups: str
) -> None:
    lines = terminal(width, "--all", "--group-by", groups)

    assert max(map(cell_len, lines)) <= width
    assert "…" not in "".join(lines)
    rows = lines[-14:]
    assert [sum(name in line for line in rows) for name in TEAMS] == [1] * 12
    assert [line.split()[0] for line in rows[-2:]] == ["total", "waste"]


def test_a_narrow_terminal_shows_one_sum_of_what_ended_free(terminal: Show) -> None:
    wide, narrow = terminal(120, "--all"), terminal(80, "--all")

    assert {"failed", "canceled", "expired"} < set(wide[3].split())
    assert {"jobs", "succeeded", "free", "amount"} < set(narrow[3].split())
    assert wide[-2].split()[-2:] == narrow[-2].split()[-2:]


def test_amounts_end_below_each_other(terminal: Show) -> None:
    _, _, _, heads, *lines = terminal(120)

    end = heads.index("amount") + len("amount")
    assert {line[end : end + 5].strip() for line in lines} == {"CNY"}
    assert {line[:end].rpartition(".")[2].isdigit() for line in lines} == {True}


def test_amounts_of_a_column_have_as_many_decimals_as_the_finest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = tuple(
        ReportRow({"team": "ads"}, Sums(1, 1, 0, 0, 0, 1, price, currency), price)
        for price, currency in ((Decimal("0.2"), "CNY"), (Decimal("0.220177"), "USD"))
    )
    day = NOON.date()

    print_report(Report(("team",), rows, Period(day, day, ("UTC",), day), NOON))

    lines = [line.split() for line in capsys.readouterr().out.splitlines()[4:]]
    assert [line[-3:] for line in lines] == [
        ["0.200000", "0.200000", "CNY"],
        ["0.220177", "0.220177", "USD"],
        ["-", "0.200000", "CNY"],
        ["-", "0.220177", "USD"],
    ]


def test_prices_alone_have_their_total_too(report: Run) -> None:
    lines = report("--group-by", "unit_price").out.splitlines()[4:]

    assert [line.split()[-3] for line in lines] == ["0.20", "0.25", "total", "waste"]


def test_a_period_without_jobs_says_so(report: Run) -> None:
    empty = report("--from", "2026-10-20")

    assert "No job has ended" in empty.err
    assert report("--from", "2026-10-20", "--json").document["rows"] == []


def test_a_table_begins_with_its_period_zone_and_state(report: Run) -> None:
    days, state, blank, *_ = report().out.splitlines()

    assert days == "2026-10-01 to 2026-10-31, days in Asia/Shanghai."
    assert "Asia/Shanghai. Closed" in state
    assert blank == ""


def test_a_month_that_has_not_ended_is_said_to_be_open(report: Run, home: Path) -> None:
    later = ("--to", "2099-01-31")

    assert "Still open: jobs that end by 2099-01-31 are added." in report(*later).out
    assert report(*later, "--json").document["period"]["is_open"] is True
    assert "still open" in report(*later, "--out", "x.csv").err
    assert {line["period_state"] for line in _read(home / "x.csv")} == {"open"}
    assert "Still open" not in report().out


def test_several_prices_are_said_and_can_be_taken_apart(report: Run) -> None:
    together = report("--team", "brand")
    apart = report("--team", "brand", "--group-by", "team,unit_price")

    assert "several" in together.out
    assert "add unit_price" in together.err
    assert [line.split()[-3:-1] for line in apart.out.splitlines()[-3:-1]] == [
        ["0.20", "0.80"],
        ["0.25", "1.00"],
    ]
    assert "several" not in apart.out + apart.err.lower()


def test_the_document_has_period_totals_and_waste_beside_the_rows(report: Run) -> None:
    document = report("--all", "--group-by", "team,cost_center", "--json").document

    assert set(document) == {"rows", "period", "totals", "waste", "as_of"}
    assert [row["team"] for row in document["rows"]] == sorted(TEAMS)
    assert {row["team"] for row in document["rows"] if row["jobs"] == 0} == IDLE
    assert document["period"]["timezones"] == ["Asia/Shanghai"]
    (total,) = document["totals"]
    assert Decimal(total["amount"]) == sum(Decimal(row["amount"]) for row in document["rows"])
    assert document["waste"] == [{"image_count": 2, "amount": "0.50", "currency": "CNY"}]
    assert {row["unit_price"] for row in document["rows"]} == {"0.20", None}


def test_the_three_formats_say_the_same(report: Run, home: Path) -> None:
    asked = ("--all", "--group-by", "cost_center,team")
    rows = report(*asked, "--json").document["rows"]
    report(*asked, "--out", "x.csv")
    report(*asked, "--out", "x.JSON")
    table = report(*asked).out.splitlines()[4:-2]

    usage = [line for line in _read(home / "x.csv") if line["line"] == "usage"]
    assert [(line["team"], line["amount"]) for line in usage] == [
        (row["team"], row["amount"]) for row in rows
    ]
    assert [(words[1], words[-2]) for words in map(str.split, table)] == [
        (row["team"], row["amount"]) for row in rows
    ]
    assert orjson.loads((home / "x.JSON").read_bytes())["rows"] == rows


def test_a_tag_runs_no_formula_in_a_spreadsheet_and_moves_no_cursor(
    report: Run, home: Path
) -> None:
    asked = ("--group-by", "tag:campaign")
    report(*asked, "--out", "x.csv")
    table = report(*asked).out

    tags = [line["tag:campaign"] for line in _read(home / "x.csv")]
    assert "'=cmd()" in tags
    assert not any(tag.startswith("=") for tag in tags)
    assert r"s\x1b[2Jpring\n" in table
    assert "\x1b[2J" not in table


def test_a_cost_centre_runs_no_formula_either(report: Run) -> None:
    printed = report("--group-by", "cost_center", "--format", "csv").out

    assert "'=cmd()" in [line["cost_center"] for line in csv.DictReader(io.StringIO(printed))]


def test_a_file_that_names_no_format_is_refused_with_what_to_do(report: Run) -> None:
    refused = report("--out", "month.xlsx")

    assert refused.code == 2
    assert ".csv or .json" in refused.err


def test_a_file_of_another_name_takes_the_format_that_is_given(report: Run, home: Path) -> None:
    report("--out", "month.txt", "--format", "csv")

    assert _read(home / "month.txt")[0]["team"] == "ads"


def test_the_help_says_which_day_and_which_price(report: Run) -> None:
    told = " ".join(report("--help").out.split())

    assert "on the day on which it ended, in its team's time zone" in told
    assert "the price that was in force when it was accepted" in told


def _read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
