"""The first schema: teams, accounts, jobs, money, files, audit.

Revision ID: 0001
Revises:
Create Date: 2026-11-23 05:42:14.728357+00:00
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("ledger_entries", "audit_entries")

REFUSE_CHANGE = """
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: correct it by a new row', tg_table_name
        using errcode = 'restrict_violation';
end $$
"""

# Months are cut at UTC midnight. A month already covered is left alone, so it may run any time.
ENSURE_PARTITIONS = """
create function ensure_partitions(parent text, since timestamptz, months int) returns void
language plpgsql as $$
declare
    month timestamp := date_trunc('month', since at time zone 'UTC');
    part text;
begin
    for step in 0..months loop
        part := parent || to_char(month, '"_y"YYYY"m"MM');
        if to_regclass(part) is null then
            execute format(
                'create table %I partition of %I for values from (%L) to (%L)',
                part, parent, month at time zone 'UTC',
                (month + interval '1 month') at time zone 'UTC'
            );
        end if;
        month := month + interval '1 month';
    end loop;
end $$
"""

LEDGER_BALANCES = """
create view ledger_balances as
select team_id, currency, side, sum(amount) as balance, sum(image_count) as image_count
from (
    select team_id, currency, debit as side, amount, image_count from ledger_entries
    union all
    select team_id, currency, credit, -amount, -image_count from ledger_entries
) as sides
group by team_id, currency, side
"""


def upgrade() -> None:
    op.execute("set local lock_timeout = '4s'")
    op.execute("set local statement_timeout = '60s'")
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("max_running", sa.Integer(), server_default="5", nullable=False),
        sa.Column(
            "submit_rate", sa.Numeric(precision=8, scale=3), server_default="5", nullable=False
        ),
        sa.Column(
            "query_rate", sa.Numeric(precision=8, scale=3), server_default="20", nullable=False
        ),
        sa.Column("weight", sa.Numeric(precision=8, scale=3), server_default="1", nullable=False),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "region in ('cn-beijing', 'ap-southeast-1')", name=op.f("ck_accounts_region_known")
        ),
        sa.CheckConstraint(
            "state in ('active', 'draining', 'removed')", name=op.f("ck_accounts_state_known")
        ),
        sa.CheckConstraint("max_running > 0", name=op.f("ck_accounts_max_running_positive")),
        sa.CheckConstraint(
            "submit_rate > 0 and query_rate > 0", name=op.f("ck_accounts_rates_positive")
        ),
        sa.CheckConstraint("weight > 0", name=op.f("ck_accounts_weight_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("name", name=op.f("uq_accounts_name")),
    )
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column(
            "detail", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_index(
        "ix_audit_entries_subject", "audit_entries", ["subject_kind", "subject_id"], unique=False
    )
    op.create_table(
        "job_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column(
            "detail", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.PrimaryKeyConstraint("id", "at", name=op.f("pk_job_events")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("ix_job_events_job_id_id", "job_events", ["job_id", "id"], unique=False)
    op.create_table(
        "prices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("unit_price", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_prices_currency_iso")),
        sa.CheckConstraint("unit_price >= 0", name=op.f("ck_prices_unit_price_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prices")),
        sa.UniqueConstraint(
            "model", "region", "valid_from", name=op.f("uq_prices_model_region_valid_from")
        ),
    )
    op.create_table(
        "teams",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("weight", sa.Numeric(precision=8, scale=3), server_default="1", nullable=False),
        sa.Column("max_running", sa.Integer(), nullable=True),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("cost_center", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), server_default="Asia/Shanghai", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("max_running > 0", name=op.f("ck_teams_max_running_positive")),
        sa.CheckConstraint(
            "requests_per_minute > 0", name=op.f("ck_teams_requests_per_minute_positive")
        ),
        sa.CheckConstraint("weight >= 0", name=op.f("ck_teams_weight_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teams")),
        sa.UniqueConstraint("name", name=op.f("uq_teams_name")),
    )
    op.create_table(
        "account_paces",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column(
            "next_submit_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pause_code", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(paused_until is null) = (pause_code is null)",
            name=op.f("ck_account_paces_pause_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_account_paces_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "model", name=op.f("pk_account_paces")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "files",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("upload_key", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("store_key", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("byte_count", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("byte_count > 0", name=op.f("ck_files_byte_count_positive")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_files_sha256_length")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_files_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
        sa.UniqueConstraint("upload_key", name=op.f("uq_files_upload_key")),
    )
    op.create_index("ix_files_expires_at", "files", ["expires_at"], unique=False)
    op.create_index(op.f("ix_files_team_id"), "files", ["team_id"], unique=False)
    op.create_table(
        "keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=True),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("allow_ips", sa.ARRAY(postgresql.CIDR()), server_default="{}", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role in ('admin', 'viewer')", name=op.f("ck_keys_role_known")),
        sa.CheckConstraint(
            "(team_id is null) <> (role is null)", name=op.f("ck_keys_team_or_role")
        ),
        sa.CheckConstraint("octet_length(digest) = 32", name=op.f("ck_keys_digest_sha256")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_keys_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_keys_digest")),
        sa.UniqueConstraint("public_id", name=op.f("uq_keys_public_id")),
    )
    op.create_index(
        "uq_keys_team_id_name",
        "keys",
        ["team_id", "name"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("revoked_at is null"),
    )
    op.create_table(
        "lanes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("api_key_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("api_key_hint", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_lanes_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lanes")),
    )
    op.create_index(op.f("ix_lanes_account_id"), "lanes", ["account_id"], unique=False)
    op.create_table(
        "daily_usage",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("jobs", sa.Integer(), server_default="0", nullable=False),
        sa.Column("succeeded", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("canceled", sa.Integer(), server_default="0", nullable=False),
        sa.Column("expired", sa.Integer(), server_default="0", nullable=False),
        sa.Column("image_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("amount", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.CheckConstraint(
            "jobs = succeeded + failed + canceled + expired",
            name=op.f("ck_daily_usage_jobs_add_up"),
        ),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_daily_usage_key_id_keys")),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_daily_usage_team_id_teams")
        ),
        sa.PrimaryKeyConstraint(
            "day", "team_id", "key_id", "model", "currency", name=op.f("pk_daily_usage")
        ),
        postgresql_with={"fillfactor": 70},
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("door", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("negative_prompt", sa.Text(), nullable=True),
        sa.Column("images", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("n", sa.SmallInteger(), nullable=False),
        sa.Column("size", sa.Text(), nullable=True),
        sa.Column("seed", sa.Integer(), nullable=True),
        sa.Column("watermark", sa.Boolean(), nullable=False),
        sa.Column("prompt_extend", sa.Boolean(), nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("unit_price", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("image_count", sa.SmallInteger(), nullable=True),
        sa.Column("amount", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "priority in ('interactive', 'batch')", name=op.f("ck_jobs_priority_known")
        ),
        sa.CheckConstraint(
            "status in ('succeeded', 'failed', 'canceled', 'expired')",
            name=op.f("ck_jobs_status_final"),
        ),
        sa.CheckConstraint(
            "status is null or (status = 'succeeded') = (image_count > 0)",
            name=op.f("ck_jobs_success_delivers"),
        ),
        sa.CheckConstraint(
            "(status is null) = (finished_at is null) and (status is null) = (amount is null) and (status is null) = (image_count is null)",
            name=op.f("ck_jobs_end_whole"),
        ),
        sa.CheckConstraint(
            "image_count between 0 and n", name=op.f("ck_jobs_image_count_in_range")
        ),
        sa.CheckConstraint("n between 1 and 4", name=op.f("ck_jobs_n_in_range")),
        sa.CheckConstraint(
            "status is null or amount = unit_price * image_count",
            name=op.f("ck_jobs_amount_exact"),
        ),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_jobs_key_id_keys")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_jobs_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(
        "ix_jobs_team_id_finished_at", "jobs", ["team_id", "finished_at"], unique=False
    )
    op.create_index(
        "ix_jobs_team_id_id", "jobs", ["team_id", sa.literal_column("id desc")], unique=False
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("lane_id", sa.Uuid(), nullable=False),
        sa.Column("intended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("upstream_task_id", sa.Text(), nullable=True),
        sa.Column("upstream_request_id", sa.Text(), nullable=True),
        sa.Column("http_status", sa.SmallInteger(), nullable=True),
        sa.Column("task_status", sa.Text(), nullable=True),
        sa.Column("task_submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("task_scheduled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("task_ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("image_count", sa.SmallInteger(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(outcome in ('accepted', 'adopted')) = (upstream_task_id is not null)",
            name=op.f("ck_attempts_task_when_created"),
        ),
        sa.CheckConstraint(
            "outcome in ('intended', 'unknown', 'accepted', 'adopted', 'refused', 'absent')",
            name=op.f("ck_attempts_outcome_known"),
        ),
        sa.CheckConstraint("number > 0", name=op.f("ck_attempts_number_positive")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_attempts_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id_jobs")),
        sa.ForeignKeyConstraint(["lane_id"], ["lanes.id"], name=op.f("fk_attempts_lane_id_lanes")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_attempts")),
        sa.UniqueConstraint("upstream_task_id", name=op.f("uq_attempts_upstream_task_id")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Integer(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
            name=op.f("fk_idempotency_keys_job_id_jobs"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_idempotency_keys_team_id_teams")
        ),
        sa.PrimaryKeyConstraint("team_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(
        "ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"], unique=False
    )
    op.create_table(
        "job_runs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("n", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("lane_id", sa.Uuid(), nullable=True),
        sa.Column("slot", sa.SmallInteger(), nullable=True),
        sa.Column("upstream_task_id", sa.Text(), nullable=True),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attention_code", sa.Text(), nullable=True),
        sa.Column("attention_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attention_detail", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(status = 'queued') = (account_id is null)", name=op.f("ck_job_runs_account_when_out")
        ),
        sa.CheckConstraint(
            "(status in ('running', 'finalizing')) = (upstream_task_id is not null)",
            name=op.f("ck_job_runs_task_once_accepted"),
        ),
        sa.CheckConstraint(
            "(status in ('submitting', 'running')) = (slot is not null)",
            name=op.f("ck_job_runs_slot_while_upstream"),
        ),
        sa.CheckConstraint(
            "status in ('queued', 'submitting', 'running', 'finalizing')",
            name=op.f("ck_job_runs_status_active"),
        ),
        sa.CheckConstraint(
            "(account_id is null) = (lane_id is null)", name=op.f("ck_job_runs_lane_of_account")
        ),
        sa.CheckConstraint(
            "(attention_code is null) = (attention_since is null)",
            name=op.f("ck_job_runs_attention_whole"),
        ),
        sa.CheckConstraint(
            "(lease_token is null) = (lease_expires_at is null)",
            name=op.f("ck_job_runs_lease_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_job_runs_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_runs_job_id_jobs")),
        sa.ForeignKeyConstraint(["lane_id"], ["lanes.id"], name=op.f("fk_job_runs_lane_id_lanes")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_job_runs_team_id_teams")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_runs")),
        sa.UniqueConstraint("upstream_task_id", name=op.f("uq_job_runs_upstream_task_id")),
        postgresql_with={
            "fillfactor": 70,
            "autovacuum_vacuum_scale_factor": 0.01,
            "autovacuum_vacuum_threshold": 500,
        },
    )
    op.create_index(
        "ix_job_runs_queued_expires_at",
        "job_runs",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index("ix_job_runs_due", "job_runs", ["status", "due_at"], unique=False)
    op.create_index(
        "ix_job_runs_queue",
        "job_runs",
        ["model", sa.literal_column("priority desc"), "job_id"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "uq_job_runs_lane_id_submitting",
        "job_runs",
        ["lane_id"],
        unique=True,
        postgresql_where=sa.text("status = 'submitting'"),
    )
    op.create_index(
        "uq_job_runs_slot",
        "job_runs",
        ["account_id", "model", "slot"],
        unique=True,
        postgresql_where=sa.text("slot is not null"),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("debit", sa.Text(), nullable=False),
        sa.Column("credit", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("image_count", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind in ('reserve', 'capture', 'release', 'waste')",
            name=op.f("ck_ledger_entries_kind_known"),
        ),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_ledger_entries_amount_not_negative")),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_ledger_entries_two_sides")),
        sa.CheckConstraint(
            "image_count >= 0", name=op.f("ck_ledger_entries_image_count_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_ledger_entries_job_id_jobs")
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_ledger_entries_team_id_teams")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint("job_id", "kind", name=op.f("uq_ledger_entries_job_id_kind")),
    )
    op.create_index(
        "ix_ledger_entries_team_id_at", "ledger_entries", ["team_id", "at"], unique=False
    )
    op.create_table(
        "pictures",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("index", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("source_url", sa.Text(), nullable=True),
        sa.Column("source_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("actual_prompt", sa.Text(), nullable=True),
        sa.Column("store_key", sa.Text(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("byte_count", sa.Integer(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(status = 'failed') = (error_code is not null)",
            name=op.f("ck_pictures_failed_says_why"),
        ),
        sa.CheckConstraint(
            "(status = 'kept') = (store_key is not null and sha256 is not null and content_type is not null and byte_count is not null and width is not null and height is not null)",
            name=op.f("ck_pictures_kept_whole"),
        ),
        sa.CheckConstraint(
            "(status = 'upstream') = (source_url is not null)",
            name=op.f("ck_pictures_source_until_kept"),
        ),
        sa.CheckConstraint(
            "status in ('upstream', 'kept', 'failed')", name=op.f("ck_pictures_status_known")
        ),
        sa.CheckConstraint("index between 0 and 3", name=op.f("ck_pictures_index_in_range")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_pictures_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", "index", name=op.f("pk_pictures")),
    )
    op.execute(ENSURE_PARTITIONS)
    op.execute("create table job_events_rest partition of job_events default")
    op.execute("select ensure_partitions('job_events', now(), 3)")
    op.execute(REFUSE_CHANGE)
    for table in APPEND_ONLY:
        op.execute(
            f"create trigger {table}_append_only before update or delete on {table} "
            "for each row execute function refuse_change()"
        )
    op.execute(LEDGER_BALANCES)


def downgrade() -> None:
    op.execute("set local lock_timeout = '4s'")
    op.execute("drop view ledger_balances")
    op.drop_table("pictures")
    op.drop_index("ix_ledger_entries_team_id_at", table_name="ledger_entries")
    op.drop_table("ledger_entries")
    op.drop_index(
        "uq_job_runs_slot", table_name="job_runs", postgresql_where=sa.text("slot is not null")
    )
    op.drop_index(
        "uq_job_runs_lane_id_submitting",
        table_name="job_runs",
        postgresql_where=sa.text("status = 'submitting'"),
    )
    op.drop_index(
        "ix_job_runs_queue", table_name="job_runs", postgresql_where=sa.text("status = 'queued'")
    )
    op.drop_index(
        "ix_job_runs_queued_expires_at",
        table_name="job_runs",
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.drop_index("ix_job_runs_due", table_name="job_runs")
    op.drop_table("job_runs")
    op.drop_index("ix_idempotency_keys_expires_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_table("attempts")
    op.drop_index("ix_jobs_team_id_id", table_name="jobs")
    op.drop_index("ix_jobs_team_id_finished_at", table_name="jobs")
    op.drop_table("jobs")
    op.drop_table("daily_usage")
    op.drop_index(op.f("ix_lanes_account_id"), table_name="lanes")
    op.drop_table("lanes")
    op.drop_index(
        "uq_keys_team_id_name",
        table_name="keys",
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("revoked_at is null"),
    )
    op.drop_table("keys")
    op.drop_index(op.f("ix_files_team_id"), table_name="files")
    op.drop_index("ix_files_expires_at", table_name="files")
    op.drop_table("files")
    op.drop_table("account_paces")
    op.drop_table("teams")
    op.drop_table("prices")
    op.drop_index("ix_job_events_job_id_id", table_name="job_events")
    op.drop_table("job_events")
    op.drop_index("ix_audit_entries_subject", table_name="audit_entries")
    op.drop_table("audit_entries")
    op.drop_table("accounts")
    op.execute("drop function refuse_change()")
    op.execute("drop function ensure_partitions(text, timestamptz, int)")
