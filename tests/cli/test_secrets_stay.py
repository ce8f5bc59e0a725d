"""What the operator's commands say, and what they say when they are given nonsense: no secret."""

from pathlib import Path

import pytest

from tests.cli.conftest import SECRET, Run

API_KEY = "sk-telltale-of-the-upstream-1f2e3d4c5b6a"
PASSWORD = "telltale-of-the-database-9Xy7Qw"
OPERATOR = "telltale-of-an-operators-own-key-5Gh2Kl"
SHORT = "telltale-5Gh2"
ADD = ("account", "add", "main", "--region", "cn-beijing", "--api-key-stdin")
LISTINGS = [
    *(("account", "list"), ("team", "list"), ("team", "show", "ads"), ("key", "list")),
    *(("key", "list", "--team", "ads"), ("price", "list"), ("job", "list")),
    *(("job", "list", "--attention"), ("report",), ("account", "set", "main", "--weight", "2")),
    *(("account", "drain", "main"), ("key", "revoke", "ci", "--team", "ads")),
]


@pytest.fixture
def keys(run: Run) -> tuple[str, str]:
    """A team's and an operator's, each shown this once."""
    assert run(*ADD, stdin=API_KEY).code == 0
    run("team", "create", "ads")
    team = run("key", "create", "--team", "ads", "--name", "ci").out.strip()
    operator = run("key", "create", "--name", "root", "--role", "admin").out.strip()
    return team, operator


def find_secrets(told: str, *keys: str) -> list[str]:
    secrets = (API_KEY, API_KEY[:-4], PASSWORD, OPERATOR, SHORT, SECRET, SECRET[:32], *keys)
    return [secret for secret in secrets if secret in told]


@pytest.mark.parametrize("is_json", [False, True], ids=["table", "json"])
def test_no_listing_shows_a_secret(run: Run, keys: tuple[str, str], is_json: bool) -> None:
    for command in LISTINGS:
        told = run(*command, *(("--json",) if is_json else ()))

        assert told.out + told.err
        assert find_secrets(told.out + told.err, *(key[17:] for key in keys)) == [], command


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://dashgate:{PASSWORD}@127.0.0.1:1/dashgate",
        f"postgresql://dashgate:{PASSWORD}@127.0.0.1:port/dashgate",
        f"postgresql://dashgate:{PASSWORD}@[::1/dashgate",
        f"postgresql://dashgate:{PASSWORD}@nowhere.invalid/dashgate",
        f"mysql://dashgate:{PASSWORD}@127.0.0.1/dashgate",
        f"dashgate:{PASSWORD}@127.0.0.1/dashgate",
        f"host=127.0.0.1 port=1 password={PASSWORD}",
        PASSWORD,
    ],
)
@pytest.mark.parametrize("command", ["migrate", "work"])
def test_a_database_that_cannot_be_used_is_named_without_its_password(
    run_bare: Run, monkeypatch: pytest.MonkeyPatch, url: str, command: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("DASHGATE_SECRET_KEY", SECRET)

    told = run_bare(command)

    assert told.code != 0
    assert find_secrets(told.out + told.err) == []


@pytest.mark.parametrize("parameter", ["sslmode=require", "nonsense=1"])
def test_a_database_with_a_parameter_is_used_or_refused_in_words(
    run_bare: Run, monkeypatch: pytest.MonkeyPatch, parameter: str
) -> None:
    """As managed ones are named; not a traceback, which shows what a debugger adds to it."""
    url = f"postgresql://dashgate:{PASSWORD}@127.0.0.1:1/dashgate?{parameter}"
    monkeypatch.setenv("DATABASE_URL", url)

    told = run_bare("migrate")

    assert told.code != 0
    assert find_secrets(told.out + told.err) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DASHGATE_SECRET_KEY", SHORT),
        ("DASHGATE_SECRET_KEY", f"{SECRET},{SHORT}"),
        ("DASHGATE_SECRET_KEY", f"{SHORT * 4}changeme"),
        ("DASHGATE_ADMIN_KEY", SHORT),
        ("DASHGATE_ADMIN_KEY", f"dg_live_{SHORT}"),
        ("DASHGATE_EVENTBRIDGE_TOKEN", SHORT),
        ("DASHSCOPE_API_KEY", f"sk-{SHORT} {SHORT}"),
        ("DASHGATE_STORE_URL", f"s3://user:{SHORT}@bucket/prefix"),
        ("DASHGATE_STORE_URL", f"{SHORT}://bucket"),
        ("DASHGATE_PUBLIC_URL", f"https://user:{SHORT}@gate.example"),
        ("DASHSCOPE_HTTP_BASE_URL", f"https://user:{SHORT}@upstream.example/api/v1"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_named_without_its_value(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    if "BASE_URL" in name:
        monkeypatch.setenv("DASHSCOPE_API_KEY", API_KEY)

    told = run("serve", "--port", "1")

    assert told.code != 0
    assert find_secrets(told.out + told.err) == []


@pytest.mark.parametrize(
    ("flags", "stdin"),
    [
        ((), f"{API_KEY} {API_KEY}"),
        ((), f"{API_KEY}\n{API_KEY}\n"),
        ((), f"{API_KEY}\u00e9"),
        ((), API_KEY * 40),
        (("--base-url", f"https://user:{SHORT}@upstream.example/api/v1"), API_KEY),
        (("--base-url", f"https://upstream.example/api/v1?key={SHORT}"), API_KEY),
        (("--max-running", "-1"), API_KEY),
    ],
)
def test_an_account_that_is_refused_is_refused_without_its_key(
    run: Run, flags: tuple[str, ...], stdin: str
) -> None:
    told = run(*ADD, *flags, stdin=stdin)

    assert told.code != 0
    assert find_secrets(told.out + told.err) == []


def test_a_key_that_opens_nothing_is_not_repeated_to_who_edits(
    run_bare: Run, tmp_path: Path
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"no picture")
    for key in (SHORT, OPERATOR, f"dg_live_{SHORT}\n"):
        told = run_bare(
            *("edit", str(picture), "--prompt", "any", "--url", "http://127.0.0.1:1"),
            *("--key", key),
        )

        assert told.code != 0
        assert find_secrets(told.out + told.err) == []
