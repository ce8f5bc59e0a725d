"""A job that occupies an account, as dispatch leaves it."""

from app.accounts.tables import Account
from app.kit.crypto import Vault
from app.kit.ids import make_uuid7
from app.kit.postgres.database import Pool, Sessions
from tests.factories import MODEL, make_key, make_team

_JOB = """
insert into jobs (id, team_id, key_id, door, model, prompt, images, n, watermark, prompt_extend,
                  metadata, priority, unit_price, currency, created_at, expires_at)
values ($1, $2, $3, 'native', $4, 'p', '[]', 1, false, true, '{}', 'interactive', 0.2, 'CNY',
        now(), now() + interval '1 day')
"""

_RUN = """
insert into job_runs (job_id, team_id, model, rank_at, n, status, attempt, due_at, expires_at,
                      account_id, lane_id, slot)
select jobs.id, jobs.team_id, jobs.model, now(), 1, 'submitting', 1, now(), jobs.expires_at,
       lanes.account_id, lanes.id, 1
from jobs, lanes where jobs.id = $1 and lanes.account_id = $2
"""


async def occupy(pool: Pool, sessions: Sessions, vault: Vault, account: Account) -> None:
    team = await make_team(sessions)
    key = await make_key(sessions, vault, owner=team)
    job_id = make_uuid7()
    await pool.execute(_JOB, job_id, team.id, key.row.id, MODEL)
    await pool.execute(_RUN, job_id, account.id)
