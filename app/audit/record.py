"""The audit log: who changed what, written in the transaction of the change."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.tables import AuditEntry
from app.kit.postgres.database import Connection


async def record_audit(
    session: AsyncSession,
    *,
    actor: str,
    action: str,
    subject_kind: str,
    subject_id: UUID,
    detail: dict[str, Any],
) -> None:
    """Note a change; the detail is JSON and may name a secret's hint, never the secret."""
    await session.execute(
        insert(AuditEntry).values(
            at=func.clock_timestamp(),
            actor=actor,
            action=action,
            subject_kind=subject_kind,
            subject_id=subject_id,
            detail=detail,
        )
    )


async def note_audit(
    connection: Connection,
    *,
    actor: str,
    action: str,
    subject_kind: str,
    subject_id: UUID,
    detail: dict[str, Any],
) -> None:
    """The same, where the change is the engine's own statement and not a session's."""
    await connection.execute(_NOTE, actor, action, subject_kind, subject_id, detail)


_NOTE = """
insert into audit_entries (at, actor, action, subject_kind, subject_id, detail)
values (clock_timestamp(), $1, $2, $3, $4, $5)
"""
