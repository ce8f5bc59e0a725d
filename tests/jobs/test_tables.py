"""The last line of defence: rows that no rule would write are refused by the database itself."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from app.kit.crypto import Vault
from app.kit.postgres.database import make_engine, make_sessions, open_pool
from tests.databases import cloned_database
from tests.jobs.scene import Scene, make_scene

URL = "https://result.example/a.png"
END = {"status": "'failed'", "finished_at": "now()", "image_count": "0", "amount": "0"}
KEPT = {
    "status": "'kept'",
    "source_url": "null",
    "store_key": "'k'",
    "sha256": "'\\x00'",
    "content_type": "'image/png'",
    "byte_count": "1",
    "width": "1",
    "height": "1",
}


def change(values: dict[str, str], **others: str) -> str:
    return ", ".join(f"{name} = {value}" for name, value in (values | others).items())


QUEUED = [
    ("jobs", "priority_known", "priority = 'urgent'"),
    ("jobs", "n_in_range", "n = 5"),
    ("jobs", "n_in_range", "n = 0"),
    ("jobs", "status_final", change(END, status="'running'")),
    ("jobs", "end_whole", "status = 'failed'"),
    ("jobs", "end_whole", "finished_at = now()"),
    ("jobs", "end_whole", "image_count = 0"),
    ("jobs", "end_whole", "amount = 0"),
    ("jobs", "success_delivers", change(END, status="'succeeded'")),
    ("jobs", "success_delivers", change(END, image_count="1", amount="unit_price")),
    ("jobs", "amount_exact", change(END, amount="unit_price")),
    (
        "jobs",
        "image_count_in_range",
        change(END, status="'succeeded'", image_count="2", amount="unit_price * 2"),
    ),
    ("job_runs", "status_active", "status = 'paused', account_id = {account}, lane_id = {lane}"),
    ("job_runs", "account_when_out", "account_id = {account}, lane_id = {lane}"),
    ("job_runs", "lane_of_account", "lane_id = {lane}"),
    ("job_runs", "slot_while_upstream", "slot = 0"),
    ("job_runs", "task_once_accepted", "upstream_task_id = 't-9'"),
    ("job_runs", "lease_whole", "lease_token = gen_random_uuid()"),
    ("job_runs", "lease_whole", "lease_expires_at = now()"),
    ("job_runs", "attention_whole", "attention_code = 'task_unknown'"),
    ("job_runs", "attention_whole", "attention_since = now()"),
]
FINALIZING = [
    ("job_runs", "account_when_out", "account_id = null, lane_id = null"),
    ("job_runs", "slot_while_upstream", "slot = 0"),
    ("job_runs", "slot_unless_in_review", "status = 'running'"),
    ("job_runs", "task_once_accepted", "upstream_task_id = null"),
    ("attempts", "number_positive", "number = 0"),
    ("attempts", "outcome_known", "outcome = 'guessed', upstream_task_id = null"),
    ("attempts", "task_when_created", "upstream_task_id = null"),
    ("attempts", "task_when_created", "outcome = 'refused'"),
    ("pictures", "status_known", "status = 'lost', source_url = null"),
    ("pictures", "index_in_range", "index = 4"),
    ("pictures", "kept_whole", change(KEPT, status="'upstream'", source_url="'https://r/a'")),
    *(("pictures", "kept_whole", change(KEPT, **{name: "null"})) for name in list(KEPT)[2:]),
    ("pictures", "failed_says_why", "status = 'failed', source_url = null"),
    ("pictures", "failed_says_why", "error_code = 'x'"),
    ("pictures", "source_until_kept", "source_url = null"),
    ("pictures", "source_until_kept", change(KEPT, source_url="'https://r/a'")),
]


@pytest.fixture(scope="module")
async def shared(server_url: str, template: str) -> AsyncIterator[tuple[Scene, UUID, UUID]]:
    """One scene for all refusals, which change nothing: a queued job and a finalizing one."""
    async with cloned_database(server_url, template) as url:
        pool, engine = await open_pool(url, max_size=2), make_engine(url)
        scene = await make_scene(pool, make_sessions(engine), Vault(("only-for-tests-" * 3,)))
        finalizing = await scene.finalizing(URL)
        yield scene, await scene.accept(), finalizing.job_id
        await pool.close()
        await engine.dispose()


async def find_refusal(scene: Scene, table: str, change: str, job_id: UUID) -> str:
    """The name of the rule that refuses the change."""
    name = "id" if table == "jobs" else "job_id"
    filled = change.format(account=f"'{scene.account_id}'", lane=f"'{scene.lane_id}'")
    with pytest.raises(asyncpg.CheckViolationError) as refusal:
        await scene.pool.execute(f"update {table} set {filled} where {name} = $1", job_id)
    return str(refusal.value.constraint_name)


@pytest.mark.parametrize(("table", "rule", "change"), QUEUED)
async def test_a_queued_job_cannot_be_put_into_an_impossible_state(
    shared: tuple[Scene, UUID, UUID], table: str, rule: str, change: str
) -> None:
    scene, queued, _ = shared

    assert await find_refusal(scene, table, change, queued) == f"ck_{table}_{rule}"


@pytest.mark.parametrize(("table", "rule", "change"), FINALIZING)
async def test_a_finalizing_job_cannot_be_put_into_an_impossible_state(
    shared: tuple[Scene, UUID, UUID], table: str, rule: str, change: str
) -> None:
    scene, _, finalizing = shared

    assert await find_refusal(scene, table, change, finalizing) == f"ck_{table}_{rule}"


async def test_every_rule_of_the_heart_is_tried(scene: Scene) -> None:
    rows = await scene.pool.fetch(
        """
        select conrelid::regclass::text as name, conname from pg_constraint
        where contype = 'c' and conrelid in
            ('jobs'::regclass, 'job_runs'::regclass, 'attempts'::regclass, 'pictures'::regclass)
        """
    )

    tried = {f"ck_{table}_{rule}" for table, rule, _ in QUEUED + FINALIZING}
    assert tried == {row["conname"] for row in rows}


async def test_a_run_needs_its_job_and_a_key_needs_its_job_by_the_commit(scene: Scene) -> None:
    job_id = await scene.accept()

    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await scene.pool.execute("delete from jobs where id = $1", job_id)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await scene.pool.execute(
            "insert into idempotency_keys (team_id, key, fingerprint, job_id, expires_at)"
            " values ($1, 'k', '\\x00', gen_random_uuid(), now())",
            scene.team_id,
        )
