"""`backup` and `restore` by what they refuse, what they leave behind, and what they undo."""

import asyncio
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from app.cli.backups.archive import drafting
from app.embedded.binaries import usual_folders
from app.kit.clock import utc_now
from app.kit.postgres.database import connect, make_engine, make_sessions, open_pool
from app.media.register import DatabaseRegister
from app.media.store import open_store
from tests.cli.conftest import SECRET, Outcome, Run
from tests.databases import cloned_database, empty_database
from tests.embedded.machine import wait_until
from tests.factories import make_team
from tests.house.sources import ROOT
from tests.media.images import make_noise
from tests.media.kept import keep_until

OTHER_SECRET = "another-secret-of-another-gateway-" * 2
DAY = timedelta(days=1)


class Stock(NamedTuple):
    """A gateway's database and store, the one object in it, and a backup of them."""

    url: str
    store: Path
    key: str
    backup: Path


@pytest.fixture(scope="module")
async def shared_stock(
    server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stock]:
    folder = tmp_path_factory.mktemp("stock")
    async with cloned_database(server_url, template) as url:
        pool, engine = await open_pool(url, max_size=2), make_engine(url)
        store = open_store((folder / "store").as_uri(), register=DatabaseRegister(pool))
        team = await make_team(make_sessions(engine), name="ads")
        file = await keep_until(pool, store, team.id, make_noise(), utc_now() + DAY)
        stock = Stock(url, folder / "store", file.store_key, folder / "b")
        made = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", "backup", stock.backup, env=make_environment(stock)
        )
        assert await made.wait() == 0
        yield stock
        await pool.close()
        await engine.dispose()


@pytest.fixture
def stock(shared_stock: Stock, run_bare: Run, home: Path, monkeypatch: Any) -> Stock:
    """A store and a backup that the test may damage; commands mean that gateway."""
    shutil.copytree(shared_stock.store, home / "store")
    shutil.copytree(shared_stock.backup, home / "b")
    stock = shared_stock._replace(store=home / "store", backup=home / "b")
    for name, value in make_environment(stock).items():
        monkeypatch.setenv(name, value)
    return stock


@pytest.fixture(scope="module")
async def second_url(server_url: str) -> AsyncIterator[str]:
    async with empty_database(server_url) as url:
        yield url


@pytest.fixture
async def elsewhere(second_url: str, stock: Stock, home: Path, monkeypatch: Any) -> Path:
    """Another gateway, with nothing in it, which commands mean now; its store's folder."""
    connection = await connect(second_url)
    await connection.execute("drop schema public cascade; create schema public")
    await connection.close()
    monkeypatch.setenv("DATABASE_URL", second_url)
    monkeypatch.setenv("DASHGATE_STORE_URL", (home / "elsewhere").as_uri())
    return home / "elsewhere"


def make_environment(stock: Stock) -> dict[str, str]:
    return {
        "DATABASE_URL": stock.url,
        "DASHGATE_STORE_URL": stock.store.as_uri(),
        "DASHGATE_SECRET_KEY": SECRET,
        "DASHGATE_NO_SETUP": "1",
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
    }


def expect_refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 1, outcome
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith("dashgate: ")
    for word in words:
        assert word in last, last


def list_teams(run_bare: Run) -> list[str]:
    return [team["name"] for team in run_bare("team", "list", "--json").document]


class Terminal(io.StringIO):
    """Where a person sits and is asked."""

    def isatty(self) -> bool:
        return True


