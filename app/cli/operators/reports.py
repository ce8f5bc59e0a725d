"""`report`: usage and cost, as a table, JSON or CSV."""

import sys
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.billing.money import format_amount
from app.billing.reports import (
    Report,
    ReportQuery,
    ReportRow,
    Sums,
    Waste,
    find_month,
    make_report,
    to_totals,
    write_csv,
)
from app.cli.arguments import parse_day, split_list
from app.cli.context import in_transaction
from app.cli.output import AsJson, print_json, print_table, say
from app.kit.clock import utc_now
from app.teams.rules import DEFAULT_TIMEZONE
from app.teams.store import get_team


class ReportFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def _day(name: str, help_text: str) -> Any:
    return typer.Option(name, parser=parse_day, metavar="DAY", help=help_text)


def report(
    *,
    from_day: Annotated[
        date | None, _day("--from", "First day; that of this month unless given.")
    ] = None,
    to_day: Annotated[date | None, _day("--to", "Last day, included; today unless given.")] = None,
    group_by: Annotated[
        list[str] | None, typer.Option(help="Of team, day, model, key and tag:NAME.")
    ] = None,
    team: Annotated[str | None, typer.Option(metavar="TEAM", help="Only that team.")] = None,
    format: Annotated[ReportFormat, typer.Option()] = ReportFormat.TABLE,
    out: Annotated[
        Path | None, typer.Option(help="A CSV file that spreadsheets open as it is.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report usage and cost; days are those of each team's time zone."""
    shape = ReportFormat.JSON if as_json else format
    if out is not None and shape is not ReportFormat.CSV:
        raise typer.BadParameter("--out is for --format csv")
    groups = split_list(group_by) or ("team",)

    async def work(session: AsyncSession) -> tuple[ReportQuery, Report]:
        asked = await get_team(session, team) if team is not None else None
        zone, team_id = (asked.timezone, asked.id) if asked else (DEFAULT_TIMEZONE, None)
        _, today = find_month(utc_now(), zone)
        last = to_day or today
        query = ReportQuery(from_day or last.replace(day=1), last, groups, team_id)
        return query, await make_report(session, query)

    query, made = in_transaction(work)
    match shape:
        case ReportFormat.JSON:
            print_json(
                {
                    "rows": [row.to_dict() for row in made.rows],
                    "waste": [waste.to_dict() for waste in made.waste],
                    "as_of": made.as_of,
                }
            )
        case ReportFormat.CSV:
            _write_csv(made, out)
            for waste in made.waste:
                amount = f"{format_amount(waste.amount)} {waste.currency}"
                say(f"waste, in no row: {waste.image_count} images, {amount}, of the company.")
        case ReportFormat.TABLE:
            _print(made)
            span = f"{query.from_day} to {query.to_day}"
            say(f"{span}, days of each team's time zone, as of {made.as_of:%H:%M} UTC.")


def _write_csv(made: Report, out: Path | None) -> None:
    if out is None:
        write_csv(made, sys.stdout)
        return
    # Spreadsheets take a file for UTF-8 only when it begins with a byte order mark.
    with out.open("w", encoding="utf-8-sig", newline="") as stream:
        write_csv(made, stream)
    say(f"{len(made.rows)} rows are in {out}.")


def _print(made: Report) -> None:
    rows = [row.to_dict() for row in made.rows]
    totals = [_to_total_row(made, sums) for sums in to_totals(made)]
    wasted = [_to_waste_row(made, waste) for waste in made.waste]
    print_table([*rows, *totals, *wasted], made.columns)
    if wasted:
        say("waste: billed by the upstream and got by no team; the company pays it.")


def _to_total_row(made: Report, sums: Sums) -> dict[str, Any]:
    cells: dict[str, Any] = dict.fromkeys(made.columns)
    return cells | ReportRow({made.columns[0]: "total"}, sums).to_dict()


def _to_waste_row(made: Report, waste: Waste) -> dict[str, Any]:
    cells: dict[str, Any] = dict.fromkeys(made.columns)
    return cells | {made.columns[0]: "waste"} | waste.to_dict()
