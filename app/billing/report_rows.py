"""What a report holds: its rows, the waste beside them, and the period they are of (pure)."""

from calendar import monthrange
from dataclasses import asdict, astuple, dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from app.billing.money import format_amount

COLUMNS = (
    *("jobs", "succeeded", "failed", "canceled", "expired", "image_count"),
    *("unit_price", "amount", "currency"),
)


@dataclass(frozen=True, slots=True)
class Sums:
    """What ended, and what it cost."""

    jobs: int
    succeeded: int
    failed: int
    canceled: int
    expired: int
    image_count: int
    amount: Decimal
    currency: str

    def to_dict(self) -> dict[str, Any]:
        """As the outside sees it: money is text."""
        return {**asdict(self), "amount": format_amount(self.amount)}


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One group and its sums; a job without the tag counts under None."""

    group: dict[str, str | None]
    sums: Sums
    unit_price: Decimal | None = None
    """What each image of the row costs; None where there is none, or where they differ."""
    timezones: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        price = None if self.unit_price is None else format_amount(self.unit_price)
        cells = {**self.sums.to_dict(), "unit_price": price, **self.group}
        return {column: cells[column] for column in (*self.group, *COLUMNS)}


@dataclass(frozen=True, slots=True)
class Waste:
    """What the upstream billed and no team got: the company pays it."""

    image_count: int
    amount: Decimal
    currency: str

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "amount": format_amount(self.amount)}


@dataclass(frozen=True, slots=True)
class Period:
    """Days, both ends included, in the time zones of the teams."""

    from_day: date
    to_day: date
    timezones: tuple[str, ...]
    today: date
    """The earliest that it is for any of the teams."""

    @property
    def is_open(self) -> bool:
        """Whether jobs may still be added, because a day has not ended for every team."""
        return self.to_day >= self.today

    def narrow(self, row: ReportRow) -> "Period":
        """The part that the row is of: its own month or day, where it is grouped by them."""
        timezones = row.timezones or self.timezones
        first, last = self.from_day, self.to_day
        if month := row.group.get("month"):
            first = date.fromisoformat(f"{month}-01")
            last = first.replace(day=monthrange(first.year, first.month)[1])
        if day := row.group.get("day"):
            first = last = date.fromisoformat(day)
        return replace(
            self,
            from_day=max(first, self.from_day),
            to_day=min(last, self.to_day),
            timezones=timezones,
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "from": self.from_day,
            "to": self.to_day,
            "timezones": self.timezones,
            "is_open": self.is_open,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Rows ordered by their groups, as of one moment."""

    groups: tuple[str, ...]
    rows: tuple[ReportRow, ...]
    period: Period
    as_of: datetime
    waste: tuple[Waste, ...] = ()
    """Of those days, a line for each currency: with the rows it is the upstream's bill."""

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.groups, *COLUMNS)))

    def to_dict(self) -> dict[str, Any]:
        return {
            "period": self.period.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
            "totals": [sums.to_dict() for sums in to_totals(self)],
            "waste": [waste.to_dict() for waste in self.waste],
            "as_of": self.as_of,
        }


def to_totals(report: Report) -> tuple[Sums, ...]:
    """One sum over all rows for each currency."""
    totals: dict[str, Sums] = {}
    for row in report.rows:
        sums = row.sums
        before = totals.get(sums.currency)
        totals[sums.currency] = sums if before is None else _add(before, sums)
    return tuple(totals[currency] for currency in sorted(totals))


def _add(one: Sums, other: Sums) -> Sums:
    pairs = zip(astuple(one)[:-1], astuple(other)[:-1], strict=True)
    sums = (*(mine + more for mine, more in pairs), one.currency)
    return Sums(*sums)
