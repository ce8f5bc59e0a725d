"""The conductor: accounts are looked after as they come, change and go."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from app.accounts.health import UNLEARNED_PRIMING
from app.dashscope.line import make_create_http, make_query_http
from app.jobs.core.doubts import REVIEW_CODE
from app.jobs.engine import conduct
from app.jobs.engine.conduct import Conductor, Orchestra, Timings
from app.jobs.events import QUEUE_CHANGED, TASK_HINTED, hint_task
from app.kit.crypto import Vault
from app.kit.postgres.database import Sessions
from app.kit.postgres.listener import Listener
from tests.emulator.client import QUICK, Desk, open_desk
from tests.factories import MODEL, make_account
from tests.jobs.scene import Scene
from tests.waiting import wait_until

TIMINGS = Timings(
    prepare_seconds=5.0,
    submit_timeout_seconds=5.0,
    settle_seconds=0.5,
    watch_interval_seconds=0.05,
    review_seconds=3_600.0,
    lost_seconds=3_600.0,
    stale_list_seconds=600.0,
    slowest_upload_kbps=1e6,
)
SLOTS = 2
PRIMED_COUNT = SLOTS + UNLEARNED_PRIMING
"""What an account that has learned nothing yet is given."""


@dataclass(frozen=True)
class Stage:
    """A conductor at work over one emulator; the scene's own account leads nowhere."""

    scene: Scene
    upstream: Desk
    ending: asyncio.Event

    async def has(self, status: str, count: int) -> bool:
        found = await self.scene.pool.fetchval(
            "select count(*) from jobs left join job_runs on job_id = id"
            " where coalesce(jobs.status, job_runs.status) = $1",
            status,
        )
        return bool(found == count)


@asynccontextmanager
async def conducting(
    scene: Scene, database: str, vault: Vault, timings: Timings = TIMINGS
) -> AsyncIterator[Stage]:
    await scene.pool.execute("update accounts set state = 'removed'")
    stop, ending = asyncio.Event(), asyncio.Event()
    listener = Listener(database, (QUEUE_CHANGED, TASK_HINTED))
    async with (
        open_desk(QUICK) as upstream,
        make_query_http() as queries,
        make_create_http() as creates,
    ):
        orchestra = Orchestra(
            pool=scene.pool,
            listener=listener,
            vault=vault,
            queries=queries,
            creates=creates,
            read_input=_read_nothing,
            timings=timings,
            models=(MODEL,),
        )
        duty = asyncio.create_task(Conductor(orchestra).conduct(ending))
        listening = asyncio.create_task(listener.run(stop))
        yield Stage(scene, upstream, ending)
        ending.set()
        stop.set()
        await asyncio.gather(duty, listening)


