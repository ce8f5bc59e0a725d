"""What a lost, slow or crowded Postgres means to whoever asked, and what to do about it."""

from dataclasses import dataclass

import asyncpg

from app.kit.postgres.database import STATEMENT_TIMEOUT_SECONDS


@dataclass(frozen=True, slots=True)
class Trouble:
    """A stable code, and a sentence for the caller."""

    code: str
    message: str


UNREACHABLE = Trouble(
    "database_unavailable", "the database cannot be reached: send the request again in a moment"
)

_TROUBLES: tuple[tuple[type[BaseException], Trouble], ...] = (
    (
        asyncpg.QueryCanceledError,
        Trouble(
            "statement_canceled",
            f"the database stopped a statement of this request, after {STATEMENT_TIMEOUT_SECONDS} "
            "seconds at most: ask for less at once (a smaller page, a narrower filter), or send "
            "the request again when the database is less busy",
        ),
    ),
    (
        asyncpg.DeadlockDetectedError,
        Trouble(
            "database_contended",
            "another request held the rows that this one needs: send the request again",
        ),
    ),
    (
        asyncpg.LockNotAvailableError,
        Trouble(
            "database_contended",
            "another request held the rows that this one needs: send the request again",
        ),
    ),
    (
        asyncpg.TooManyConnectionsError,
        Trouble(
            "database_crowded",
            "the database has no connection left: send the request again in a moment; an operator "
            "can raise Postgres' max_connections or lower DASHGATE_DATABASE_POOL_SIZE",
        ),
    ),
    (
        asyncpg.InsufficientResourcesError,
        Trouble(
            "database_full",
            "the database is out of disk or memory: send the request again in a moment; its log "
            "tells an operator what it lacks",
        ),
    ),
    (
        asyncpg.ReadOnlySQLTransactionError,
        Trouble(
            "database_read_only",
            "the database takes no writes: an operator must point DATABASE_URL at the primary",
        ),
    ),
    (
        TimeoutError,
        Trouble(
            "database_timeout",
            "the database, or a free connection to it, was not to be had in time: send the "
            "request again in a moment",
        ),
    ),
)


def describe_trouble(error: BaseException) -> Trouble:
    """What one of CONNECTION_TROUBLE says; a database out of reach when it says nothing else."""
    found = (trouble for kind, trouble in _TROUBLES if isinstance(error, kind))
    return next(found, UNREACHABLE)
