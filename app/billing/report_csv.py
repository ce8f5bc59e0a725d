"""A report as CSV: one file that says all, and whose columns may be added up as they are.

A line is of usage, a total or waste, as its column `line` says. Totals and waste have columns of
their own, so that the sum over `amount` is what the teams pay, whichever lines are taken.
"""

import csv
import re
from collections.abc import Iterator
from typing import Any, TextIO

from app.billing.money import format_amount
from app.billing.report_rows import Period, Report, to_totals

OWN_COLUMNS = (
    *("line", "total_image_count", "total_amount", "waste_image_count", "waste_amount"),
    *("period_from", "period_to", "period_state", "timezone", "as_of"),
)
MISSING = "(none)"
EMPTY = "(empty)"

_FORMULA = re.compile("[=+\\-@\t\r\n＝＋－＠]")


def write_csv(report: Report, stream: TextIO) -> None:
    """RFC 4180; a text that a spreadsheet would run as a formula gets an apostrophe in front."""
    writer = csv.writer(stream)
    columns = (*report.columns, *OWN_COLUMNS)
    writer.writerow(_defuse(column) for column in columns)
    for line in _list_lines(report):
        writer.writerow(line.get(column, "") for column in columns)


def show_group(text: str | None) -> str:
    """A value that is empty is another than one that is missing, and than their own words."""
    match text:
        case None:
            return MISSING
        case "":
            return EMPTY
        case "(none)" | "(empty)":
            return f'"{text}"'
        case _:
            return text


def _list_lines(report: Report) -> Iterator[dict[str, Any]]:
    as_of = {"as_of": report.as_of.isoformat(timespec="seconds")}
    for row in report.rows:
        groups = {name: _defuse(show_group(value)) for name, value in row.group.items()}
        period = _describe(report.period.narrow(row))
        yield {**row.to_dict(), **groups, "line": "usage", **period, **as_of}
    end = _describe(report.period) | as_of
    for sums in to_totals(report):
        total = {"total_image_count": sums.image_count, "total_amount": format_amount(sums.amount)}
        yield {"line": "total", "currency": sums.currency, **total, **end}
    for waste in report.waste:
        lost = {
            "waste_image_count": waste.image_count,
            "waste_amount": format_amount(waste.amount),
        }
        yield {"line": "waste", "currency": waste.currency, **lost, **end}


def _describe(period: Period) -> dict[str, str]:
    return {
        "period_from": str(period.from_day),
        "period_to": str(period.to_day),
        "period_state": "open" if period.is_open else "closed",
        "timezone": ", ".join(period.timezones),
    }


def _defuse(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text
