"""Tables of the heart: jobs and their runs, attempts, pictures, events."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.billing.tables import AMOUNT
from app.kit.postgres.database import Base

NEWEST = text("id desc")
ENDED = text("status is not null")
QUEUED = text("status = 'queued'")
RUNNING = text("status = 'running'")
FINALIZING = text("status = 'finalizing'")
OUT = text("slot is not null")
FLAGGED = text("attention_code is not null")


class Job(Base):
    """The request, its price and its end. Written at acceptance and once more at the end."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("priority in ('interactive', 'batch')", name="priority_known"),
        CheckConstraint("n between 1 and 4", name="n_in_range"),
        CheckConstraint(
            "status in ('succeeded', 'failed', 'canceled', 'expired')", name="status_final"
        ),
        CheckConstraint(
            "(status is null) = (finished_at is null)"
            " and (status is null) = (amount is null)"
            " and (status is null) = (image_count is null)",
            name="end_whole",
        ),
        CheckConstraint(
            "status is null or (status = 'succeeded') = (image_count > 0)", name="success_delivers"
        ),
        CheckConstraint(
            "status is null or amount = unit_price * image_count", name="amount_exact"
        ),
        CheckConstraint("image_count between 0 and n", name="image_count_in_range"),
        Index("ix_jobs_team_id_id", "team_id", NEWEST),
        Index("ix_jobs_team_id_status_id", "team_id", "status", "id", postgresql_where=ENDED),
        Index("ix_jobs_team_id_model_id", "team_id", "model", "id"),
        Index("ix_jobs_key_id_id", "key_id", NEWEST),
        Index("ix_jobs_team_id_finished_at", "team_id", "finished_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"))
    key_id: Mapped[UUID] = mapped_column(ForeignKey("keys.id"))
    door: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    prompt: Mapped[str] = mapped_column(Text)
    negative_prompt: Mapped[str | None] = mapped_column(Text)
    images: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    n: Mapped[int] = mapped_column(SmallInteger)
    size: Mapped[str | None] = mapped_column(Text)
    seed: Mapped[int | None]
    watermark: Mapped[bool]
    prompt_extend: Mapped[bool]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    priority: Mapped[str] = mapped_column(Text)
    unit_price: Mapped[Decimal] = mapped_column(AMOUNT)
    currency: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    status: Mapped[str | None] = mapped_column(Text)
    submitted_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    image_count: Mapped[int | None] = mapped_column(SmallInteger)
    amount: Mapped[Decimal | None] = mapped_column(AMOUNT)
    error_code: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)


class JobRun(Base):
    """The moving part of an active job; deleted when the job ends."""

    __tablename__ = "job_runs"
    __table_args__ = (
        CheckConstraint(
            "status in ('queued', 'submitting', 'running', 'finalizing')", name="status_active"
        ),
        CheckConstraint("(status = 'queued') = (account_id is null)", name="account_when_out"),
        CheckConstraint("lane_id is null or account_id is not null", name="lane_of_account"),
        CheckConstraint(
            "slot is null or status in ('submitting', 'running')", name="slot_while_upstream"
        ),
        CheckConstraint(
            "slot is not null or status not in ('submitting', 'running')"
            " or attention_code is not null",
            name="slot_unless_in_review",
        ),
        CheckConstraint(
            "(status in ('running', 'finalizing')) = (upstream_task_id is not null)",
            name="task_once_accepted",
        ),
        CheckConstraint("(lease_token is null) = (lease_expires_at is null)", name="lease_whole"),
        CheckConstraint(
            "(attention_code is null) = (attention_since is null)", name="attention_whole"
        ),
        Index(
            "uq_job_runs_slot", "account_id", "model", "slot", unique=True, postgresql_where=OUT
        ),
        Index(
            "uq_job_runs_lane_id_submitting",
            "lane_id",
            unique=True,
            postgresql_where=text("status = 'submitting'"),
        ),
        Index(
            "ix_job_runs_team_queue",
            "model",
            "team_id",
            "rank_at",
            "job_id",
            postgresql_include=["n"],
            postgresql_where=QUEUED,
        ),
        Index("ix_job_runs_team_out", "model", "team_id", postgresql_where=OUT),
        Index("ix_job_runs_due", "status", "due_at"),
        Index("ix_job_runs_running_submitted_at", "submitted_at", postgresql_where=RUNNING),
        Index("ix_job_runs_finalizing_expires_at", "expires_at", postgresql_where=FINALIZING),
        Index(
            "ix_job_runs_team_expires_at",
            "model",
            "team_id",
            "expires_at",
            postgresql_where=QUEUED,
        ),
        Index("ix_job_runs_team_id_status_job_id", "team_id", "status", "job_id"),
        Index("ix_job_runs_attention", text("job_id desc"), postgresql_where=FLAGGED),
        {
            "postgresql_with": {
                "fillfactor": 70,
                "autovacuum_vacuum_scale_factor": 0.01,
                "autovacuum_vacuum_threshold": 500,
            }
        },
    )

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"))
    model: Mapped[str] = mapped_column(Text)
    rank_at: Mapped[datetime]
    """Place in the team's own queue: accepted then, less an interactive job's head start."""
    n: Mapped[int] = mapped_column(SmallInteger)
    status: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(SmallInteger)
    task_failures: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Tasks of this job that failed and were tried anew."""
    due_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    """Of a queued job the end of its waiting, of a finalizing one that of its pictures' URLs."""
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    lane_id: Mapped[UUID | None] = mapped_column(ForeignKey("lanes.id"))
    slot: Mapped[int | None] = mapped_column(SmallInteger)
    upstream_task_id: Mapped[str | None] = mapped_column(Text, unique=True)
    submitted_at: Mapped[datetime | None]
    lease_token: Mapped[UUID | None]
    lease_expires_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    attention_code: Mapped[str | None] = mapped_column(Text)
    attention_since: Mapped[datetime | None]
    attention_detail: Mapped[str | None] = mapped_column(Text)


