"""The command `bench`: what it takes, what it refuses, what it prints."""

import orjson
import pytest

from app.bench.effort import Effort
from app.bench.figures import Figure, Goal
from app.bench.suite import Outcome, choose, list_measures
from app.cli.bench import parse_seeds
from app.kit.errors import InvalidRequest
from tests.cli.conftest import Run, home, run_bare

__all__ = ["home", "run_bare"]


@pytest.mark.parametrize(
    ("text", "seeds"), [(None, None), ("7", range(7, 8)), ("1-50", range(1, 51))]
)
def test_seeds_are_one_number_or_a_range(text: str | None, seeds: range | None) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "x", "5-1", "1-", "-3", "1,2"])
def test_what_is_no_range_of_seeds_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match="seeds"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("4", ["draining a queue"]),
        ("5, 6", ["draining a queue", "storing pictures"]),
        ("shares,10", ["fair shares", "a flood and a quiet team"]),
    ],
)
def test_measures_are_chosen_by_number(only: str, names: list[str]) -> None:
    assert [measure.name for measure in choose(list_measures(), only)] == names


def test_without_a_choice_all_are_run() -> None:
    measures = list_measures()

    assert choose(measures, None) == list(measures)


def test_an_unknown_number_is_refused_with_the_known_ones(run_bare: Run) -> None:
    outcome = run_bare("bench", "--only", "4,99")

    assert outcome.code == 1
    assert "only: '99' is no measure; there are 4, 5, 6" in outcome.err
    assert "Traceback" not in outcome.err


def test_quick_and_full_exclude_each_other(run_bare: Run) -> None:
    assert "choose one of them" in run_bare("bench", "--quick", "--full").err


def test_a_measure_comes_as_json_and_says_what_it_was_measured_on(
    run_bare: Run, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", server_url)

    document = orjson.loads(run_bare("bench", "--only", "6", "--quick", "--json").out)

    (figure,) = document["figures"]
    assert (figure["number"], figure["unit"], document["effort"]) == ("6", "MB/s", "quick")
    assert "cores, load" in document["conditions"]["6"]
    assert document["failures"] == {}


def make_figure(result: float) -> Figure:
    return Figure(number="4", measure="a measure", result=result, goal=Goal(high=1.0))


@pytest.mark.parametrize(("result", "code"), [(0.5, 0), (2.0, 1)])
def test_a_missed_goal_is_named_and_ends_with_1(
    run_bare: Run, monkeypatch: pytest.MonkeyPatch, result: float, code: int
) -> None:
    async def run(*_: object, **__: object) -> Outcome:
        return Outcome(Effort.QUICK, figures=[make_figure(result)], seconds=61.2)

    monkeypatch.setattr("app.cli.bench.run_measures", run)

    outcome = run_bare("bench", "--quick")

    assert outcome.code == code
    assert ("4: a measure misses its goal." in outcome.err) == bool(code)
    assert "All of it took 61 s." in outcome.err
