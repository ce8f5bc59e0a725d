"""`report`: usage and cost, as a table, JSON or CSV."""

import sys
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.billing.report_csv import write_csv
from app.billing.report_rows import Report
from app.billing.reports import ReportQuery, find_month, make_report
from app.cli.arguments import parse_day, split_list
from app.cli.context import in_transaction
from app.cli.operators.report_table import print_report
from app.cli.output import AsJson, print_json, say, to_json
from app.kit.clock import utc_now
from app.teams.rules import DEFAULT_TIMEZONE
from app.teams.store import get_team


class ReportFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


GroupBy = Annotated[
    list[str] | None,
    typer.Option(help="Of team, cost_center, month, day, model, key, unit_price and tag:NAME."),
]
WithIdle = Annotated[
    bool,
    typer.Option(
        "--all", help="Also teams, cost centres, months and days without jobs, as zeros."
    ),
]
FILE_FORMATS = {".csv": ReportFormat.CSV, ".json": ReportFormat.JSON}


def _day(name: str, help_text: str) -> Any:
    return typer.Option(name, parser=parse_day, metavar="DAY", help=help_text)


def report(
    *,
    from_day: Annotated[
        date | None, _day("--from", "First day; that of this month unless given.")
    ] = None,
    to_day: Annotated[date | None, _day("--to", "Last day, included; today unless given.")] = None,
    group_by: GroupBy = None,
    team: Annotated[str | None, typer.Option(metavar="TEAM", help="Only that team.")] = None,
    with_idle: WithIdle = False,
    format: Annotated[
        ReportFormat | None, typer.Option(help="A table unless given, or told by --out.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A .csv file, which spreadsheets open as it is, or a .json file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report usage and cost; days are those of each team's time zone.

    A job counts on the day on which it ended, in its team's time zone.
    It bears the price that was in force when it was accepted.
    Only delivered images cost; failed, canceled and expired jobs are free.
    A cost centre is the one that its teams have now, also for days gone by.
    Waste counts on the day on which it was found, and no team pays it.
    """
    shape = _choose_format(ReportFormat.JSON if as_json else format, out)
    groups = split_list(group_by) or ("team",)

    made = in_transaction(
        lambda session: _read(session, from_day, to_day, groups, team, with_idle=with_idle)
    )
    if out is not None:
        _write_file(made, shape, out)
        return
    match shape:
        case ReportFormat.JSON:
            print_json(made.to_dict())
        case ReportFormat.CSV:
            write_csv(made, sys.stdout)
        case ReportFormat.TABLE:
            print_report(made)


async def _read(
    session: AsyncSession,
    from_day: date | None,
    to_day: date | None,
    groups: tuple[str, ...],
    team: str | None,
    *,
    with_idle: bool,
) -> Report:
    asked = await get_team(session, team) if team is not None else None
    zone, team_id = (asked.timezone, asked.id) if asked else (DEFAULT_TIMEZONE, None)
    _, today = find_month(utc_now(), zone)
    last = to_day or today
    first = from_day or last.replace(day=1)
    return await make_report(session, ReportQuery(first, last, groups, team_id, with_idle))


def _choose_format(asked: ReportFormat | None, out: Path | None) -> ReportFormat:
    """What was asked for, else what the file's name says; raises typer.BadParameter."""
    if out is None:
        return asked or ReportFormat.TABLE
    told = FILE_FORMATS.get(out.suffix.lower())
    shape = asked or told
    if shape is None:
        raise typer.BadParameter(f"--out: name {out} .csv or .json, or add --format csv or json")
    if shape is ReportFormat.TABLE or (told is not None and told is not shape):
        raise typer.BadParameter(f"--out {out} is not for --format {shape}")
    return shape


def _write_file(made: Report, shape: ReportFormat, out: Path) -> None:
    if shape is ReportFormat.JSON:
        out.write_text(f"{to_json(made.to_dict())}\n", encoding="utf-8")
    else:
        # Spreadsheets take a file for UTF-8 only when it begins with a byte order mark.
        with out.open("w", encoding="utf-8-sig", newline="") as stream:
            write_csv(made, stream)
    state = "still open" if made.period.is_open else "closed"
    say(f"{len(made.rows)} rows are in {out}, with totals and waste; the period is {state}.")
