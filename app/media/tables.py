"""Tables of files, the input images that clients brought, and of the store that holds them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.postgres.database import Base


class File(Base):
    """One image that a team may use as an input until it expires."""

    __tablename__ = "files"
    __table_args__ = (
        CheckConstraint("octet_length(sha256) = 32", name="sha256_length"),
        CheckConstraint("byte_count > 0", name="byte_count_positive"),
        Index("ix_files_expires_at", "expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"), index=True)
    upload_key: Mapped[str | None] = mapped_column(Text, unique=True)
    name: Mapped[str | None] = mapped_column(Text)
    sha256: Mapped[bytes]
    store_key: Mapped[str] = mapped_column(Text)
    content_type: Mapped[str] = mapped_column(Text)
    byte_count: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]


class StoreIdentity(Base):
    """One row, which the schema brings along: the id that the store's mark must hold."""

    __tablename__ = "picture_store"
    __table_args__ = (CheckConstraint("is_only", name="one_row"),)

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default="true")
    id: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    is_marked: Mapped[bool] = mapped_column(server_default="false")
    """Whether the mark was ever seen in the store."""
    registered_at: Mapped[datetime] = mapped_column(server_default=func.now())
