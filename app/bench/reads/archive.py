"""A past with all that a list may be filtered by: half of it one team's, made inside Postgres."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.bench.rig.history import ID, NUMBERS, WITHOUT_CHECKS
from app.bench.rig.loads import LOADERS, MODEL, PROMPT, run_script
from app.bench.rig.seats import Seat
from app.jobs.lists.query import make_label
from app.kit.clock import utc_now

SPAN = timedelta(days=30)
RARE_MODEL = "a-model-of-few"
RARE_EVERY = 997
"""Of so many jobs one is of the rare model, and one has failed."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Ended jobs, evenly over the last days: every second one the giant's."""

    began_at: datetime
    jobs: int
    giant: Seat

    @property
    def middle(self) -> datetime:
        return self.began_at + SPAN / 2


async def make_archive(
    database_url: str, giant: Seat, giants_other_key: UUID, others: list[Seat], jobs: int
) -> Archive:
    """Metadata: `half` (two values in turn), `past` (the older half only) and `order` (unique).

    The giant's jobs are of its first key but for every tenth. Foreign keys and triggers do not
    count for a superuser, so the labels are written here; takes about a minute a million.
    """
    archive = Archive(utc_now() - SPAN - timedelta(hours=1), jobs, giant)
    common = (archive.began_at, SPAN, jobs)
    owners = ([giant.team_id, *(seat.team_id for seat in others)],
              [giant.key_id, *(seat.key_id for seat in others)], giants_other_key)  # fmt: skip
    await asyncio.gather(
        *(
            run_script(
                database_url,
                (WITHOUT_CHECKS,),
                (_JOBS, *common, loader, LOADERS, *owners, MODEL, RARE_MODEL, PROMPT, RARE_EVERY),
            )
            for loader in range(LOADERS)
        )
    )
    halves = [make_label("half", value) for value in ("even", "odd")]
    await run_script(
        database_url,
        (_LABELS, [*halves, make_label("past", "yes")]),
        ("vacuum analyze",),
    )
    return archive


_OWNER = "case when number % 2 = 0 then 1 else 2 + (number / 2) % (cardinality($6) - 1) end"

_JOBS = f"""
insert into jobs (id, team_id, key_id, door, model, prompt, images, n, watermark, prompt_extend,
    metadata, priority, unit_price, currency, created_at, expires_at, status, submitted_at,
    finished_at, image_count, amount)
select {ID}, ($6::uuid[])[{_OWNER}],
    case when number % 20 = 0 then $8::uuid else ($7::uuid[])[{_OWNER}] end,
    'native', case when number % $12 = 2 then $10 else $9 end, $11,
    '[{{"url": "https://pictures.example/house.png"}}]', 1, false, true,
    jsonb_build_object('half', case when number / 2 % 2 = 0 then 'even' else 'odd' end,
        'order', number::text)
        || case when number < $3::bigint / 2 then '{{"past": "yes"}}' else '{{}}'::jsonb end,
    'interactive', 0.2, 'CNY', at, at + interval '7 days',
    case when number % $12 = 0 then 'failed' else 'succeeded' end, at,
    at + interval '1 minute', case when number % $12 = 0 then 0 else 1 end,
    case when number % $12 = 0 then 0 else 0.2 end
{NUMBERS}
"""

_LABELS = """
insert into job_labels (team_id, label, job_id)
select team_id, label, id from jobs cross join lateral (
    values (case metadata->>'half' when 'even' then ($1::uuid[])[1] else ($1::uuid[])[2] end),
        (case when metadata ? 'past' then ($1::uuid[])[3] end),
        (encode(substring(sha256(convert_to('5:order' || (metadata->>'order'), 'UTF8')) for 16),
            'hex')::uuid)
) as labels (label)
where label is not null
on conflict do nothing
"""
