"""Every environment variable, typed, read once; `.env.example` names each one."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.kit.crypto import MINIMUM_SECRET_LENGTH, is_guessable

DEFAULT_UPSTREAM_URL = "https://dashscope.aliyuncs.com/api/v1"

_ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


class SettingMissing(ValueError):
    """A setting that this command cannot do without."""


def _standard(name: str) -> AliasChoices:
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """The environment as values; secrets stay wrapped until the place that uses them."""

    model_config = SettingsConfigDict(
        env_prefix="DASHGATE_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
    )

    database_url: SecretStr | None = Field(None, validation_alias=_standard("DATABASE_URL"))
    dashscope_api_key: SecretStr | None = Field(
        None, validation_alias=_standard("DASHSCOPE_API_KEY")
    )
    dashscope_http_base_url: str = Field(
        DEFAULT_UPSTREAM_URL, validation_alias=_standard("DASHSCOPE_HTTP_BASE_URL")
    )

    secret_key: SecretStr | None = None
    admin_key: SecretStr | None = None
    data_dir: Path = Path(".dashgate")
    store_url: str | None = None
    public_url: str | None = None
    eventbridge_token: SecretStr | None = Field(None, min_length=16)
    eventbridge_certificate_url: str | None = None
    result_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    pg_bin: Path | None = None

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)
    emulator_port: int = Field(8090, ge=1, le=65535)
    url: str | None = None
    key: SecretStr | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"

    database_pool_size: int = Field(8, ge=2, le=100)
    max_body_bytes: int = Field(48 * 1024 * 1024, ge=1024)
    body_memory_bytes: int = Field(256 * 1024 * 1024, ge=1024)
    accept_timeout_seconds: float = Field(30, gt=0, le=300)
    submit_timeout_seconds: float = Field(10, gt=0, le=60)
    prepare_seconds: float = Field(15, gt=0, le=120)
    slowest_upload_kbps: float = Field(8_000, ge=100, le=10_000_000)
    settle_seconds: float = Field(60, ge=0, le=3600)
    review_seconds: float = Field(3600, gt=0, le=86_400)
    lost_seconds: float = Field(3600, gt=0, le=86_400)
    stale_list_seconds: float = Field(600, ge=0, le=86_400)
    watch_interval_seconds: float = Field(1, gt=0, le=60)
    download_concurrency: int = Field(8, ge=1, le=64)
    stop_grace_seconds: float = Field(20, gt=0, le=300)
    link_ttl_seconds: int = Field(24 * 3600, ge=60)
    team_input_gb: float = Field(100, gt=0, le=1_000_000)
    file_ttl_seconds: int = Field(48 * 3600, ge=60)
    job_ttl_seconds: int = Field(7 * 24 * 3600, ge=60)

    @field_validator("public_url", "eventbridge_certificate_url")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is not None and not _ADDRESS.fullmatch(value):
            raise ValueError("must be like https://host or https://host:port/path")
        return value

    @field_validator("result_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(host.strip() for host in value.split(",") if host.strip())
        return value

    def require_database_url(self) -> str:
        if self.database_url is None:
            raise SettingMissing(
                "DATABASE_URL is not set: give the Postgres to use as "
                "postgresql://user:password@host:5432/name, or use `up`, which brings its own"
            )
        return self.database_url.get_secret_value()

    def require_secrets(self) -> tuple[str, ...]:
        """The deployment's secrets, newest first; raises SettingMissing."""
        if self.secret_key is None:
            raise SettingMissing(
                "DASHGATE_SECRET_KEY is not set: it encrypts upstream keys and signs links; make "
                "one with python3 -c 'import secrets; print(secrets.token_urlsafe(48))' and give "
                "every process the same"
            )
        parts = self.secret_key.get_secret_value().split(",")
        secrets = tuple(part.strip() for part in parts if part.strip())
        if any(len(secret) < MINIMUM_SECRET_LENGTH for secret in secrets):
            raise SettingMissing(
                f"DASHGATE_SECRET_KEY: a secret in it has fewer than {MINIMUM_SECRET_LENGTH} "
                "characters. For a new installation make one with python3 -c 'import secrets; "
                "print(secrets.token_urlsafe(48))'; an existing one needs the secret that it had, "
                "or its stored keys cannot be opened"
            )
        if secrets and is_guessable(secrets[0]):
            raise SettingMissing(
                "DASHGATE_SECRET_KEY: the first secret in it can be guessed (it repeats a few "
                "characters, or is an example). Make one with python3 -c 'import secrets; "
                "print(secrets.token_urlsafe(48))'; an existing installation puts it in front of "
                "the one that it had, with a comma between"
            )
        return secrets

    def resolved_store_url(self) -> str:
        return self.store_url or (self.data_dir.resolve() / "store").as_uri()


def to_variable(name: str) -> str:
    """The environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return f"{Settings.model_config['env_prefix']}{name.upper()}"
