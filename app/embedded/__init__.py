"""A Postgres of our own for one machine."""

from app.embedded.failure import EmbeddedPostgresError
from app.embedded.launcher import EmbeddedPostgres
from app.embedded.programs import Program, find_program, make_environment

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "Program",
    "find_program",
    "make_environment",
]
