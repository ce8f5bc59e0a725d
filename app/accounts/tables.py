"""Tables of upstream accounts, their lanes, and their limits per model."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Numeric, Text, func
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


class AccountPace(Base):
    """The moving part of an account's limits for one model: when it may submit again."""

    __tablename__ = "account_paces"
    __table_args__ = (
        CheckConstraint("(paused_until is null) = (pause_code is null)", name="pause_whole"),
        {"postgresql_with": {"fillfactor": 50}},
    )

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    next_submit_at: Mapped[datetime] = mapped_column(server_default=func.now())
    paused_until: Mapped[datetime | None]
    pause_code: Mapped[str | None] = mapped_column(Text)