class Attempt(Base):
    """One try to create a task for a job: the intent, then what became of it."""

    __tablename__ = "attempts"
    __table_args__ = (
        CheckConstraint("number > 0", name="number_positive"),
        CheckConstraint(
            "outcome in ('intended', 'unknown', 'accepted', 'adopted', 'refused', 'absent')",
            name="outcome_known",
        ),
        CheckConstraint(
            "(outcome in ('accepted', 'adopted')) = (upstream_task_id is not null)",
            name="task_when_created",
        ),
        Index(
            "ix_attempts_account_id_intended_at",
            "account_id",
            "intended_at",
            postgresql_where=text("outcome = 'accepted'"),
        ),
        Index(
            "ix_attempts_given_up",
            "account_id",
            "settled_at",
            postgresql_where=text(
                "outcome = 'absent' and error_code in ('not_created', 'given_up')"
            ),
        ),
    )

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    lane_id: Mapped[UUID] = mapped_column(ForeignKey("lanes.id"))
    intended_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(Text)
    settled_at: Mapped[datetime | None]
    upstream_task_id: Mapped[str | None] = mapped_column(Text, unique=True)
    upstream_request_id: Mapped[str | None] = mapped_column(Text)
    http_status: Mapped[int | None] = mapped_column(SmallInteger)
    unlisted_at: Mapped[datetime | None]
    """When a list that proves itself first showed no task of it."""
    task_status: Mapped[str | None] = mapped_column(Text)
    task_submitted_at: Mapped[datetime | None]
    task_scheduled_at: Mapped[datetime | None]
    task_ended_at: Mapped[datetime | None]
    image_count: Mapped[int | None] = mapped_column(SmallInteger)
    error_code: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)


class Picture(Base):
    """One result slot of a job: still upstream, kept, or never made."""

    __tablename__ = "pictures"
    __table_args__ = (
        CheckConstraint("status in ('upstream', 'kept', 'failed')", name="status_known"),
        CheckConstraint("index between 0 and 3", name="index_in_range"),
        CheckConstraint(
            "(status = 'kept') = (store_key is not null and sha256 is not null"
            " and content_type is not null and byte_count is not null"
            " and width is not null and height is not null)",
            name="kept_whole",
        ),
        CheckConstraint("(status = 'failed') = (error_code is not null)", name="failed_says_why"),
        CheckConstraint(
            "(status = 'upstream') = (source_url is not null)", name="source_until_kept"
        ),
    )

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    index: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    status: Mapped[str] = mapped_column(Text)
    source_url: Mapped[str | None] = mapped_column(Text)
    source_expires_at: Mapped[datetime | None]
    actual_prompt: Mapped[str | None] = mapped_column(Text)
    store_key: Mapped[str | None] = mapped_column(Text)
    sha256: Mapped[bytes | None]
    content_type: Mapped[str | None] = mapped_column(Text)
    byte_count: Mapped[int | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    kept_at: Mapped[datetime | None]
    error_code: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)


class JobEvent(Base):
    """What happened to a job, in order; partitioned by month because rows only grow."""

    __tablename__ = "job_events"
    __table_args__ = (
        Index("ix_job_events_job_id_id", "job_id", "id"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    job_id: Mapped[UUID]
    type: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
