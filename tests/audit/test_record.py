"""The audit log: it goes with the change, and it is never edited."""

from uuid import UUID

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.record import record_audit
from app.audit.tables import AuditEntry

SUBJECT = UUID("0198c0f2-0000-7000-8000-000000000001")


async def _record(session: AsyncSession) -> None:
    await record_audit(
        session,
        actor="cli:alice",
        action="team.created",
        subject_kind="team",
        subject_id=SUBJECT,
        detail={"name": "ads"},
    )


async def test_an_entry_says_who_did_what_to_what(session: AsyncSession) -> None:
    await _record(session)

    entry = (await session.scalars(select(AuditEntry))).one()
    assert (entry.actor, entry.action) == ("cli:alice", "team.created")
    assert (entry.subject_kind, entry.subject_id) == ("team", SUBJECT)
    assert entry.detail == {"name": "ads"}
    assert entry.at.tzinfo is not None


async def test_an_entry_is_undone_with_its_change(session: AsyncSession) -> None:
    change = await session.begin_nested()
    await _record(session)
    await change.rollback()

    assert (await session.scalars(select(AuditEntry))).all() == []


@pytest.mark.parametrize(
    "tampering", [update(AuditEntry).values(actor="nobody"), delete(AuditEntry)]
)
async def test_an_entry_cannot_be_changed(session: AsyncSession, tampering: object) -> None:
    await _record(session)

    with pytest.raises(DBAPIError, match="append-only"):
        await session.execute(tampering)  # type: ignore[call-overload]