@pytest.fixture
async def stage(
    scene: Scene, database: str, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    monkeypatch.setattr(conduct, "REFRESH_SECONDS", 0.05)
    async with conducting(scene, database, vault) as stage:
        yield stage


async def _read_nothing(_: str) -> bytes:
    raise AssertionError


async def add_account(sessions: Sessions, vault: Vault, stage: Stage, name: str) -> None:
    await make_account(
        sessions,
        vault,
        name=name,
        base_url=stage.upstream.base_url,
        api_key=f"sk-{name}-0123456789",
        submit_rate=Decimal(1_000),
        query_rate=Decimal(1_000),
        max_running=SLOTS,
    )


async def is_looked_after(stage: Stage, name: str) -> bool:
    found = await stage.scene.pool.fetchval(
        "select count(*) from account_paces join accounts on id = account_id where name = $1", name
    )
    return bool(found)


async def test_an_account_that_is_added_gets_to_work(
    stage: Stage, sessions: Sessions, vault: Vault
) -> None:
    for _ in range(3):
        await stage.scene.accept()
    assert await stage.has("queued", 3)

    await add_account(sessions, vault, stage, "late")

    await wait_until(lambda: stage.has("finalizing", 3))


async def test_two_accounts_share_the_queue_and_no_job_goes_to_both(
    stage: Stage, sessions: Sessions, vault: Vault
) -> None:
    for _ in range(12):
        await stage.scene.accept()
    for name in ("one", "two"):
        await add_account(sessions, vault, stage, name)

    await wait_until(lambda: stage.has("finalizing", 12))

    bill = await stage.upstream.control("bill")
    assert bill["task_count"] == 12
    assert len(bill["accounts"]) == 2


async def test_a_draining_account_ends_what_it_has_and_takes_nothing_new(
    stage: Stage, sessions: Sessions, vault: Vault
) -> None:
    await stage.upstream.arm({"on": "query", "do": "status", "status": 500})
    await add_account(sessions, vault, stage, "one")
    await stage.scene.accept()
    await wait_until(lambda: stage.has("running", 1))

    await stage.scene.pool.execute("update accounts set state = 'draining' where name = 'one'")
    await add_account(sessions, vault, stage, "two")
    await wait_until(lambda: is_looked_after(stage, "two"))
    for _ in range(PRIMED_COUNT + 1):
        await stage.scene.accept()
    await wait_until(lambda: stage.has("running", 1 + PRIMED_COUNT))
    assert await stage.has("queued", 1)
    await stage.upstream.arm()

    await wait_until(lambda: stage.has("finalizing", PRIMED_COUNT + 2))
    bill = await stage.upstream.control("bill")
    task_counts = sorted(account["task_count"] for account in bill["accounts"].values())
    assert task_counts == [1, PRIMED_COUNT + 1]


async def test_a_change_of_an_accounts_limits_is_taken_up(
    stage: Stage, sessions: Sessions, vault: Vault
) -> None:
    await stage.upstream.arm({"on": "query", "do": "status", "status": 500})
    await add_account(sessions, vault, stage, "one")
    for _ in range(PRIMED_COUNT + 1):
        await stage.scene.accept()
    await wait_until(lambda: stage.has("running", PRIMED_COUNT))

    await stage.scene.pool.execute("update accounts set max_running = 3 where name = 'one'")

    await wait_until(lambda: stage.has("running", PRIMED_COUNT + 1))
    await stage.upstream.arm()
    await wait_until(lambda: stage.has("finalizing", PRIMED_COUNT + 1))


async def test_a_database_that_is_away_for_a_moment_stops_nothing(
    stage: Stage, sessions: Sessions, vault: Vault
) -> None:
    await add_account(sessions, vault, stage, "one")
    with breaking() as broken:
        await wait_until(lambda: broken.count > 2)
    await stage.scene.accept()

    await wait_until(lambda: stage.has("finalizing", 1))


async def test_a_create_whose_answer_was_lost_is_found_and_not_sent_again(
    stage: Stage, sessions: Sessions, vault: Vault
) -> None:
    await stage.upstream.arm({"on": "create", "do": "reset", "when": "after", "times": 1})
    await stage.scene.accept()

    await add_account(sessions, vault, stage, "one")

    await wait_until(lambda: stage.has("finalizing", 1))
    assert (await stage.upstream.control("bill"))["task_count"] == 1


async def test_a_create_in_review_is_still_looked_for(
    stage: Stage, sessions: Sessions, vault: Vault
) -> None:
    lost = {"on": "create", "do": "reset", "when": "after", "times": 1}
    await stage.upstream.arm(lost, {"on": "list", "do": "status", "status": 500})
    await stage.scene.accept()
    await add_account(sessions, vault, stage, "one")

    async def is_made() -> bool:
        return bool((await stage.upstream.control("bill"))["task_count"])

    await wait_until(is_made)
    await stage.scene.pool.execute(
        "update job_runs set attention_code = $1, attention_since = now()", REVIEW_CODE
    )

    await stage.upstream.arm()

    await wait_until(lambda: stage.has("finalizing", 1))


async def test_a_hint_cuts_the_wait_between_two_looks_short(
    scene: Scene, database: str, vault: Vault, sessions: Sessions
) -> None:
    seldom = replace(TIMINGS, watch_interval_seconds=600.0)
    async with conducting(scene, database, vault, seldom) as stage:
        await add_account(sessions, vault, stage, "one")
        await wait_until(lambda: is_looked_after(stage, "one"))
        await scene.accept()
        await wait_until(lambda: stage.has("running", 1))
        task_id = await scene.pool.fetchval("select upstream_task_id from job_runs")

        async def is_found() -> bool:
            await hint_task(scene.pool, task_id)
            return await stage.has("finalizing", 1)

        await wait_until(is_found)


def test_no_patience_is_shorter_than_what_it_waits_for() -> None:
    rules = replace(TIMINGS, review_seconds=1.0, lost_seconds=60.0).to_rules()

    # To prepare, to connect and write the largest body at a gigabit, to be answered, to show.
    assert 5.0 + 5.0 + 0.25 + 5.0 + 0.5 < rules.settle.total_seconds() < 15.76
    assert rules.review_after >= rules.settle
    assert rules.unknown_patience < rules.lost_after


async def test_at_its_end_no_loop_goes_on(
    scene: Scene, database: str, vault: Vault, sessions: Sessions
) -> None:
    before = asyncio.all_tasks()
    async with conducting(scene, database, vault) as stage:
        await add_account(sessions, vault, stage, "one")
        await scene.accept()
        await wait_until(lambda: stage.has("finalizing", 1))

    left = {task.get_name() for task in asyncio.all_tasks() - before if not task.done()}
    assert left == set()


@dataclass
class Broken:
    count: int = 0


@contextmanager
def breaking() -> Iterator[Broken]:
    """As if every connection were lost as soon as accounts are to be loaded."""
    broken = Broken()

    async def fail(*_: object, **__: object) -> object:
        broken.count += 1
        raise ConnectionResetError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conduct, "load_accounts", fail)
        yield broken
