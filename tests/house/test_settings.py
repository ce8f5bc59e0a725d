"""The environment as values: what is refused, what counts as none, what is never shown."""

import secrets
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import SettingMissing, Settings

SECRET = "never-to-be-shown-" * 3


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of the settings of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {})


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "DASHGATE_PUBLIC_URL", "DASHGATE_PORT", "DASHGATE_RESULT_HOSTS"):
        monkeypatch.setenv(name, "")

    settings = Settings()

    assert (settings.public_url, settings.port, settings.result_hosts) == (None, 8080, ())
    with pytest.raises(SettingMissing, match="DATABASE_URL is not set"):
        settings.require_database_url()


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("DASHGATE_PORT=81\nDASHGATE_HOST=0.0.0.0\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("DASHGATE_PORT", "82")

    settings = Settings()

    assert (settings.host, settings.port) == ("0.0.0.0", 82)


def test_several_secrets_come_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = "a-newer-secret-of-ours" * 2, "old" * 12
    monkeypatch.setenv("DASHGATE_SECRET_KEY", f"{new}, {old},")

    assert Settings().require_secrets() == (new, old)


def test_one_that_is_too_short_is_named_with_what_an_existing_installation_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DASHGATE_SECRET_KEY", f"{'new' * 12},short")

    with pytest.raises(SettingMissing, match=r"DASHGATE_SECRET_KEY.*the secret that it had"):
        Settings().require_secrets()


@pytest.mark.parametrize(
    "secret", ["0" * 32, "changeme" * 4, "Change-Me-before-you-deploy-this-one-please", "abc" * 20]
)
def test_one_that_can_be_guessed_is_refused_as_the_newest_only(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("DASHGATE_SECRET_KEY", secret)
    with pytest.raises(SettingMissing, match="can be guessed") as refusal:
        Settings().require_secrets()
    assert secret not in str(refusal.value)

    made = secrets.token_urlsafe(48)
    monkeypatch.setenv("DASHGATE_SECRET_KEY", f"{made},{secret}")
    assert Settings().require_secrets() == (made, secret)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DASHGATE_PUBLIC_URL", "pictures.example"),
        ("DASHGATE_PUBLIC_URL", "ftp://pictures.example"),
        ("DASHGATE_PUBLIC_URL", "https://pictures.example/?a=b"),
        ("DASHGATE_PORT", "0"),
        ("DASHGATE_PORT", "eighty"),
        ("DASHGATE_LOG_LEVEL", "loud"),
        ("DASHGATE_LOG_FORMAT", "xml"),
        ("DASHGATE_SUBMIT_TIMEOUT_SECONDS", "0"),
        ("DASHGATE_DATABASE_POOL_SIZE", "1"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError, match=name.removeprefix("DASHGATE_").lower()):
        Settings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "DATABASE_URL",
        "DASHSCOPE_API_KEY",
        "DASHGATE_SECRET_KEY",
        "DASHGATE_ADMIN_KEY",
        "DASHGATE_KEY",
        "DASHGATE_EVENTBRIDGE_TOKEN",
    ):
        monkeypatch.setenv(name, SECRET)

    settings = Settings()

    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()}"
