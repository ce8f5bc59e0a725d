"""Guards that cannot be settled at once are settled later; writers outlive any error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from sqlalchemy import make_url

from app.jobs.accepting.guards import ANSWERED_SECONDS
from app.jobs.accepting.outcomes import Acceptance, Idempotency
from app.jobs.intake import WRITERS
from app.kit.errors import Unavailable
from app.kit.ids import make_uuid7
from app.kit.postgres.database import Connection, Pool, open_pool, transaction_within
from app.kit.postgres.presence import Presence
from tests.dashscope_api.relay import Relay, running_relay
from tests.jobs.scene import Scene
from tests.jobs.test_acceptance import running_intake
from tests.waiting import wait_until


@pytest.fixture
async def cable(database: str) -> AsyncIterator[tuple[Relay, Pool]]:
    url = make_url(database)
    assert url.host is not None
    async with running_relay(url.host, url.port or 5432) as relay:
        through = url.set(host="127.0.0.1", port=relay.port)
        pool = await open_pool(through.render_as_string(hide_password=False), max_size=4)
        yield relay, pool
        await relay.cut()
        pool.terminate()


async def _count_guards(scene: Scene) -> int:
    count: int = await scene.pool.fetchval(
        "select count(*) from idempotency_keys where answered_at is null"
    )
    return count


async def test_a_guard_is_released_once_the_database_is_back(
    scene: Scene, cable: tuple[Relay, Pool]
) -> None:
    relay, pool = cable
    guard = Idempotency("sent:a", b"\1" * 32, guard_owner=7)
    async with running_intake(pool) as intake:
        accepted = await intake.accept(scene.ask(idempotency=guard))
        await relay.cut()

        await intake.guards.release(scene.team_id, guard.key, accepted.job_id)
        assert await _count_guards(scene) == 1
        await relay.mend()

        await wait_until(lambda: _has_no_guards(scene))


async def _has_no_guards(scene: Scene) -> bool:
    return await _count_guards(scene) == 0


async def test_another_request_s_guard_is_not_settled(scene: Scene) -> None:
    guard = Idempotency("sent:a", b"\1" * 32, guard_owner=7)
    async with running_intake(scene.pool) as intake:
        await intake.accept(scene.ask(idempotency=guard))

        await intake.guards.release(scene.team_id, guard.key, make_uuid7())
        await intake.guards.arm(scene.team_id, guard.key, make_uuid7())

    assert await scene.pool.fetchval("select owner from idempotency_keys") == 7


async def test_a_guard_that_appears_late_is_armed(scene: Scene) -> None:
    guard = Idempotency("sent:a", b"\1" * 32, guard_owner=7)
    job = scene.ask(idempotency=guard)
    async with running_intake(scene.pool) as intake:
        intake.guards.arm_when_found(scene.team_id, guard.key, job.id)
        await intake.accept(job)

        await wait_until(lambda: _is_armed(scene))


async def _is_armed(scene: Scene) -> bool:
    return await scene.pool.fetchval("select owner from idempotency_keys") is None


async def test_a_create_left_by_its_client_is_the_equal_one_that_was_answered_meanwhile(
    scene: Scene,
) -> None:
    guard = Idempotency("sent:a", b"\1" * 32, guard_owner=7)
    left = replace(guard, is_abandoned=_yes)
    async with running_intake(scene.pool) as intake:
        answered = await intake.accept(scene.ask(idempotency=guard))
        await intake.guards.release(scene.team_id, guard.key, answered.job_id)

        late = await intake.accept(scene.ask(idempotency=left))

    assert late == Acceptance(answered.job_id, replayed=True)
    assert await scene.pool.fetchval("select count(*) from jobs") == 1


async def test_an_equal_create_whose_client_stays_takes_over_the_answered_guard(
    scene: Scene,
) -> None:
    guard = Idempotency("sent:a", b"\1" * 32, guard_owner=7, is_abandoned=_no)
    async with running_intake(scene.pool) as intake:
        first = await intake.accept(scene.ask(idempotency=guard))
        await intake.guards.release(scene.team_id, guard.key, first.job_id)

        second = await intake.accept(scene.ask(idempotency=guard))

    assert second.job_id != first.job_id
    rows = await scene.pool.fetch("select job_id, owner, answered_at from idempotency_keys")
    assert [tuple(row) for row in rows] == [(second.job_id, 7, None)]


async def test_an_answered_guard_goes_with_the_next_sweep_after_its_minute(scene: Scene) -> None:
    guard = Idempotency("sent:a", b"\1" * 32, guard_owner=7)
    async with running_intake(scene.pool) as intake:
        accepted = await intake.accept(scene.ask(idempotency=guard))
        await intake.guards.release(scene.team_id, guard.key, accepted.job_id)

    seconds = await scene.pool.fetchval(
        "select extract(epoch from expires_at - now()) from idempotency_keys"
    )

    assert 0 < seconds <= ANSWERED_SECONDS


async def _yes() -> bool:
    return True


async def _no() -> bool:
    return False


async def test_a_commit_found_afterwards_is_guarded_still(
    scene: Scene, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_after_commit(monkeypatch)
    guard = Idempotency("sent:a", b"\1" * 32, guard_owner=Presence(database).number)
    async with running_intake(scene.pool) as intake:
        accepted = await intake.accept(scene.ask(idempotency=guard))

    assert accepted.seen is not None
    assert accepted.seen.status == "queued"


async def test_errors_that_nobody_foresaw_end_no_writer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        _break_after_commit(broken)
        broken.setattr("app.jobs.intake.find_stored", _fail)
        async with running_intake(scene.pool) as intake:
            for _ in range(2 * WRITERS):
                with pytest.raises(Unavailable) as told:
                    await intake.accept(scene.ask())
                assert told.value.code == "acceptance_unconfirmed"
            broken.undo()

            accepted = await asyncio.wait_for(intake.accept(scene.ask()), 10)

    assert isinstance(accepted, Acceptance)


async def _fail(*_: object) -> None:
    raise ZeroDivisionError


def _break_after_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def broken_after_commit(pool: Pool, seconds: float) -> AsyncIterator[Connection]:
        async with transaction_within(pool, seconds) as connection:
            yield connection
        raise ConnectionResetError

    monkeypatch.setattr("app.jobs.intake.transaction_within", broken_after_commit)
