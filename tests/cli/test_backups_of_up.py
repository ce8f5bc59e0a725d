"""`backup` and `restore` of what `up` keeps: its own database, started for it if need be."""

from pathlib import Path

import pytest

from app.cli.local.machine import only_one
from app.embedded import EmbeddedPostgres
from tests.cli.conftest import SECRET, Run


def test_an_embedded_gateway_is_backed_up_and_comes_back_in_an_empty_folder(
    run_bare: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = home / "first", home / "second"
    monkeypatch.setenv("DASHGATE_DATA_DIR", str(first))
    monkeypatch.setenv("DASHGATE_SECRET_KEY", SECRET)
    assert "DATABASE_URL is not set" in run_bare("backup", "b").err
    furnish(run_bare, first, monkeypatch)

    assert run_bare("backup", "b").code == 0

    monkeypatch.setenv("DASHGATE_DATA_DIR", str(second))
    restored = run_bare("restore", "b")
    assert restored.code == 0, restored.err
    assert "it holds 1 team and 0 jobs" in run_bare("restore", "b").err
    with only_one(second):
        assert "a gateway runs in the data folder" in run_bare("restore", "b").err


def furnish(run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedPostgres(data_dir / "postgres") as postgres, monkeypatch.context() as running:
        running.setenv("DATABASE_URL", postgres.ensure())
        assert run("migrate").code == 0
        assert run("team", "create", "ads").code == 0
