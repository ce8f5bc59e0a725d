"""The engine: fair queues, learned paces, orphans, review.

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-23 08:45:10.114352+00:00
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# An interactive job goes before its team's batch jobs of the last four hours.
RANK_RUNS = """
update job_runs set rank_at = jobs.created_at
    - case jobs.priority when 'interactive' then interval '4 hours' else interval '0' end
from jobs where jobs.id = job_runs.job_id
"""
UNRANK_RUNS = """
update job_runs set priority = (jobs.priority = 'interactive')::int
from jobs where jobs.id = job_runs.job_id
"""
QUEUED = sa.text("status = 'queued'")


def upgrade() -> None:
    op.execute("set local lock_timeout = '4s'")
    op.execute("set local statement_timeout = '60s'")
    _add_queues()
    _change_runs()
    _learn_paces()
    _add_orphans()


def downgrade() -> None:
    op.execute("set local lock_timeout = '4s'")
    op.drop_index("uq_ledger_entries_job_id_kind", table_name="ledger_entries")
    op.create_unique_constraint(
        op.f("uq_ledger_entries_job_id_kind"), "ledger_entries", ["job_id", "kind"]
    )
    op.drop_index("ix_attempts_given_up", table_name="attempts")
    op.drop_table("orphans")
    _forget_paces()
    _change_runs_back()
    op.drop_table("team_queues")
    op.drop_table("queue_clocks")


def _add_queues() -> None:
    op.create_table(
        "queue_clocks",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("virtual_time", sa.Double(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_queue_clocks")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "team_queues",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("virtual_time", sa.Double(), server_default="0", nullable=False),
        sa.Column("is_waiting", sa.Boolean(), server_default="true", nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_team_queues_team_id_teams")
        ),
        sa.PrimaryKeyConstraint("model", "team_id", name=op.f("pk_team_queues")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(
        "ix_team_queues_waiting",
        "team_queues",
        ["model", "virtual_time"],
        postgresql_where=sa.text("is_waiting"),
    )
    op.execute(
        "insert into team_queues (model, team_id) select distinct model, team_id from job_runs"
    )


def _change_runs() -> None:
    op.add_column(
        "job_runs",
        sa.Column("task_failures", sa.SmallInteger(), server_default="0", nullable=False),
    )
    op.add_column("job_runs", sa.Column("rank_at", sa.DateTime(timezone=True)))
    op.execute(RANK_RUNS)
    op.alter_column("job_runs", "rank_at", nullable=False)
    op.drop_index("ix_job_runs_queue", table_name="job_runs")
    op.drop_column("job_runs", "priority")
    op.create_index(
        "ix_job_runs_team_queue",
        "job_runs",
        ["model", "team_id", "rank_at", "job_id"],
        postgresql_include=["n"],
        postgresql_where=QUEUED,
    )
    op.create_index(
        "ix_job_runs_team_out",
        "job_runs",
        ["model", "team_id"],
        postgresql_where=sa.text("slot is not null"),
    )
    op.create_index(
        "ix_job_runs_finalizing_expires_at",
        "job_runs",
        ["expires_at"],
        postgresql_where=sa.text("status = 'finalizing'"),
    )
    op.drop_constraint(op.f("ck_job_runs_lane_of_account"), "job_runs")
    op.drop_constraint(op.f("ck_job_runs_slot_while_upstream"), "job_runs")
    op.create_check_constraint(
        op.f("ck_job_runs_lane_of_account"),
        "job_runs",
        "lane_id is null or account_id is not null",
    )
    op.create_check_constraint(
        op.f("ck_job_runs_slot_while_upstream"),
        "job_runs",
        "slot is null or status in ('submitting', 'running')",
    )
    op.create_check_constraint(
        op.f("ck_job_runs_slot_unless_in_review"),
        "job_runs",
        "slot is not null or status not in ('submitting', 'running')"
        " or attention_code is not null",
    )


def _change_runs_back() -> None:
    op.drop_constraint(op.f("ck_job_runs_slot_unless_in_review"), "job_runs")
    op.drop_constraint(op.f("ck_job_runs_slot_while_upstream"), "job_runs")
    op.drop_constraint(op.f("ck_job_runs_lane_of_account"), "job_runs")
    op.create_check_constraint(
        op.f("ck_job_runs_lane_of_account"), "job_runs", "(account_id is null) = (lane_id is null)"
    )
    op.create_check_constraint(
        op.f("ck_job_runs_slot_while_upstream"),
        "job_runs",
        "(status in ('submitting', 'running')) = (slot is not null)",
    )
    op.drop_index("ix_job_runs_finalizing_expires_at", table_name="job_runs")
    op.drop_index("ix_job_runs_team_out", table_name="job_runs")
    op.drop_index("ix_job_runs_team_queue", table_name="job_runs")
    op.add_column("job_runs", sa.Column("priority", sa.SmallInteger()))
    op.execute(UNRANK_RUNS)
    op.alter_column("job_runs", "priority", nullable=False)
    op.create_index(
        "ix_job_runs_queue",
        "job_runs",
        ["model", sa.literal_column("priority desc"), "job_id"],
        postgresql_where=QUEUED,
    )
    op.drop_column("job_runs", "rank_at")
    op.drop_column("job_runs", "task_failures")


def _learn_paces() -> None:
    op.add_column("lanes", sa.Column("upstream_key_id", sa.Text()))
    op.add_column("lanes", sa.Column("rests_until", sa.DateTime(timezone=True)))
    for column in (
        sa.Column("pace_share", sa.Double(), server_default="1", nullable=False),
        sa.Column("priming", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("priming_held_until", sa.DateTime(timezone=True)),
        sa.Column("strikes", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("is_suspended", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("service_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("service_log_mean", sa.Double(), server_default="0", nullable=False),
        sa.Column("service_log_variance", sa.Double(), server_default="0", nullable=False),
    ):
        op.add_column("account_paces", column)
    for name, rule in (
        ("pace_share_in_range", "pace_share > 0 and pace_share <= 1"),
        ("priming_not_negative", "priming >= 0"),
        ("strikes_not_negative", "strikes >= 0"),
    ):
        op.create_check_constraint(op.f(f"ck_account_paces_{name}"), "account_paces", rule)
    op.create_table(
        "account_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column(
            "detail", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_account_events_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_events")),
    )
    op.create_index("ix_account_events_account_id_at", "account_events", ["account_id", "at"])


def _forget_paces() -> None:
    op.drop_table("account_events")
    for column in (
        "pace_share",
        "priming",
        "priming_held_until",
        "strikes",
        "is_suspended",
        "service_count",
        "service_log_mean",
        "service_log_variance",
    ):
        op.drop_column("account_paces", column)
    op.drop_column("lanes", "rests_until")
    op.drop_column("lanes", "upstream_key_id")


def _add_orphans() -> None:
    op.create_table(
        "orphans",
        sa.Column("upstream_task_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("is_ours", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="watched", nullable=False),
        sa.Column(
            "found_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.Column("image_count", sa.SmallInteger()),
        sa.Column("amount", sa.Numeric(precision=18, scale=6)),
        sa.CheckConstraint(
            "state in ('watched', 'canceled', 'wasted', 'free', 'foreign', 'lost')",
            name=op.f("ck_orphans_state_known"),
        ),
        sa.CheckConstraint(
            "(state = 'watched') = (settled_at is null)",
            name=op.f("ck_orphans_settled_when_known"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_orphans_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_orphans_job_id_jobs")),
        sa.PrimaryKeyConstraint("upstream_task_id", name=op.f("pk_orphans")),
    )
    op.create_index(op.f("ix_orphans_job_id"), "orphans", ["job_id"])
    op.create_index(
        "ix_orphans_watched",
        "orphans",
        ["account_id", "model"],
        postgresql_where=sa.text("state = 'watched'"),
    )
    op.create_index(
        "ix_attempts_given_up",
        "attempts",
        ["account_id", "settled_at"],
        postgresql_where=sa.text(
            "outcome = 'absent' and error_code in ('not_created', 'given_up')"
        ),
    )
    op.drop_constraint(op.f("uq_ledger_entries_job_id_kind"), "ledger_entries")
    op.create_index(
        "uq_ledger_entries_job_id_kind",
        "ledger_entries",
        ["job_id", "kind"],
        unique=True,
        postgresql_where=sa.text("kind <> 'waste'"),
    )
