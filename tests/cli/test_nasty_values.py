"""Options with nasty values: refused in words, never with a traceback."""

import pytest

from tests.cli.conftest import Run

BYTES = "\udcff"
NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    "words",
    [
        ("job", "list", "--team", "a\0b"),
        ("job", "list", "--team", BYTES),
        ("job", "list", "--limit", "9" * 5_000),
        ("job", "show", "a\0b"),
        ("job", "requeue", NOBODY, "--reason", BYTES),
        ("job", "requeue", NOBODY, "--reason", "a\0b"),
        ("key", "create", "x", "--team", "x", "--expires", "9999-12-31"),
        ("key", "create", "x", "--team", "x", "--expires", "0001-01-01"),
        ("report", "--from", "0001-01-01"),
        ("report", "--to", "9999-12-31"),
        ("report", "--team", BYTES),
        ("report", "--group-by", f"tag:{BYTES}"),
        ("report", "--group-by", "tag:a\0"),
        ("team", "create", BYTES),
        ("team", "create", "x", "--weight", "1e999999"),
        ("team", "create", "x", "--weight", "nan"),
        ("team", "create", "x", "--weight", "9" * 5_000),
        ("account", "set", BYTES, "--max-running", "1"),
        ("price", "set", "m", "1e99", "--region", "cn-beijing"),
        ("price", "list", "--at", "9999-12-31T23:59:59-14:00"),
    ],
    ids=lambda words: ascii(" ".join(words))[1:60],
)
def test_a_nasty_value_is_refused_in_words(run: Run, words: tuple[str, ...]) -> None:
    outcome = run(*words)

    assert outcome.code in (1, 2), outcome.out
    assert outcome.err.strip()
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("text", ["9999-12-31", "0001-01-01", "9999-12-31T23:59:59-14:00"])
@pytest.mark.parametrize("option", ["--from", "--to"])
def test_a_day_of_no_use_names_the_years(run: Run, option: str, text: str) -> None:
    outcome = run("report", option, text)

    assert outcome.code == 2
