"""What commands print: one JSON document or tables on standard output, messages on the other."""

import math
import shutil
import sys
from collections.abc import Collection, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NoReturn
from uuid import UUID

import orjson
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP = 2
"""Between columns, in characters."""

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]


def print_json(document: object) -> None:
    typer.echo(to_json(document))


def to_json(document: object) -> str:
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z
    return orjson.dumps(document, default=_to_plain, option=options).decode()


def print_table(
    rows: Iterable[dict[str, Any]],
    columns: Iterable[str],
    *,
    numbers: Collection[str] = (),
) -> None:
    """One line for each row; what is not there shows as a dash, numbers end below each other.

    On a terminal too narrow for that, texts go over several lines. No word is ever cut, so that
    ids and amounts stay whole: where even the words do not fit, each row is a block of lines.
    """
    names = list(columns)
    cells = _to_cells(rows, names)
    widths = _share_width(list(zip(names, *cells, strict=True)), _find_width())
    if widths is None:
        _print_blocks(names, cells)
        return
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for name, column_width in zip(names, widths, strict=True):
        side: Literal["left", "right"] = "right" if name in numbers else "left"
        table.add_column(Text(name), width=column_width, justify=side)
    for row in cells:
        table.add_row(*map(Text, row))
    # Without a height, a terminal that says that it is dumb would have 80 columns.
    Console(file=sys.stdout, width=sum(widths) + GAP * len(widths), height=len(cells)).print(table)


def fits(rows: Iterable[dict[str, Any]], columns: Iterable[str]) -> bool:
    """Whether `print_table` has room for a line for each row, or several lines of whole words."""
    names = list(columns)
    cells = _to_cells(rows, names)
    return _share_width(list(zip(names, *cells, strict=True)), _find_width()) is not None


def _to_cells(rows: Iterable[dict[str, Any]], names: list[str]) -> list[list[str]]:
    return [[_to_cell(row[name]) for name in names] for row in rows]


def _find_width() -> float:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else math.inf


def _share_width(columns: list[tuple[str, ...]], width: float) -> list[int] | None:
    """Of each column: what it needs, the widest giving way; None when the words do not fit."""
    shares = [max(map(cell_len, column)) for column in columns]
    least = [_longest_word(column) for column in columns]
    while sum(shares) + GAP * len(shares) > width:
        slack = [share - word for share, word in zip(shares, least, strict=True)]
        if not any(slack):
            return None
        widest = max(range(len(shares)), key=lambda at: (slack[at] > 0, shares[at]))
        shares[widest] -= 1
    return shares


def _longest_word(column: Iterable[str]) -> int:
    return max(cell_len(word) for cell in column for word in cell.split() or [""])


def _print_blocks(names: list[str], cells: list[list[str]]) -> None:
    longest = max(map(len, names))
    blocks = (
        "\n".join(f"{name:<{longest}}  {cell}" for name, cell in zip(names, row, strict=True))
        for row in cells
    )
    typer.echo("\n\n".join(blocks))


def say(message: str) -> None:
    """A message to the person, on standard error."""
    typer.echo(message, err=True)


def count_of(number: int, noun: str) -> str:
    """`1 job`, `1,200 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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
