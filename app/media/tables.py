"""Tables of files, the input images that clients brought, and of the store that holds them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.postgres.database import Base


class File(Base):
    """One image that a team may use as an input until it expires.

    Its row is there before its bytes (arriving) and after them (leaving). A shared row stands for
    all equal content of its team; uploads beside it name the same object of the store.
    """

    __tablename__ = "files"
    __table_args__ = (
        CheckConstraint("octet_length(sha256) = 32", name="sha256_length"),
        CheckConstraint("byte_count > 0", name="byte_count_positive"),
        CheckConstraint("state in ('arriving', 'kept', 'leaving')", name="state_known"),
        Index("ix_files_expires_at", "expires_at"),
        Index(
            "uq_files_content",
            "team_id",
            "sha256",
            unique=True,
            postgresql_where=text("is_shared and state <> 'leaving'"),
        ),
        Index("ix_files_store_key", "store_key"),
        Index("ix_files_leaving", "expires_at", postgresql_where=text("state = 'leaving'")),
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
    state: Mapped[str] = mapped_column(Text, server_default="kept")
    is_shared: Mapped[bool] = mapped_column(server_default=text("false"))


class StoreIdentity(Base):
    """One row, which the schema brings along: the id that the store's mark must hold."""

    __tablename__ = "picture_store"
    __table_args__ = (CheckConstraint("is_only", name="one_row"),)

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default="true")
    id: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    is_marked: Mapped[bool] = mapped_column(server_default="false")
    """Whether the mark was ever seen in the store."""
    registered_at: Mapped[datetime] = mapped_column(server_default=func.now())
