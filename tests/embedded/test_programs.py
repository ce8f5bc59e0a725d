"""The programs that dump and restore: of the server's version, or newer, and never older."""

from pathlib import Path

import pytest

from app.embedded import EmbeddedPostgresError, find_program, make_environment


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def put(folder: Path, version: str) -> Path:
    path = folder / "pg_dump"
    path.write_text(f'#!/bin/sh\necho "pg_dump (PostgreSQL) {version}"\n')
    path.chmod(0o755)
    return path


def test_the_server_s_own_version_goes_before_a_newer_one(on_path: Path) -> None:
    """One of the wheel is there as well, of version 18."""
    mine = put(on_path, "17.2")
    assert find_program("pg_dump", 17, None).path == mine
    assert find_program("pg_dump", 18, None).major == 18
    put(on_path, "99.1")
    assert find_program("pg_dump", 18, None).major == 18
    assert find_program("pg_dump", 19, None).path == mine


def test_the_folder_that_was_given_is_the_only_one_looked_at(on_path: Path) -> None:
    put(on_path, "16.1")
    with pytest.raises(EmbeddedPostgresError, match=r"16\.1.*DASHGATE_PG_BIN"):
        find_program("pg_dump", 18, on_path)


def test_programs_get_the_password_and_none_of_our_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DASHGATE_SECRET_KEY", "secret")
    monkeypatch.setenv("DATABASE_URL", "secret")
    monkeypatch.setenv("PGSSLROOTCERT", "kept")

    environment = make_environment("open sesame")

    assert "secret" not in environment.values()
    assert (environment["PGPASSWORD"], environment["PGSSLROOTCERT"]) == ("open sesame", "kept")
