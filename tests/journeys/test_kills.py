"""kill -9 at every step of a job's life: nothing is lost, nothing is made twice."""

import asyncio
import signal
import time
from typing import Any

from tests.journeys.traveller import (
    Job,
    Traveller,
    attempts_of,
    expect_fair_books,
    let_doubts_settle,
    let_leases_run_out,
    query,
)
from tests.waiting import wait_until

HANG_SECONDS = 30
HANG = {"do": "hang", "seconds": HANG_SECONDS}


async def count_calls(traveller: Traveller, endpoint: str) -> int:
    calls = (await traveller.gateway.bill())["calls"]
    return int(calls.get(endpoint, 0))


async def send_until_called(
    traveller: Traveller, endpoint: str, fault: dict[str, Any], **fields: Any
) -> Job:
    """A job on its way, as soon as the upstream has been called at the place of the fault."""
    before = await count_calls(traveller, endpoint)
    await traveller.gateway.set_faults({"on": endpoint, **fault})
    job = await traveller.send(**fields)

    async def is_called() -> bool:
        return await count_calls(traveller, endpoint) > before

    await wait_until(is_called)
    return job


async def finish_after_kill(traveller: Traveller, job: Job, status: str) -> Job:
    """The end of a job whose worker is killed in that status, and comes back."""
    await restart_after_kill(traveller, job, status)
    done = await traveller.wait_for(job)
    assert done["status"] == "succeeded"
    return done


async def restart_after_kill(traveller: Traveller, job: Job, status: str) -> None:
    await traveller.gateway.kill("worker")
    assert (await traveller.get(job))["status"] == status
    await traveller.gateway.set_faults()
    await let_leases_run_out(traveller.gateway)
    await let_doubts_settle(traveller.gateway)
    await traveller.gateway.start("worker")


async def test_a_job_survives_the_api_that_has_just_accepted_it(survivor: Traveller) -> None:
    job = await survivor.send()
    await survivor.gateway.kill("api")
    await survivor.gateway.start("api")

    done = await survivor.wait_for(job)

    assert done["status"] == "succeeded"
    await expect_fair_books(survivor, [done])


async def test_a_queued_job_waits_for_the_worker_to_come_back(survivor: Traveller) -> None:
    await survivor.gateway.kill("worker")
    job = await survivor.send()

    assert (await survivor.get(job))["status"] == "queued"
    await survivor.gateway.start("worker")
    done = await survivor.wait_for(job)

    assert done["status"] == "succeeded"
    await expect_fair_books(survivor, [done])


async def test_a_task_made_while_its_worker_was_killed_is_adopted(survivor: Traveller) -> None:
    job = await send_until_called(survivor, "create", {**HANG, "when": "after"})

    done = await finish_after_kill(survivor, job, "submitting")

    (attempt,) = await attempts_of(survivor.gateway, done)
    assert attempt["outcome"] == "adopted"
    await expect_fair_books(survivor, [done])


async def test_a_create_that_died_with_its_worker_is_sent_again(survivor: Traveller) -> None:
    """The list is believed once it shows another task, as it is told to lag by no more."""
    job = await send_until_called(survivor, "create", {**HANG, "when": "before"})

    await restart_after_kill(survivor, job, "submitting")
    done, witness = await survivor.finish([job, await survivor.send()])

    outcomes = [row["outcome"] for row in await attempts_of(survivor.gateway, done)]
    assert outcomes == ["absent", "accepted"]
    await expect_fair_books(survivor, [done, witness])


async def test_a_running_task_is_followed_by_the_next_worker(survivor: Traveller) -> None:
    job = await send_until_called(survivor, "list", HANG)
    await survivor.wait_for(job, "running")

    done = await finish_after_kill(survivor, job, "running")

    await expect_fair_books(survivor, [done])


async def test_pictures_that_were_under_way_are_kept_by_the_next_worker(
    survivor: Traveller,
) -> None:
    job = await send_until_called(survivor, "picture", HANG, n=3)

    done = await finish_after_kill(survivor, job, "finalizing")

    await expect_fair_books(survivor, [done])


