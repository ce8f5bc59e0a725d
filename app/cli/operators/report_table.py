"""A report as a table for people: its period above, totals and waste below, as wide as it fits."""

from collections.abc import Iterable
from datetime import UTC
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import typer

from app.billing.money import DECIMALS, format_amount
from app.billing.report_csv import show_group
from app.billing.report_groups import TAG_PREFIX
from app.billing.report_rows import Report, ReportRow, Sums, Waste, to_totals
from app.cli.output import fits, print_table, say

COUNTS = ("jobs", "succeeded", "failed", "canceled", "expired")
SHORT_COUNTS = ("jobs", "succeeded", "free")
FEWEST_COUNTS = ("jobs",)
MONEY = ("images", "unit price", "amount", "currency")
NUMBERS = frozenset({*COUNTS, *SHORT_COUNTS, *MONEY} - {"currency"})


def print_report(made: Report) -> None:
    """The table on standard output; what its words mean beside it."""
    typer.echo(_describe_period(made))
    groups = [_to_heading(group) for group in made.groups if group != "unit_price"]
    rows = _list_lines(made, groups)
    tiers = [counts for counts in (COUNTS, SHORT_COUNTS) if fits(rows, (*groups, *counts, *MONEY))]
    counts = tiers[0] if tiers else FEWEST_COUNTS
    print_table(rows, (*groups, *counts, *MONEY), numbers=NUMBERS)
    if counts is SHORT_COUNTS:
        say("free: failed, canceled or expired; such jobs cost nothing.")
    if counts is FEWEST_COUNTS:
        say("How the jobs ended is shown where there is room: on a wider terminal, or in a file.")
    _explain_money(made)


def _list_lines(made: Report, groups: list[str]) -> list[dict[str, Any]]:
    """Rows, totals and waste, each with every column that may be shown."""
    prices = _Amounts(_find_price(row) for row in made.rows)
    totals = to_totals(made)
    amounts = _Amounts(
        [row.sums.amount for row in made.rows]
        + [sums.amount for sums in totals]
        + [waste.amount for waste in made.waste]
    )
    return [
        *(_to_row(row, _show_price(row, prices), amounts) for row in made.rows),
        *(_to_end_line(groups, "total", sums, amounts) for sums in totals),
        *(_to_end_line(groups, "waste", waste, amounts) for waste in made.waste),
    ]


class _Amounts:
    """Amounts of one column, with as many decimals as the finest of them has."""

    def __init__(self, amounts: Iterable[Decimal | None]) -> None:
        texts = [format_amount(amount) for amount in amounts if amount is not None]
        self.decimals = max((len(text.partition(".")[2]) for text in texts), default=DECIMALS)

    def show(self, amount: Decimal | None) -> str | None:
        return None if amount is None else f"{amount:.{self.decimals}f}"


def _describe_period(made: Report) -> str:
    period = made.period
    zones = ", ".join(period.timezones) or "UTC"
    each = "each team's " if len(period.timezones) > 1 else ""
    zone = zones if len(period.timezones) == 1 else "UTC"
    as_of = made.as_of.astimezone(ZoneInfo(zone) if zone != "UTC" else UTC)
    still = f"Still open: jobs that end by {period.to_day} are added."
    state = still if period.is_open else "Closed: all days have ended."
    return (
        f"{period.from_day} to {period.to_day}, {each}days in {zones}.\n"
        f"As of {as_of:%Y-%m-%d %H:%M} {zone}. {state}\n"
    )


def _find_price(row: ReportRow) -> Decimal | None:
    """A group of one price shows it for jobs without images too."""
    asked = row.group.get("unit_price")
    return row.unit_price if asked is None else Decimal(asked)


def _show_price(row: ReportRow, prices: _Amounts) -> str | None:
    price = _find_price(row)
    return "several" if price is None and row.sums.image_count else prices.show(price)


def _to_row(row: ReportRow, unit_price: str | None, amounts: _Amounts) -> dict[str, Any]:
    groups = {_to_heading(name): _to_line(show_group(value)) for name, value in row.group.items()}
    return {**groups, **_to_counts(row.sums), **_to_money(row.sums, unit_price, amounts)}


def _to_end_line(
    groups: list[str], name: str, sums: Sums | Waste, amounts: _Amounts
) -> dict[str, Any]:
    blank = dict.fromkeys((*groups, *COUNTS, *SHORT_COUNTS))
    counts = _to_counts(sums) if isinstance(sums, Sums) else {}
    label = {groups[0] if groups else "unit price": name}
    return {**blank, **counts, **_to_money(sums, None, amounts), **label}


def _to_counts(sums: Sums) -> dict[str, Any]:
    free = sums.failed + sums.canceled + sums.expired
    return {**{name: getattr(sums, name) for name in COUNTS}, "free": free}


def _to_money(sums: Sums | Waste, unit_price: str | None, amounts: _Amounts) -> dict[str, Any]:
    shown = (sums.image_count, unit_price, amounts.show(sums.amount), sums.currency)
    return dict(zip(MONEY, shown, strict=True))


def _to_heading(group: str) -> str:
    return _to_line(group if group.startswith(TAG_PREFIX) else group.replace("_", " "))


def _to_line(text: str) -> str:
    """Tags are the clients' own: nothing in them moves the cursor or ends the line."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _explain_money(made: Report) -> None:
    if not made.rows:
        say("No job has ended in these days.")
    if any(_find_price(row) is None and row.sums.image_count for row in made.rows):
        say("Several unit prices: add unit_price to --group-by for a row of each.")
    if made.waste:
        say("waste: billed by the upstream, delivered to no team; the company pays it.")
