"""Goals, verdicts and the table's cells."""

import pytest

from app.bench.figures import Figure, Goal, Yardstick, percentile, show_number, spread


@pytest.mark.parametrize(
    ("goal", "met", "missed", "shown"),
    [
        (Goal(low=99), (99.0, 100.0), (98.99,), "≥ 99 %"),
        (Goal(high=0.6), (0.6, 0.0), (0.601,), "≤ 0.6 %"),
        (Goal(0.95, 1.05), (0.95, 1.0, 1.05), (0.94, 1.06), "0.95 - 1.05 %"),
        (Goal(high=0), (0.0,), (1.0,), "≤ 0 %"),
    ],
)
def test_a_goal_holds_up_to_its_ends(
    goal: Goal, met: tuple[float, ...], missed: tuple[float, ...], shown: str
) -> None:
    assert all(goal.is_met_by(result) for result in met)
    assert not any(goal.is_met_by(result) for result in missed)
    assert goal.show("%") == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (0.0512, "0.0512"),
        (1.0, "1"),
        (1.2345, "1.23"),
        (99.87, "99.9"),
        (1571.6, "1,572"),
        (100_000, "100,000"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_keep_the_digits_that_count(number: float, shown: str) -> None:
    assert show_number(number) == shown


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(100, 0, -1)]

    assert [percentile(values, share) for share in (0.0, 0.5, 0.95, 0.99, 1.0)] == [
        1.0, 50.0, 95.0, 99.0, 100.0,
    ]  # fmt: skip
    assert percentile([7.0], 0.99) == 7.0


def test_spread_is_the_runs_range_over_their_median() -> None:
    assert spread([90.0, 100.0, 110.0]) == pytest.approx(0.2)


def test_a_line_shows_result_goal_yardstick_ratio_and_verdict() -> None:
    figure = Figure(
        number="6",
        measure="storing pictures",
        result=345.2,
        unit="MB/s",
        goal=Goal(low=200),
        yardstick=Yardstick("raw disk", 1_381.0),
    )

    assert figure.to_row() == {
        "#": "6",
        "measure": "storing pictures",
        "result": "345.2 MB/s",
        "goal": "≥ 200 MB/s",
        "yardstick": "1,381 MB/s (raw disk)",
        "ratio": "0.25",
        "verdict": "meets",
    }


def test_a_goal_of_the_ratio_is_judged_by_the_ratio() -> None:
    def grown(result: float) -> Figure:
        return Figure(
            number="9",
            measure="job by id",
            result=result,
            unit="ms",
            goal=Goal(high=1.5),
            is_goal_of_ratio=True,
            yardstick=Yardstick("at 100,000", 2.0),
        )

    assert (grown(3.0).verdict, grown(3.1).verdict) == ("meets", "MISSES")
    assert grown(3.0).to_row()["goal"] == "ratio ≤ 1.50"


def test_without_goal_or_yardstick_there_is_no_verdict_and_no_ratio() -> None:
    row = Figure(number="5", measure="calls a task", result=4.0).to_row()

    assert (row["goal"], row["yardstick"], row["ratio"], row["verdict"]) == ("", None, None, "")


def test_nothing_is_divided_by_a_yardstick_of_nought() -> None:
    figure = Figure(number="11", measure="lost", result=0, yardstick=Yardstick("naive retry", 0))

    assert figure.ratio is None
