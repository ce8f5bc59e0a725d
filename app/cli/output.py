"""What commands print: one JSON document or tables on standard output, messages on the other."""

import sys
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, NoReturn
from uuid import UUID

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 200

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]


def print_json(document: object) -> None:
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z
    typer.echo(orjson.dumps(document, default=_to_plain, option=options).decode())


def print_table(rows: Iterable[dict[str, Any]], columns: Iterable[str]) -> None:
    """One line for each row; what is not there shows as a dash."""
    names = list(columns)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*(Text(_to_cell(row[name])) for name in names))
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(file=sys.stdout, width=width).print(table)


def say(message: str) -> None:
    """A message to the person, on standard error."""
    typer.echo(message, err=True)


def confirm(message: str, *, yes: bool) -> None:
    """Ask a person who sits there, unless it was said beforehand; raises typer.Abort for a no.

    A script is not asked: it has nobody to answer.
    """
    if not yes and sys.stdin.isatty():
        typer.confirm(message, abort=True, err=True)


def fail(message: str) -> NoReturn:
    """One clear sentence on standard error, then exit 1."""
    say(f"dashgate: {message}")
    sys.exit(1)


def _to_cell(value: object) -> str:
    match value:
        case None | "" | [] | ():
            return "-"
        case list() | tuple():
            return ", ".join(str(part) for part in value)
        case datetime():
            return f"{value:%Y-%m-%d %H:%M %Z}"
        case Decimal():
            return str(_to_plain(value))
        case _:
            return str(value)


def _to_plain(value: object) -> object:
    """What JSON has no word for; amounts of money are text before they come here."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case UUID():
            return str(value)
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")
