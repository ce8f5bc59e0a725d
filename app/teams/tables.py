"""Tables of teams and keys."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Numeric, Text, func, text
from sqlalchemy.dialects.postgresql import CIDR
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.postgres.database import Base


class Team(Base):
    """Who pays inside the company; a weight of zero pauses its queue."""

    __tablename__ = "teams"
    __table_args__ = (
        CheckConstraint("weight >= 0", name="weight_not_negative"),
        CheckConstraint("max_running > 0", name="max_running_positive"),
        CheckConstraint("requests_per_minute > 0", name="requests_per_minute_positive"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    weight: Mapped[Decimal] = mapped_column(Numeric(8, 3), server_default="1")
    max_running: Mapped[int | None]
    requests_per_minute: Mapped[int | None]
    cost_center: Mapped[str | None] = mapped_column(Text)
    timezone: Mapped[str] = mapped_column(Text, server_default="Asia/Shanghai")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]


class Key(Base):
    """A credential for this gateway: of a team, or of an operator when it has a role."""

    __tablename__ = "keys"
    __table_args__ = (
        CheckConstraint("(team_id is null) <> (role is null)", name="team_or_role"),
        CheckConstraint("role in ('admin', 'viewer')", name="role_known"),
        CheckConstraint("octet_length(digest) = 32", name="digest_sha256"),
        Index(
            "uq_keys_team_id_name",
            "team_id",
            "name",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("revoked_at is null"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    team_id: Mapped[UUID | None] = mapped_column(ForeignKey("teams.id"))
    role: Mapped[str | None] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    public_id: Mapped[str] = mapped_column(Text, unique=True)
    digest: Mapped[bytes] = mapped_column(unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    allow_ips: Mapped[list[str]] = mapped_column(ARRAY(CIDR), server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
