"""One account watched over a real emulator: what it has is followed, looked up and settled."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.dashscope.outcomes import Accepted
from app.dashscope.payloads import TaskAnswer, TaskStatus
from app.jobs.core.state import Created, Rules
from app.jobs.engine import watch
from app.jobs.engine.follow import AccountDesk, follow_running
from app.jobs.engine.judge import Judge
from app.jobs.engine.progress import call_attention
from app.jobs.engine.reconcile import resolve_doubts, resolve_reviews
from app.jobs.engine.strays import find_late_tasks, settle_orphans
from app.jobs.engine.watch import AccountView, find_answer
from app.jobs.lifecycle import Action, Doubt, Fence, Run
from app.jobs.store import JobRecord
from app.kit.background.chores import Apart
from app.kit.background.pace import Pace
from app.kit.clock import Clock, utc_now
from app.kit.postgres.database import Record
from tests.dashscope.upstreams import calling
from tests.emulator.client import QUICK, Desk, make_body, open_desk
from tests.factories import MODEL
from tests.jobs.scene import Scene

KEYS = ("sk-desk", "sk-other")
"""Two API keys of one account; the second one is `add_lane`'s."""
OPTIONS = replace(QUICK, keys=dict.fromkeys(KEYS, "main"))
SETTLE = timedelta(seconds=70)
SETTLED = SETTLE + timedelta(seconds=1)
STALE = timedelta(minutes=10)
RULES = Rules(settle=SETTLE, stale_after=STALE, looks_apart=timedelta(0), dice=lambda: 0.0)


@contextmanager
def denying() -> Iterator[None]:
    """As if the upstream knew of none of the tasks that it has just listed."""

    async def deny(view: AccountView, task_id: str) -> TaskAnswer | None:
        answer = await find_answer(view, task_id)
        if answer is None:
            return None
        unknown = answer.output.model_copy(update={"task_status": TaskStatus.UNKNOWN})
        return answer.model_copy(update={"output": unknown})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "find_answer", deny)
        yield


