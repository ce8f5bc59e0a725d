"""Table of idempotency keys: which job each key of a team has made."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ForeignKey,
    Index,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.postgres.database import Base


class IdempotencyKey(Base):
    """Which job a client's key already made; kept longer than the upstream remembers.

    A row with an owner guards a create without a key of its own: it counts only once that API
    process has lost the client (owner cleared) or is gone. Once its answer was written it stands
    only for creates that were left by their client, and goes within a minute or so.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        Index("ix_idempotency_keys_expires_at", "expires_at"),
        Index("ix_idempotency_keys_job_id", "job_id"),
    )

    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[bytes]
    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", deferrable=True, initially="DEFERRED")
    )
    owner: Mapped[int | None]
    answered_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]
