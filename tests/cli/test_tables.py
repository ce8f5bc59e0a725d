"""Tables on terminals of any width: ids and amounts are whole, whatever else must give way."""

import os
from collections.abc import Callable
from uuid import UUID

import pytest
from rich.cells import cell_len
from rich.text import Text

from app.cli.output import print_table

ID = UUID("0198c0f2-7d3a-7c11-b2a5-7c6e5d4f3a21")
Show = Callable[[int | None], str]

COLUMNS = ("id", "team", "status", "what it waits for", "amount")
ROWS = [
    {
        "id": ID,
        "team": "ads",
        "status": "queued",
        "what it waits for": "the account main has no free slot, and two jobs are before it",
        "amount": "1234567.891234",
    },
    {
        "id": ID,
        "team": "部门-图像",
        "status": "running",
        "what it waits for": None,
        "amount": "0.20",
    },
]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    def show(width: int | None) -> str:
        monkeypatch.setattr("sys.stdout.isatty", lambda: width is not None, raising=False)
        size = os.terminal_size((width or 80, 24))
        monkeypatch.setattr("shutil.get_terminal_size", lambda: size)
        print_table(ROWS, COLUMNS)
        return Text.from_ansi(capsys.readouterr().out).plain

    return show


@pytest.mark.parametrize("width", [None, 200, 120, 100, 80, 60, 40, 20])
def test_no_id_and_no_amount_is_cut_or_wrapped(show: Show, width: int | None) -> None:
    told = show(width)

    for row in ROWS:
        assert str(row["id"]) in told
        assert str(row["amount"]) in told
    assert "…" not in told


def test_a_pipe_gets_a_line_for_each_row(show: Show) -> None:
    assert len(show(None).splitlines()) == 1 + len(ROWS)


@pytest.mark.parametrize("width", [100, 120, 200])
def test_lines_are_no_wider_than_the_terminal(show: Show, width: int) -> None:
    told = show(width)

    assert max(map(cell_len, told.splitlines())) <= width
    assert told.splitlines()[0].split()[0] == "id"


def test_rows_stack_where_the_words_do_not_fit(show: Show) -> None:
    told = show(60)

    first, second = told.split("\n\n")
    assert first.splitlines()[0].split() == ["id", str(ID)]
    assert second.splitlines()[-1].split() == ["amount", "0.20"]


def test_nothing_at_all_is_a_line_of_names(show: Show, capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], COLUMNS)

    assert capsys.readouterr().out.split() == " ".join(COLUMNS).split()
