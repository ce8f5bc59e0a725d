"""Tables of upstream accounts, their lanes, and their limits per model."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Numeric,
    SmallInteger,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.postgres.database import Base


class Account(Base):
    """A DashScope account: limits are the account's, whatever the number of its API keys."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("state in ('active', 'draining', 'removed')", name="state_known"),
        CheckConstraint("region in ('cn-beijing', 'ap-southeast-1')", name="region_known"),
        CheckConstraint("max_running > 0", name="max_running_positive"),
        CheckConstraint("submit_rate > 0 and query_rate > 0", name="rates_positive"),
        CheckConstraint("weight > 0", name="weight_positive"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    region: Mapped[str] = mapped_column(Text)
    base_url: Mapped[str] = mapped_column(Text)
    max_running: Mapped[int] = mapped_column(server_default="5")
    submit_rate: Mapped[Decimal] = mapped_column(Numeric(8, 3), server_default="5")
    query_rate: Mapped[Decimal] = mapped_column(Numeric(8, 3), server_default="20")
    weight: Mapped[Decimal] = mapped_column(Numeric(8, 3), server_default="1")
    state: Mapped[str] = mapped_column(Text, server_default="active")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Lane(Base):
    """One API key of an account; at most one submission is in flight on it."""

    __tablename__ = "lanes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), index=True)
    api_key_sealed: Mapped[bytes]
    api_key_hint: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]
    upstream_key_id: Mapped[str | None] = mapped_column(Text)
    """The upstream's own name of this key, learned from its list of tasks."""
    rests_until: Mapped[datetime | None]
    """Refused by the upstream, and not used until then: the account has another key."""


class AccountPace(Base):
    """The moving part of an account for one model: its pace, its health, what it was seen to do.

    A suspended account waits until `paused_until` and then sends one job at a time, until one
    is taken.
    """

    __tablename__ = "account_paces"
    __table_args__ = (
        CheckConstraint("(paused_until is null) = (pause_code is null)", name="pause_whole"),
        CheckConstraint("pace_share > 0 and pace_share <= 1", name="pace_share_in_range"),
        CheckConstraint("strikes >= 0", name="strikes_not_negative"),
        {"postgresql_with": {"fillfactor": 50}},
    )

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    next_submit_at: Mapped[datetime] = mapped_column(server_default=func.now())
    paused_until: Mapped[datetime | None]
    pause_code: Mapped[str | None] = mapped_column(Text)
    pace_share: Mapped[float] = mapped_column(Double, server_default="1")
    """Share of the account's submit rate that is used: halved by throttling, then regained."""
    priming: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Tasks kept submitted beyond those that may run; below 0, room that the upstream denies."""
    priming_held_until: Mapped[datetime | None]
    strikes: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Troubles in a row."""
    is_suspended: Mapped[bool] = mapped_column(server_default="false")
    service_count: Mapped[int] = mapped_column(server_default="0")
    service_log_mean: Mapped[float] = mapped_column(Double, server_default="0")
    service_log_variance: Mapped[float] = mapped_column(Double, server_default="0")
    """Of the logarithm of the seconds that a task ran."""


class AccountSuspicion(Base):
    """What speaks against an account for one model, as long as it may be one request's doing.

    Written while its row of `account_paces` is held.
    """

    __tablename__ = "account_suspicions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["account_id", "model"], ["account_paces.account_id", "account_paces.model"]
        ),
    )

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    suspects: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    """Jobs refused, since a create was taken, for what one request may draw."""
    passed_at: Mapped[datetime | None]
    """When the last create was sent that was taken although others had been refused."""


class AccountEvent(Base):
    """What happened to an account: throttled, suspended, taken back, primed more or less."""

    __tablename__ = "account_events"
    __table_args__ = (Index("ix_account_events_account_id_at", "account_id", "at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    model: Mapped[str | None] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
