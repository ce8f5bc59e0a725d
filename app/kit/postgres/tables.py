"""Table of failures: how often each kind of work in the background has failed, for the metrics."""

from datetime import datetime

from sqlalchemy import BigInteger, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.postgres.database import Base


class ChoreFailures(Base):
    """One kind of work, its failures since it was first put down, and the last of them."""

    __tablename__ = "chore_failures"

    work: Mapped[str] = mapped_column(Text, primary_key=True)
    failures: Mapped[int] = mapped_column(BigInteger)
    last_error: Mapped[str] = mapped_column(Text)
    last_at: Mapped[datetime] = mapped_column(server_default=func.now())
