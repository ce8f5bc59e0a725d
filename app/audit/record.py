"""The audit log: who changed what, written in the transaction of the change."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.tables import AuditEntry


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
