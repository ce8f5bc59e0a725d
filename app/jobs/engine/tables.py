"""Tables of the engine's own bookkeeping: the fair queue's clocks, and surplus tasks."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    SmallInteger,
    Text,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.billing.tables import AMOUNT
from app.kit.postgres.database import Base


class QueueClock(Base):
    """The virtual time of a model's queue: the start tag of the job that went out last."""

    __tablename__ = "queue_clocks"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    model: Mapped[str] = mapped_column(Text, primary_key=True)
    virtual_time: Mapped[float] = mapped_column(Double, server_default="0")


class TeamQueue(Base):
    """How far a team's share of a model has been used: images over weight, in virtual time."""

    __tablename__ = "team_queues"
    __table_args__ = (
        Index(
            "ix_team_queues_waiting",
            "model",
            "virtual_time",
            postgresql_where=text("is_waiting"),
        ),
        {"postgresql_with": {"fillfactor": 50}},
    )

    model: Mapped[str] = mapped_column(Text, primary_key=True)
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    virtual_time: Mapped[float] = mapped_column(Double, server_default="0")
    is_waiting: Mapped[bool] = mapped_column(server_default="true")
    """Whether it may have queued jobs; a sweep mends what a race has left wrong."""
    served_at: Mapped[datetime | None]


class Orphan(Base):
    """A task beyond the one its job was given: watched until it is known whether it was billed."""

    __tablename__ = "orphans"
    __table_args__ = (
        CheckConstraint(
            "state in ('watched', 'canceled', 'wasted', 'free', 'foreign', 'lost')",
            name="state_known",
        ),
        CheckConstraint("(state = 'watched') = (settled_at is null)", name="settled_when_known"),
        Index(
            "ix_orphans_watched",
            "account_id",
            "model",
            postgresql_where=text("state = 'watched'"),
        ),
    )

    upstream_task_id: Mapped[str] = mapped_column(Text, primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    model: Mapped[str] = mapped_column(Text)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), index=True)
    attempt: Mapped[int] = mapped_column(SmallInteger)
    is_ours: Mapped[bool]
    """Whether the upstream itself gave us its id; else it is only thought to be ours."""
    reason: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="watched")
    found_at: Mapped[datetime] = mapped_column(server_default=func.now())
    settled_at: Mapped[datetime | None]
    image_count: Mapped[int | None] = mapped_column(SmallInteger)
    amount: Mapped[Decimal | None] = mapped_column(AMOUNT)


class UpstreamCalls(Base):
    """How often the upstream was called, by call and answer; workers add to it."""

    __tablename__ = "upstream_calls"

    call: Mapped[str] = mapped_column(Text, primary_key=True)
    answer: Mapped[str] = mapped_column(Text, primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger, server_default="0")
