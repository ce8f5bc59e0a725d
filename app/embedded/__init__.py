"""A Postgres of our own for one machine."""

from app.embedded.failure import EmbeddedPostgresError
from app.embedded.launcher import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
