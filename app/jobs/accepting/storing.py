"""The statement that stores accepted jobs: each with its run, its event and its reservation."""

from app.billing.ledger import BUDGET, RESERVE, RESERVED
from app.jobs.events import ACCEPTED
from app.jobs.queue.clocks import mark_from

STORE = f"""
with new as materialized (
    select * from jsonb_to_recordset($1) as rows(
        id uuid, team_id uuid, key_id uuid, door text, model text, prompt text,
        negative_prompt text, images jsonb, n smallint, size text, seed int, watermark bool,
        prompt_extend bool, metadata jsonb, priority text, unit_price numeric, currency text,
        ttl_seconds int
    )
),
stored as (
    insert into jobs (id, team_id, key_id, door, model, prompt, negative_prompt, images, n,
        size, seed, watermark, prompt_extend, metadata, priority, unit_price, currency,
        created_at, expires_at)
    select id, team_id, key_id, door, model, prompt, negative_prompt, images, n,
        size, seed, watermark, prompt_extend, metadata, priority, unit_price, currency,
        now(), now() + make_interval(secs => ttl_seconds)
    from new
),
runs as (
    insert into job_runs (job_id, team_id, model, rank_at, n, status, attempt, due_at,
        expires_at)
    select id, team_id, model,
        now() - make_interval(secs => case priority when 'interactive' then $3 else 0 end),
        n, 'queued', 0, now(), now() + make_interval(secs => ttl_seconds)
    from new
),
{mark_from("new")},
story as (
    insert into job_events (at, job_id, type, detail)
    select now(), id, 'job.queued', jsonb_build_object('door', door) from new
),
reserved as (
    insert into ledger_entries (job_id, team_id, kind, debit, credit, amount, currency,
        image_count, at)
    select id, team_id, '{RESERVE}', '{RESERVED}', '{BUDGET}', unit_price * n, currency, n, now()
    from new
)
select pg_notify($2, '{ACCEPTED}')
"""
