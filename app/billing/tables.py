"""Tables of money: prices, the ledger, daily usage."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Numeric,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.postgres.database import Base

AMOUNT = Numeric(18, 6)


class Price(Base):
    """What one delivered image of a model costs in a region, from a moment on."""

    __tablename__ = "prices"
    __table_args__ = (
        UniqueConstraint("model", "region", "valid_from"),
        CheckConstraint("unit_price >= 0", name="unit_price_not_negative"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    region: Mapped[str] = mapped_column(Text)
    unit_price: Mapped[Decimal] = mapped_column(AMOUNT)
    currency: Mapped[str] = mapped_column(Text)
    valid_from: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class LedgerEntry(Base):
    """One transfer between two sides of a team's book; append-only by trigger."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        Index(
            "uq_ledger_entries_job_id_kind",
            "job_id",
            "kind",
            unique=True,
            postgresql_where=text("kind <> 'waste'"),
        ),
        Index("ix_ledger_entries_waste_job_id", "job_id", postgresql_where=text("kind = 'waste'")),
        Index(
            "ix_ledger_entries_waste_task_id",
            "upstream_task_id",
            postgresql_where=text("kind = 'waste'"),
        ),
        CheckConstraint("kind in ('reserve', 'capture', 'release', 'waste')", name="kind_known"),
        CheckConstraint("amount >= 0", name="amount_not_negative"),
        CheckConstraint("image_count >= 0", name="image_count_not_negative"),
        CheckConstraint("debit <> credit", name="two_sides"),
        Index("ix_ledger_entries_team_id_at", "team_id", "at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"))
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"))
    kind: Mapped[str] = mapped_column(Text)
    debit: Mapped[str] = mapped_column(Text)
    credit: Mapped[str] = mapped_column(Text)
    amount: Mapped[Decimal] = mapped_column(AMOUNT)
    currency: Mapped[str] = mapped_column(Text)
    image_count: Mapped[int]
    at: Mapped[datetime]
    upstream_task_id: Mapped[str | None] = mapped_column(Text)
    """Of waste: the task that was billed; None in entries from before it was written down."""


class DailyUsage(Base):
    """What ended on one day of the team's time zone, by key and model: reports read this."""

    __tablename__ = "daily_usage"
    __table_args__ = (
        CheckConstraint("jobs = succeeded + failed + canceled + expired", name="jobs_add_up"),
        {"postgresql_with": {"fillfactor": 70}},
    )

    day: Mapped[date] = mapped_column(primary_key=True)
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    key_id: Mapped[UUID] = mapped_column(ForeignKey("keys.id"), primary_key=True)
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    currency: Mapped[str] = mapped_column(Text, primary_key=True)
    jobs: Mapped[int] = mapped_column(server_default="0")
    succeeded: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    canceled: Mapped[int] = mapped_column(server_default="0")
    expired: Mapped[int] = mapped_column(server_default="0")
    image_count: Mapped[int] = mapped_column(server_default="0")
    amount: Mapped[Decimal] = mapped_column(AMOUNT, server_default="0")


class DailyWaste(Base):
    """What the company paid for nothing on a day; a trigger adds each entry of waste."""

    __tablename__ = "daily_waste"

    day: Mapped[date] = mapped_column(primary_key=True)
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    """Whose job it was; no team is charged."""
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    currency: Mapped[str] = mapped_column(Text, primary_key=True)
    image_count: Mapped[int]
    amount: Mapped[Decimal] = mapped_column(AMOUNT)
