"""`bench`: the measures of the product, each with its yardstick from the same run."""

import asyncio
import re
from typing import Annotated

import typer

from app.bench.effort import Effort
from app.bench.figures import COLUMNS
from app.bench.suite import Outcome, choose, list_measures, run_measures
from app.cli.context import load_settings
from app.cli.output import AsJson, print_json, print_table, say
from app.kit.errors import FieldProblem, InvalidRequest

_SEEDS = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def bench(
    *,
    only: Annotated[
        str | None, typer.Option(help="Numbers of the measures to run, such as 4,5 or shares.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: a look.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="The sizes of the goals: ten million jobs, 50 storms.")
    ] = False,
    seeds: Annotated[str | None, typer.Option(help="Seeds of the kill storm: 7, or 1-50.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure this machine's gateway, on databases and processes of its own.

    Exit 1 where a measure fails or misses its goal.
    """
    if quick and full:
        raise _refuse("quick", "cannot be had together with --full: choose one of them")
    effort = Effort.QUICK if quick else Effort.FULL if full else Effort.USUAL
    measures = choose(list_measures(parse_seeds(seeds)), only)
    settings = load_settings()
    given = settings.database_url
    outcome = asyncio.run(
        run_measures(
            measures,
            effort,
            server_url=None if given is None else given.get_secret_value(),
            pg_bin=settings.pg_bin,
            say=say,
        )
    )
    _print(outcome, as_json=as_json)
    for figure in outcome.missed:
        say(f"{figure.number}: {figure.measure} misses its goal.")
    say(f"All of it took {outcome.seconds:.0f} s.")
    raise typer.Exit(1 if outcome.failures or outcome.missed else 0)


def parse_seeds(text: str | None) -> range | None:
    """`"7"` or `"1-50"`; raises InvalidRequest."""
    if text is None:
        return None
    found = _SEEDS.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if first > last:
        raise _refuse("seeds", f"{text!r} is neither a number nor from-to, such as 1-50")
    return range(first, last + 1)


def _print(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "effort": outcome.effort,
                "conditions": outcome.conditions,
                "figures": [figure.to_document() for figure in outcome.figures],
                "failures": outcome.failures,
                "seconds": round(outcome.seconds, 1),
            }
        )
        return
    print_table([figure.to_row() for figure in outcome.figures], COLUMNS)
    for note in dict.fromkeys(f"{each.number}: {each.note}" for each in outcome.figures):
        say(note)
    for numbers, condition in outcome.conditions.items():
        say(f"{numbers}: measured on {condition}.")


def _refuse(option: str, message: str) -> InvalidRequest:
    return InvalidRequest.from_problems((FieldProblem((option,), "bad_option", message),))