@dataclass
class Watcher:
    """Each method is one look of the engine, or a piece of its news."""

    scene: Scene
    upstream: Desk
    desk: AccountDesk

    async def let_pass(self, time: timedelta) -> None:
        """As if all that is written had happened that much earlier."""
        await self.scene.pool.execute(
            """
            with moved as (
                update attempts set intended_at = intended_at - $1::interval,
                    settled_at = settled_at - $1::interval
            ),
            found as (update orphans set found_at = found_at - $1::interval),
            stored as (
                update jobs set created_at = created_at - $1::interval,
                    finished_at = finished_at - $1::interval
            )
            update job_runs set submitted_at = submitted_at - $1::interval,
                attention_since = attention_since - $1::interval,
                lease_expires_at = lease_expires_at - $1::interval,
                due_at = due_at - $1::interval
            """,
            time,
        )

    async def follow(self) -> None:
        await follow_running(self.desk, MODEL)

    async def resolve(self) -> None:
        await resolve_doubts(self.desk, MODEL)

    async def prove(self) -> None:
        """Look twice at a list that shows a task which was made just now, after long enough.

        Without a task from before, that of now proves no more than an old one does.
        """
        await self.let_pass(STALE)
        await self.known()
        await self.resolve()
        await self.resolve()

    async def tick(self) -> None:
        await call_attention(self.desk.judge, Apart("progress"))

    async def review(self) -> None:
        await resolve_reviews(self.desk, MODEL)

    async def settle(self) -> None:
        await settle_orphans(self.desk, MODEL)

    async def find_late(self) -> None:
        await find_late_tasks(self.desk, MODEL)

    async def add_lane(self, *, key_ids: tuple[str, str] | None = None) -> UUID:
        """A second API key; with the names under which the upstream lists the tasks of both."""
        first, second = key_ids or (None, None)
        await self.scene.pool.execute("update lanes set upstream_key_id = $1", first)
        lane_id: UUID = await self.scene.pool.fetchval(
            """
            insert into lanes (id, account_id, api_key_sealed, api_key_hint, upstream_key_id)
            select gen_random_uuid(), account_id, api_key_sealed, api_key_hint, $1 from lanes
            returning id
            """,
            second,
        )
        return lane_id

    async def create(self, key: str = KEYS[0], **changes: Any) -> str:
        """A task that the upstream makes for whatever was asked."""
        answer = await self.upstream.post(make_body(**changes), Authorization=f"Bearer {key}")
        assert answer.status_code == 200, answer.text
        task_id: str = answer.json()["output"]["task_id"]
        return task_id

    async def ended(self, key: str = KEYS[0], **changes: Any) -> str:
        """A task that has come to its end."""
        task_id = await self.create(key, **changes)
        await self.upstream.wait_for(task_id)
        return task_id

    async def running(self, **changes: Any) -> tuple[Fence, str]:
        """A job that runs upstream, and its task."""
        fence = await self.scene.submitting()
        task_id = await self.create(**changes)
        await self.scene.decide(fence, Run(task_id, "r"))
        return fence, task_id

    async def known(self) -> str:
        """A task made just now whose create was answered, over a key of its own."""
        lane_id = await self.scene.pool.fetchval(_ADD_LANE, self.scene.lane_id)
        fence = await self.sent(lane_id)
        task_id = await self.create()
        await self.scene.decide(fence, Run(task_id, "r"))
        return task_id

    async def in_doubt(self, lane_id: UUID | None = None, **changes: Any) -> Fence:
        """A job whose create was sent, and whose answer never came."""
        fence = await self.sent(lane_id, **changes)
        await self.scene.decide(fence, Doubt("reset"))
        return fence

    async def sent(self, lane_id: UUID | None = None, **changes: Any) -> Fence:
        """A job whose create is on its way, whether the keys have names by now or not.

        Keys without names send one at a time; these lose theirs after the claim.
        """
        await self.scene.accept(**changes)
        pool = self.scene.pool
        unnamed = await pool.fetchval(
            "select array(select id from lanes where upstream_key_id is null)"
        )
        await pool.execute(
            "update lanes set upstream_key_id = id::text where id = any($1)", unnamed
        )
        submission = await self.scene.claim(lane_id=lane_id or self.scene.lane_id)
        await pool.execute("update lanes set upstream_key_id = null where id = any($1)", unnamed)
        return submission.fence

    async def given_up(self, **changes: Any) -> Fence:
        """A job whose create was found to have made nothing; its delay is over."""
        fence = await self.in_doubt(**changes)
        await self.let_pass(SETTLED)
        await self.prove()
        assert (await self.job(fence)).status == "queued"
        await self.scene.pool.execute("update job_runs set due_at = now() where status = 'queued'")
        return fence

    async def hear_accepted(self, fence: Fence, task_id: str) -> tuple[Action, ...]:
        """The answer of a create, whenever it comes."""
        created = Created(fence.attempt, Accepted(task_id, f"request-of-{task_id}"))
        return await self.desk.judge.hear_surely(fence.job_id, created)

    async def calls(self, endpoint: str) -> int:
        calls = (await self.upstream.control("bill"))["calls"]
        return int(calls.get(endpoint, 0))

    async def job(self, fence: Fence) -> JobRecord:
        return await self.scene.get(fence.job_id)

    async def run_of(self, fence: Fence) -> Record:
        run = await self.scene.run_of(fence.job_id)
        assert run is not None
        return run

    async def task_of(self, fence: Fence) -> str | None:
        task_id: str | None = (await self.run_of(fence))["upstream_task_id"]
        return task_id

    async def orphans(self) -> dict[str, str]:
        """The state of each surplus task, by its id."""
        rows = await self.scene.pool.fetch("select upstream_task_id, state from orphans")
        return {row["upstream_task_id"]: row["state"] for row in rows}

    async def waste(self) -> list[tuple[UUID, str, int]]:
        """Job, amount and images of each entry of waste."""
        rows = await self.scene.pool.fetch(
            "select job_id, amount, image_count from ledger_entries where kind = 'waste'"
        )
        return [(row["job_id"], f"{row['amount']:.2f}", row["image_count"]) for row in rows]

    async def deliver(self, fence: Fence) -> None:
        """Follow a job's task to its end, and keep its picture."""
        task_id = await self.task_of(fence)
        assert task_id is not None
        await self.upstream.wait_for(task_id)
        await self.follow()
        await self.scene.keep(fence, 0)
        await self.scene.finish(fence)


@asynccontextmanager
async def watching(
    scene: Scene, *, clock: Clock = utc_now, **changes: Any
) -> AsyncIterator[Watcher]:
    """The scene's account over an emulator of its own; changes are of the emulator's options."""
    options = replace(OPTIONS, **changes)
    async with (
        open_desk(options, clock=clock) as upstream,
        calling(upstream.base_url, KEYS[0]) as api,
    ):
        yield Watcher(scene, upstream, make_desk(scene, AccountView(api, Pace(1e3), Pace(1e3))))


def make_desk(scene: Scene, view: AccountView, rules: Rules = RULES) -> AccountDesk:
    return AccountDesk(Judge(scene.pool, rules), scene.account_id, view)


_ADD_LANE = """
insert into lanes (id, account_id, api_key_sealed, api_key_hint, removed_at)
select gen_random_uuid(), account_id, api_key_sealed, api_key_hint, now() from lanes
where id = $1 returning id
"""