async def test_a_worker_that_is_told_to_stop_ends_what_it_has_and_goes(
    survivor: Traveller,
) -> None:
    gateway = survivor.gateway
    keeping = await send_until_called(survivor, "picture", {"do": "hang", "seconds": 0.8})
    submitting = await send_until_called(
        survivor, "create", {"do": "hang", "when": "after", "seconds": 0.5}
    )
    began = time.monotonic()
    await gateway.stop("worker")

    assert time.monotonic() - began < HANG_SECONDS / 2
    assert gateway.members["worker"].process is not None
    assert gateway.members["worker"].process.returncode == 0
    assert (await survivor.get(keeping))["status"] == "succeeded"
    assert (await survivor.get(submitting))["status"] == "running"
    await gateway.set_faults()
    await gateway.start("worker")
    await expect_fair_books(survivor, await survivor.finish([keeping, submitting]))


async def test_a_worker_that_is_told_to_stop_gives_back_what_takes_too_long(
    survivor: Traveller,
) -> None:
    gateway = survivor.gateway
    job = await send_until_called(survivor, "picture", HANG)
    began = time.monotonic()
    await gateway.stop("worker")

    assert time.monotonic() - began < HANG_SECONDS / 2
    (run,) = await query(
        gateway, "select status, lease_token from job_runs where job_id = $1", job["id"]
    )
    assert tuple(run) == ("finalizing", None)
    await gateway.set_faults()
    await gateway.start("worker")
    await expect_fair_books(survivor, [await survivor.wait_for(job)])


async def test_a_second_worker_takes_over_when_the_first_is_killed(survivor: Traveller) -> None:
    gateway = survivor.gateway
    await gateway.start("worker-2")
    before = [await survivor.send() for _ in range(3)]
    await survivor.wait_for(before[0])
    await gateway.kill("worker")
    await let_leases_run_out(gateway)
    after = [await survivor.send() for _ in range(3)]

    done = await survivor.finish(before + after)

    assert [job["status"] for job in done] == ["succeeded"] * 6
    await expect_fair_books(survivor, done)


async def test_jobs_survive_kills_at_any_moment(survivor: Traveller) -> None:
    """Two workers, killed in turns while creates lose their answers and pictures come slowly."""
    gateway = survivor.gateway
    await gateway.start("worker-2")
    await gateway.set_faults(
        {"on": "create", "do": "reset", "when": "after", "every": 5},
        {"on": "create", "do": "status", "status": 500, "when": "before", "every": 7},
        {"on": "picture", "do": "hang", "seconds": 0.3, "every": 3},
    )
    sent = [await survivor.send(n=1 + number % 3) for number in range(16)]
    for name in ("worker", "worker-2") * 2:
        await asyncio.sleep(0.4)
        await gateway.kill(name)
        await let_leases_run_out(gateway)
        await gateway.start(name)
    await asyncio.gather(gateway.kill("worker"), gateway.kill("worker-2"))
    await gateway.set_faults()
    await let_leases_run_out(gateway)
    await let_doubts_settle(gateway)
    await asyncio.gather(gateway.start("worker"), gateway.start("worker-2"))

    done = await survivor.finish(sent)

    assert [job["status"] for job in done] == ["succeeded"] * 16
    await expect_fair_books(survivor, done)


async def test_a_worker_that_was_paused_amid_a_create_sends_nothing_twice(
    survivor: Traveller,
) -> None:
    gateway = survivor.gateway
    await gateway.start("worker-2")
    made = (await gateway.bill())["task_count"]
    job = await send_until_called(
        survivor, "create", {"do": "hang", "when": "before", "seconds": 0.6, "times": 1}
    )
    for name in ("worker", "worker-2"):
        gateway.send(name, signal.SIGSTOP)
    await let_leases_run_out(gateway)
    gateway.send("worker-2", signal.SIGCONT)

    async def is_made() -> bool:
        return bool((await gateway.bill())["task_count"] > made)

    await wait_until(is_made)
    gateway.send("worker", signal.SIGCONT)
    done = await survivor.wait_for(job)

    assert done["status"] == "succeeded"
    await expect_fair_books(survivor, [done])