def put_program(folder: Path, name: str, version: str, body: str = "") -> None:
    """A program that says it is of that version, and does as the body says."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    asked = f'[ "$1" = --version ] && echo "{name} (PostgreSQL) {version}" && exit 0'
    path.write_text(f"#!/bin/sh\n{asked}\n{body}\n")
    path.chmod(0o755)


def test_a_backup_is_private_whole_and_without_the_secret(run_bare: Run, stock: Stock) -> None:
    outcome = run_bare("backup", "mine", "--json")

    made = outcome.document
    assert made["path"] == str(Path("mine").absolute())
    assert (made["store"]["object_count"], made["store"]["missing"]) == (1, [])
    assert "THE SECRET KEY IS NOT IN IT" in outcome.err
    paths = [Path("mine"), *Path("mine").rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o700}
    files = [path for path in paths if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert not any(SECRET.encode() in path.read_bytes() for path in files)
    assert sorted(os.listdir("mine")) == [
        "backup.json",
        "database.dump",
        "objects.sha256",
        "store",
    ]
    checked = subprocess.run(["sha256sum", "--check", "objects.sha256"], cwd="mine", check=False)
    assert checked.returncode == 0


def test_a_backup_comes_back_in_another_place(
    run_bare: Run, stock: Stock, elsewhere: Path
) -> None:
    restored = run_bare("restore", "b", "--json")

    assert restored.document["held"] == 0
    assert list_teams(run_bare) == ["ads"]
    for name in (stock.key, "dashgate-store"):
        assert (elsewhere / name).read_bytes() == (stock.store / name).read_bytes()
        assert (elsewhere / name).stat().st_mode & 0o777 == 0o600


def test_an_existing_folder_is_left_as_it_is(run_bare: Run, stock: Stock) -> None:
    before = sorted(os.listdir("b"))

    expect_refused(run_bare("backup", "b"), "exists already")

    assert sorted(os.listdir("b")) == before
    expect_refused(run_bare("backup", "not-there/b"), "no folder", "not-there")


def test_another_secret_is_refused_before_anything_is_changed(
    run_bare: Run, stock: Stock, elsewhere: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("DASHGATE_SECRET_KEY", OTHER_SECRET)
    expect_refused(run_bare("restore", "b"), "another secret key", "--other-secret")
    monkeypatch.delenv("DASHGATE_SECRET_KEY")
    expect_refused(run_bare("restore", "b"), "DASHGATE_SECRET_KEY is not set")
    assert not elsewhere.exists()

    monkeypatch.setenv("DASHGATE_SECRET_KEY", f"{OTHER_SECRET},{SECRET}")
    assert run_bare("restore", "b").code == 0

    monkeypatch.setenv("DASHGATE_SECRET_KEY", OTHER_SECRET)
    without = run_bare("restore", "b", "--replace", "--other-secret")
    assert without.code == 0
    assert "set account keys anew" in without.err


def test_a_gateway_that_runs_keeps_its_database(run_bare: Run, stock: Stock) -> None:
    expect_refused(run_bare("restore", "b", "--replace"), "a gateway runs on this database")


@pytest.mark.parametrize("damage", ["object", "lost", "dump", "list", "note"])
def test_a_damaged_backup_changes_nothing(
    run_bare: Run, stock: Stock, elsewhere: Path, damage: str
) -> None:
    """Of an object that is cut or gone, of the dump, of the list, of the note itself."""
    victim = {
        "dump": stock.backup / "database.dump",
        "list": stock.backup / "objects.sha256",
        "note": stock.backup / "backup.json",
    }.get(damage, stock.backup / "store" / stock.key)
    victim.unlink() if damage == "lost" else victim.write_bytes(victim.read_bytes()[:-9])

    expect_refused(run_bare("restore", "b"), victim.name)

    assert not any((elsewhere / name).exists() for name in ("inputs", "dashgate-store"))
    expect_refused(run_bare("team", "list"), "has no schema")


def test_a_list_that_leads_out_of_the_store_is_not_followed(
    run_bare: Run, stock: Stock, elsewhere: Path
) -> None:
    escape = stock.backup / "objects.sha256"
    escape.write_text(escape.read_text().replace("store/inputs", "store/inputs/../.."))
    digest = hashlib.sha256(escape.read_bytes()).hexdigest()
    note = orjson.loads((stock.backup / "backup.json").read_bytes())
    note["store"]["list_sha256"] = digest
    (stock.backup / "backup.json").write_bytes(orjson.dumps(note))

    expect_refused(run_bare("restore", "b"), "damaged", "objects.sha256")


def test_what_is_there_is_replaced_only_on_demand(
    run_bare: Run, stock: Stock, elsewhere: Path, monkeypatch: Any
) -> None:
    run_bare("migrate")
    run_bare("team", "create", "theirs")

    expect_refused(run_bare("restore", "b"), "1 team and 0 jobs", "--replace")
    with monkeypatch.context() as terminal:
        terminal.setattr(io, "StringIO", Terminal)
        asked = run_bare("restore", "b", "--replace", stdin="n\n")
    assert asked.code == 1
    assert "1 team and 0 jobs. Delete them" in asked.err
    assert list_teams(run_bare) == ["theirs"]
    assert not elsewhere.exists()

    assert run_bare("restore", "b", "--replace").code == 0
    assert list_teams(run_bare) == ["ads"]
    assert (elsewhere / stock.key).exists()


def test_a_store_of_nobody_we_know_is_left_as_it_is(
    run_bare: Run, stock: Stock, elsewhere: Path
) -> None:
    (elsewhere / "pictures").mkdir(parents=True)

    expect_refused(run_bare("restore", "b", "--replace"), str(elsewhere), "is not empty")

    assert list(elsewhere.iterdir()) == [elsewhere / "pictures"]


def test_the_store_that_was_backed_up_keeps_what_came_later(
    run_bare: Run, stock: Stock, elsewhere: Path
) -> None:
    shutil.copytree(stock.store, elsewhere)
    (elsewhere / stock.key).write_bytes(b"rotten")
    (elsewhere / "pictures").mkdir()
    (elsewhere / "pictures" / "later").write_text("later")

    assert run_bare("restore", "b").code == 0

    assert (elsewhere / "pictures" / "later").exists()
    assert (elsewhere / stock.key).read_bytes() == (stock.store / stock.key).read_bytes()


def test_a_restore_that_fails_puts_back_what_was_there(
    run_bare: Run, stock: Stock, elsewhere: Path, home: Path, monkeypatch: Any
) -> None:
    run_bare("migrate")
    run_bare("team", "create", "theirs")
    mark = "0198c0f2-7d3a-4c11-b2a5-7c6e5d4f3a21"
    order(os.environ["DATABASE_URL"], f"update picture_store set id = '{mark}'")
    (elsewhere / "pictures").mkdir(parents=True)
    (elsewhere / "pictures" / "old").write_text("theirs")
    (elsewhere / "dashgate-store").write_text(mark)
    real = find_wheel("pg_restore")
    body = f'[ "$1" = --list ] && exec {real} "$@"; echo "pg_restore: error: no more" >&2; exit 1'
    put_program(home / "bin", "pg_restore", "99.1", body)
    monkeypatch.setenv("DASHGATE_PG_BIN", str(home / "bin"))

    expect_refused(run_bare("restore", "b", "--replace"), "no more")

    assert list_teams(run_bare) == ["theirs"]
    assert (elsewhere / "pictures" / "old").read_text() == "theirs"
    assert sorted(os.listdir(elsewhere)) == ["dashgate-store", "pictures"]

    monkeypatch.delenv("DASHGATE_PG_BIN")
    assert run_bare("restore", "b", "--replace").code == 0
    assert list_teams(run_bare) == ["ads"]
    assert sorted(os.listdir(elsewhere)) == ["dashgate-store", "inputs"]


def test_a_restore_that_was_killed_is_done_again(
    run_bare: Run, stock: Stock, elsewhere: Path, home: Path
) -> None:
    """It has put aside what was there, and has not filled what it made."""
    run_bare("migrate")
    aside = "alter schema public rename to dashgate_before_restore; create schema public"
    order(os.environ["DATABASE_URL"], aside)

    expect_refused(run_bare("restore", "b"), "a restore that was killed", "--replace")

    assert run_bare("restore", "b", "--replace").code == 0
    assert list_teams(run_bare) == ["ads"]


def test_an_older_program_is_refused_by_its_version(
    run_bare: Run, stock: Stock, home: Path, monkeypatch: Any
) -> None:
    put_program(home / "bin", "pg_dump", "14.9")
    monkeypatch.setenv("DASHGATE_PG_BIN", str(home / "bin"))
    expect_refused(run_bare("backup", "c"), "14.9", "DASHGATE_PG_BIN")

    monkeypatch.setenv("DASHGATE_PG_BIN", str(home / "nothing"))
    expect_refused(run_bare("backup", "c"), "there is none")
    assert not (home / ".c.draft").exists()


def test_a_full_disk_is_told_before_it_is_full(
    run_bare: Run, stock: Stock, elsewhere: Path, monkeypatch: Any
) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    expect_refused(run_bare("restore", "b"), "0.0 MB free")
    assert not elsewhere.exists()

    monkeypatch.setenv("DATABASE_URL", stock.url)
    monkeypatch.setenv("DASHGATE_STORE_URL", stock.store.as_uri())
    expect_refused(run_bare("backup", "c"), "0.0 MB free")
    assert not Path("c").exists()


def test_a_store_that_is_not_mounted_is_no_empty_store(
    run_bare: Run, stock: Stock, home: Path
) -> None:
    stock.store.rename(home / "away")
    stock.store.mkdir()

    expect_refused(run_bare("backup", "c"), "does not have the mark", "not mounted")

    assert not Path("c").exists()


@pytest.mark.parametrize("is_cut", [True, False])
def test_an_object_that_the_store_has_lost_is_told_and_the_rest_is_saved(
    run_bare: Run, stock: Stock, *, is_cut: bool
) -> None:
    path = stock.store / stock.key
    path.write_bytes(b"rotten") if is_cut else path.unlink()

    expect_refused(run_bare("backup", "c"), "lacks 1 object", stock.key)

    note = orjson.loads(Path("c/backup.json").read_bytes())
    assert note["store"]["missing"] == [stock.key]


def test_what_expires_while_the_copy_is_made_is_not_missed(
    run_bare: Run, stock: Stock, home: Path, monkeypatch: Any
) -> None:
    """Its row and its object go between the dump and the copy."""
    state = "update files set state"
    sweep = f'{find_wheel("psql")} -q -d "{stock.url}" -c "{state} = \'leaving\'"'
    delete = f"rm {stock.store / stock.key}"
    body = f'{find_wheel("pg_dump")} "$@" && {sweep} && {delete}'
    put_program(home / "bin", "pg_dump", "99.1", body)
    monkeypatch.setenv("DASHGATE_PG_BIN", str(home / "bin"))

    try:
        made = run_bare("backup", "c", "--json").document
    finally:
        order(stock.url, f"{state} = 'kept'")

    assert (made["store"]["gone_count"], made["store"]["missing"]) == (1, [])
    assert made["store"]["object_count"] == 0


def test_dump_and_list_of_objects_are_of_one_moment(
    run_bare: Run, stock: Stock, second_url: str, elsewhere: Path, home: Path, monkeypatch: Any
) -> None:
    """What is written between the list and the dump is in neither."""
    rename = f'{find_wheel("psql")} -q -d "{stock.url}" -c "update files set name = \'later\'"'
    put_program(home / "bin", "pg_dump", "18.4", f'{rename} && {find_wheel("pg_dump")} "$@"')
    with monkeypatch.context() as there:
        there.setenv("DASHGATE_PG_BIN", str(home / "bin"))
        for name, value in make_environment(stock).items():
            there.setenv(name, value)
        assert run_bare("backup", "c").code == 0

    assert run_bare("restore", "c").code == 0

    assert order(stock.url, "select name from files").strip() == "later"
    assert order(second_url, "select name from files").strip() == ""


def test_ctrl_c_leaves_no_backup(stock: Stock, home: Path) -> None:
    put_program(home / "bin", "pg_dump", "99.1", "touch started; exec sleep 60")
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "backup", "c"],
        env=make_environment(stock) | {"DASHGATE_PG_BIN": str(home / "bin")},
        stderr=subprocess.PIPE,
    )
    wait_until((home / "started").exists)
    assert (home / ".c.draft").is_dir()

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert not (home / "c").exists()
    assert not (home / ".c.draft").exists()


def test_ctrl_c_in_a_restore_puts_back_what_was_there(
    run_bare: Run, stock: Stock, elsewhere: Path, home: Path
) -> None:
    run_bare("migrate")
    run_bare("team", "create", "theirs")
    listing = f'[ "$1" = --list ] && exec {find_wheel("pg_restore")} "$@"'
    put_program(home / "bin", "pg_restore", "99.1", f"{listing}; touch started; exec sleep 60")
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "restore", "b", "--replace"],
        env={**os.environ, "DASHGATE_PG_BIN": str(home / "bin")},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait_until((home / "started").exists)
    assert (elsewhere / stock.key).exists()

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert process.returncode == 130, err
    assert list_teams(run_bare) == ["theirs"]
    assert not any((elsewhere / name).exists() for name in ("inputs", "dashgate-store"))


def test_what_a_kill_has_left_of_a_draft_goes(run_bare: Run, stock: Stock, home: Path) -> None:
    (home / ".c.draft" / "store").mkdir(parents=True)
    (home / ".c.draft" / "left").write_text("over")

    assert run_bare("backup", "c").code == 0

    assert "left" not in os.listdir("c")


def test_two_backups_to_one_name_do_not_meet(run_bare: Run, stock: Stock, home: Path) -> None:
    with drafting(home / "c"):
        expect_refused(run_bare("backup", "c"), "under way")


def test_no_backup_at_all_is_said_so(run_bare: Run, stock: Stock) -> None:
    expect_refused(run_bare("restore", "nowhere"), "nowhere is no backup")
    note = stock.backup / "backup.json"
    note.write_text(note.read_text().replace('"format": 1', '"format": 2'))
    expect_refused(run_bare("restore", "b"), "newer Dashgate")


def test_a_schema_of_a_later_version_is_refused(run_bare: Run, stock: Stock) -> None:
    note = stock.backup / "backup.json"
    content = orjson.loads(note.read_bytes())
    content["database"]["revision"] = "9999"
    note.write_bytes(orjson.dumps(content))

    expect_refused(run_bare("restore", "b"), "9999", "newer")


def test_pictures_that_stay_in_a_bucket_are_not_looked_for_in_a_folder(
    run_bare: Run, stock: Stock, elsewhere: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("DASHGATE_STORE_URL", "s3://bucket/pictures")
    expect_refused(run_bare("restore", "b"), "file:///folder")

    monkeypatch.setenv("DATABASE_URL", stock.url)
    made = run_bare("backup", "c", "--json")
    assert made.document["store"]["is_copied"] is False
    assert "stay in s3://bucket/pictures" in made.err
    assert sorted(os.listdir("c")) == ["backup.json", "database.dump"]
    monkeypatch.setenv("DASHGATE_STORE_URL", elsewhere.as_uri())
    expect_refused(run_bare("restore", "c"), "s3://bucket/prefix")


def order(url: str, statement: str) -> str:
    """What the statement answers."""
    command = [find_wheel("psql"), "-q", "-A", "-t", "-d", url, "-c", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def find_wheel(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join(map(str, usual_folders())))
    assert found is not None
    return found
