"""Jobs through a whole gateway, from acceptance to kept pictures and settled books."""

import asyncio

import pytest

from tests.journeys.traveller import (
    Traveller,
    attempts_of,
    expect_fair_books,
    let_doubts_settle,
    report,
    story_of,
)
from tests.waiting import wait_until


async def test_a_job_runs_once_and_its_pictures_are_kept_byte_for_byte(
    traveller: Traveller,
) -> None:
    job = await traveller.send(n=2, metadata={"campaign": "x"})
    assert job["status"] in {"queued", "submitting"}

    done = await traveller.wait_for(job)

    assert done["status"] == "succeeded"
    assert done["usage"] == {"image_count": 2, "amount": "0.40", "currency": "CNY"}
    assert done["created_at"] < done["submitted_at"] < done["finished_at"]
    assert await story_of(traveller.gateway, job) == [
        "job.queued",
        "job.submitting",
        "job.running",
        "job.finalizing",
        "picture.kept",
        "picture.kept",
        "job.succeeded",
    ]
    await expect_fair_books(traveller, [done])


async def test_sixty_mixed_jobs_are_reported_as_the_upstream_bills_them(
    traveller: Traveller,
) -> None:
    await traveller.gateway.set_faults(
        {"on": "task", "do": "fail", "match": {"prompt": "doomed"}},
        {"on": "task", "do": "partial", "indexes": [0, 2], "match": {"prompt": "half"}},
        {"on": "task", "do": "moderation", "match": {"prompt": "rude"}},
        {"on": "task", "do": "duplicate_url", "match": {"prompt": "twin"}},
    )
    words = ("fine", "half", "fine", "doomed", "twin", "rude")
    sent = await asyncio.gather(
        *(traveller.send(n=1 + number % 4, prompt=words[number % 6]) for number in range(60))
    )

    done = await traveller.finish(sent)

    await expect_fair_books(traveller, done)
    statuses, image_count = await report(traveller)
    assert statuses.keys() == {"succeeded", "failed"}
    assert 60 < image_count < 150


async def test_a_job_whose_pictures_fail_partly_costs_what_was_delivered(
    traveller: Traveller,
) -> None:
    await traveller.gateway.set_faults({"on": "task", "do": "partial", "indexes": [1]})

    done = await traveller.wait_for(await traveller.send(n=3))

    assert done["status"] == "succeeded"
    assert done["usage"]["amount"] == "0.40"
    assert [picture.get("error", {}).get("code") for picture in done["pictures"]] == [
        None,
        "InternalError.Timeout",
        None,
    ]
    await expect_fair_books(traveller, [done])


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"do": "reset", "when": "after"}, id="reset"),
        pytest.param({"do": "status", "status": 500, "when": "after"}, id="500"),
        pytest.param({"do": "html", "when": "after"}, id="a page"),
        pytest.param({"do": "hang", "when": "after", "seconds": 3}, id="no answer in time"),
        pytest.param(
            {"do": "hang", "when": "before", "seconds": 1.2}, id="made after the timeout"
        ),
        pytest.param({"do": "late", "seconds": 0.5}, id="made after the reset"),
    ],
)
async def test_a_task_whose_answer_was_lost_is_adopted_and_never_made_again(
    traveller: Traveller, fault: dict[str, object]
) -> None:
    await traveller.gateway.set_faults({"on": "create", "times": 1, **fault})

    done = await traveller.wait_for(await traveller.send(n=2))

    assert done["status"] == "succeeded"
    (attempt,) = await attempts_of(traveller.gateway, done)
    assert attempt["outcome"] == "adopted"
    assert "job.submission_unknown" in await story_of(traveller.gateway, done)
    await expect_fair_books(traveller, [done])


@pytest.mark.parametrize("fault", [{"do": "status", "status": 500}, {"do": "reset"}])
async def test_a_create_that_made_no_task_is_sent_again_once_that_is_sure(
    traveller: Traveller, fault: dict[str, object]
) -> None:
    gateway = traveller.gateway
    await gateway.set_faults({"on": "create", "times": 1, "when": "before", **fault})
    job = await traveller.send()

    async def is_in_doubt() -> bool:
        return [row["outcome"] for row in await attempts_of(gateway, job)] == ["unknown"]

    await wait_until(is_in_doubt)
    await let_doubts_settle(gateway)
    done, witness = await traveller.finish([job, await traveller.send()])

    assert done["status"] == "succeeded"
    outcomes = [row["outcome"] for row in await attempts_of(gateway, done)]
    assert outcomes == ["absent", "accepted"]
    await expect_fair_books(traveller, [done, witness])


async def test_a_throttled_create_is_sent_again_after_the_pause(traveller: Traveller) -> None:
    await traveller.gateway.set_faults(
        {"on": "create", "do": "status", "status": 429, "times": 1, "retry_after_seconds": 1}
    )

    done = await traveller.wait_for(await traveller.send())

    first, second = await attempts_of(traveller.gateway, done)
    assert (first["outcome"], first["error_code"]) == ("refused", "Throttling.RateQuota")
    assert (second["intended_at"] - first["intended_at"]).total_seconds() >= 1
    await expect_fair_books(traveller, [done])


async def test_a_refused_create_ends_its_job_for_free(traveller: Traveller) -> None:
    await traveller.gateway.set_faults({"on": "create", "do": "moderation", "times": 1})

    done = await traveller.wait_for(await traveller.send(n=4))

    assert (done["status"], done["error"]["code"]) == ("failed", "DataInspectionFailed")
    assert done["usage"]["amount"] == "0.00"
    await expect_fair_books(traveller, [done])


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "picture", "do": "truncate"},
        {"on": "picture", "do": "corrupt"},
        {"on": "picture", "do": "status", "status": 503},
        {"on": "picture", "do": "reset"},
        {"on": "query", "do": "reset"},
        {"on": "query", "do": "html"},
        {"on": "list", "do": "html"},
    ],
    ids=lambda fault: f"{fault['on']} {fault['do']}",
)
async def test_what_goes_wrong_once_on_the_way_home_is_tried_again(
    traveller: Traveller, fault: dict[str, object]
) -> None:
    await traveller.gateway.set_faults({"times": 1, **fault})

    done = await traveller.wait_for(await traveller.send(n=2))

    assert done["status"] == "succeeded"
    assert done["attention"] is None
    await expect_fair_books(traveller, [done])
