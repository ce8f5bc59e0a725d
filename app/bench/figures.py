"""What a measure found, beside its goal and the yardstick of the same run (pure)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

MEETS, MISSES = "meets", "MISSES"


@dataclass(frozen=True, slots=True)
class Goal:
    """The range a result must lie in, both ends included; None is no bound."""

    low: float | None = None
    high: float | None = None

    def is_met_by(self, result: float) -> bool:
        above = self.low is None or result >= self.low
        return above and (self.high is None or result <= self.high)

    def show(self, unit: str) -> str:
        low = None if self.low is None else show_number(self.low)
        high = None if self.high is None else show_number(self.high)
        match low, high:
            case None, None:
                return ""
            case _, None:
                text = f"≥ {low}"
            case None, _:
                text = f"≤ {high}"
            case _:
                text = f"{low} - {high}"
        return f"{text} {unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What the result is judged by, measured or computed in the same run, in the same unit."""

    name: str
    result: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table; `note` says under which conditions it was found."""

    number: str
    measure: str
    result: float
    unit: str = ""
    goal: Goal | None = None
    is_goal_of_ratio: bool = False
    yardstick: Yardstick | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The result over its yardstick."""
        if self.yardstick is None or self.yardstick.result == 0:
            return None
        return self.result / self.yardstick.result

    @property
    def verdict(self) -> str:
        judged = self.ratio if self.is_goal_of_ratio else self.result
        if self.goal is None or judged is None:
            return ""
        return MEETS if self.goal.is_met_by(judged) else MISSES

    def to_row(self) -> dict[str, Any]:
        """The line as text, by column."""
        yardstick = self.yardstick
        return {
            "#": self.number,
            "measure": self.measure,
            "result": _join(show_number(self.result), self.unit),
            "goal": self._show_goal(),
            "yardstick": yardstick
            and f"{_join(show_number(yardstick.result), self.unit)} ({yardstick.name})",
            "ratio": None if self.ratio is None else show_number(self.ratio),
            "verdict": self.verdict,
        }

    def to_document(self) -> dict[str, Any]:
        """The line as JSON."""
        yardstick = self.yardstick
        return {
            "number": self.number,
            "measure": self.measure,
            "result": self.result,
            "unit": self.unit,
            "goal": self.goal and {"low": self.goal.low, "high": self.goal.high},
            "is_goal_of_ratio": self.is_goal_of_ratio,
            "yardstick": yardstick and {"name": yardstick.name, "result": yardstick.result},
            "ratio": self.ratio,
            "verdict": self.verdict or None,
            "note": self.note,
        }

    def _show_goal(self) -> str:
        if self.goal is None:
            return ""
        return (
            f"ratio {self.goal.show('')}" if self.is_goal_of_ratio else self.goal.show(self.unit)
        )


COLUMNS = ("#", "measure", "result", "goal", "yardstick", "ratio", "verdict")


def show_number(number: float) -> str:
    """Three digits that count; whole numbers and thousands in full."""
    if not math.isfinite(number):
        return str(number)
    if number == int(number) or abs(number) >= 1_000:
        return f"{number:,.0f}"
    if abs(number) >= 10:
        return f"{number:.1f}"
    return f"{number:.3g}" if abs(number) < 1 else f"{number:.2f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least that share of them does not exceed."""
    rank = math.ceil(share * len(values))
    return sorted(values)[max(rank, 1) - 1]


def spread(values: Sequence[float]) -> float:
    """How far the runs of one measure lie apart, as a share of their median."""
    return (max(values) - min(values)) / median(values)


def _join(number: str, unit: str) -> str:
    return f"{number} {unit}".rstrip()
