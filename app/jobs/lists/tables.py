"""Tables of lists: what jobs are labeled with."""

from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from app.kit.postgres.database import Base


class JobLabel(Base):
    """Which jobs carry a pair of metadata, in the order of a list; kept by a trigger of `jobs`.

    `label` is the first 16 bytes of the SHA-256 of the pair. Without a reference to the job: the
    trigger writes and deletes both together, and a check would cost each create a look-up.
    """

    __tablename__ = "job_labels"

    team_id: Mapped[UUID] = mapped_column(primary_key=True)
    label: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID] = mapped_column(primary_key=True)
