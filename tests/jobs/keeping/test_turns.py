"""Turns at finished jobs: one process at a time, until its lease ends or is given back."""

from app.jobs.keeping.turns import (
    KEEP_LEASE_SECONDS,
    KeepTurn,
    claim_kept,
    release_lease,
    renew_leases,
)
from app.jobs.lifecycle import Flag
from app.kit.postgres.database import transaction
from tests.jobs.keeping.gallery import ended
from tests.jobs.scene import Scene

URL = "https://results.example/a.png"


async def claim(scene: Scene, *, limit: int = 9, troubled_limit: int = 9) -> tuple[KeepTurn, ...]:
    async with transaction(scene.pool) as connection:
        return await claim_kept(connection, limit=limit, troubled_limit=troubled_limit)


async def test_a_job_under_a_lease_is_nobody_elses(scene: Scene) -> None:
    first, second = await ended(scene, URL), await ended(scene, f"{URL}?2")

    (one,) = await claim(scene, limit=1)
    (other,) = await claim(scene)

    assert (one.fence, other.fence) == (first, second)
    assert await claim(scene) == ()


async def test_a_lease_that_has_ended_passes_to_another_hand(scene: Scene) -> None:
    fence = await ended(scene, URL)
    (lost,) = await claim(scene)
    await scene.pool.execute("update job_runs set lease_expires_at = now() - interval '1 ms'")

    (turn,) = await claim(scene)

    assert turn.fence == fence
    assert turn.lease_token != lost.lease_token


async def test_a_renewed_lease_lasts_as_long_as_a_fresh_one(scene: Scene) -> None:
    await ended(scene, URL)
    (turn,) = await claim(scene)
    await scene.pool.execute("update job_runs set lease_expires_at = now()")

    async with transaction(scene.pool) as connection:
        await renew_leases(connection, [turn.lease_token])
        left = await connection.fetchval(
            "select extract(epoch from lease_expires_at - now())::float8 from job_runs"
        )

    assert left == KEEP_LEASE_SECONDS


async def test_a_job_that_was_given_back_comes_again_when_it_is_due(scene: Scene) -> None:
    await ended(scene, URL)
    (turn,) = await claim(scene)

    async with transaction(scene.pool) as connection:
        await release_lease(connection, turn, due_in_seconds=60)

    assert await claim(scene) == ()
    await scene.pool.execute("update job_runs set due_at = now()")
    assert len(await claim(scene)) == 1


async def test_jobs_tried_in_vain_get_no_more_places_than_are_left_for_them(scene: Scene) -> None:
    codes = ("picture_not_fetched", "picture_not_whole", "store_unavailable", None)
    fences = [await ended(scene, f"{URL}?{code}") for code in codes]
    for fence, code in zip(fences, codes, strict=True):
        if code is not None:
            await scene.decide(fence, Flag(code, "for the test"))

    turns = await claim(scene, troubled_limit=1)

    assert [turn.is_troubled for turn in turns].count(True) == 1
    assert {turn.fence for turn in turns} == {fences[0], fences[2], fences[3]}
    assert len(await claim(scene, troubled_limit=0)) == 0
    assert len(await claim(scene)) == 1
