"""The checker on made-up ledgers: a fair storm passes, each kind of harm is found."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.bench.storm.check import Evidence, Kind, check
from app.bench.storm.ledgers import BookedAttempt, BookedJob, Books, Hearsay, UpstreamTask

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ENDED = ("job.queued", "job.submitting", "job.running", "job.finalizing", "job.succeeded")


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def make_task(task_id: str = "task-1", prompt: str = "fox", **fields: object) -> UpstreamTask:
    task = UpstreamTask(
        task_id=task_id,
        account="east",
        prompt=prompt,
        n=1,
        status="SUCCEEDED",
        image_count=1,
        created_at=at(1),
        ended_at=at(3),
        picture_sha256=frozenset({f"bytes of {task_id}"}),
    )
    return replace(task, **fields)  # type: ignore[arg-type]


def make_attempt(task_id: str | None = "task-1", **fields: object) -> BookedAttempt:
    attempt = BookedAttempt("lane-1", "accepted", at(0), at(2), task_id)
    return replace(attempt, **fields)  # type: ignore[arg-type]


def make_job(job_id: str = "job-1", prompt: str = "fox", **fields: object) -> BookedJob:
    job = BookedJob(job_id, 0, prompt, 1, "succeeded", 1, (make_attempt(),), ENDED)
    return replace(job, **fields)  # type: ignore[arg-type]


def make_evidence(
    *,
    tasks: tuple[UpstreamTask, ...] = (make_task(),),
    jobs: tuple[BookedJob, ...] = (make_job(),),
    books: Mapping[str, object] | None = None,
    heard: Mapping[str, object] | None = None,
) -> Evidence:
    """One job, its task and its picture, unless told otherwise."""
    shown = {
        "answers": {1: ("job-1",)},
        "final_statuses": {"job-1": frozenset({"succeeded"})},
        "picture_sha256": {"job-1": ("bytes of task-1",)},
    }
    sums: dict[str, object] = {"spent_images": 1, "wasted_images": 0}
    return Evidence(
        tasks={task.task_id: task for task in tasks},
        books=Books(jobs=jobs, **(sums | dict(books or {}))),  # type: ignore[arg-type]
        heard=Hearsay(**(shown | dict(heard or {}))),  # type: ignore[arg-type]
        in_flight_limits={"east": 1},
    )


def kinds_of(evidence: Evidence) -> set[Kind]:
    return {finding.kind for finding in check(evidence).findings}


def test_a_job_with_its_one_task_and_its_own_picture_is_fair() -> None:
    verdict = check(make_evidence())

    assert verdict.findings == ()
    assert verdict.duplicate_count == 0


def test_a_second_billed_task_is_a_duplicate_and_missing_money() -> None:
    evidence = make_evidence(tasks=(make_task(), make_task("task-2")))

    verdict = check(evidence)

    assert verdict.duplicate_count == 1
    assert {finding.kind for finding in verdict.findings} == {Kind.DUPLICATE, Kind.LEDGER}


def test_a_duplicate_that_is_booked_as_waste_is_counted_and_forgiven() -> None:
    verdict = check(
        make_evidence(
            tasks=(make_task(), make_task("task-2")),
            books={
                "wasted_images": 1,
                "wasted": {"task-2": "job-1"},
                "wasted_by_job": {"job-1": 1},
            },
        )
    )

    assert verdict.duplicate_count == 1
    assert verdict.findings == ()
    assert [finding.subject for finding in verdict.booked] == ["task-2"]


@pytest.mark.parametrize("status", ["FAILED", "CANCELED"])
def test_a_second_task_that_costs_nothing_is_no_duplicate(status: str) -> None:
    second = make_task("task-2", status=status, image_count=0)

    assert check(make_evidence(tasks=(make_task(), second))).duplicate_count == 0


def test_an_id_that_was_given_out_must_exist() -> None:
    assert kinds_of(make_evidence(heard={"answers": {1: ("job-9",)}})) == {Kind.NOT_ACCEPTED}


def test_an_order_that_was_sent_twice_is_one_job() -> None:
    jobs = (make_job(), make_job("job-2", status="canceled", image_count=0, attempts=()))
    heard = {"answers": {1: ("job-1", "job-2")}, "cancels": frozenset({"job-2"})}

    assert kinds_of(make_evidence(jobs=jobs, heard=heard)) == {Kind.NOT_ACCEPTED}


def test_an_order_with_a_key_is_accepted_in_the_end() -> None:
    assert kinds_of(make_evidence(heard={"unheard": frozenset({7})})) == {Kind.NOT_ACCEPTED}


@pytest.mark.parametrize("status", [None, "expired", "canceled", "failed"])
def test_a_job_that_ends_without_its_paid_picture_is_lost(status: str | None) -> None:
    job = make_job(status=status, image_count=0, events=("job.queued",))
    heard: dict[str, object] = {"final_statuses": {}, "picture_sha256": {}}

    evidence = make_evidence(jobs=(job,), books={"spent_images": 0}, heard=heard)

    assert Kind.LOST in kinds_of(evidence)


def test_a_job_fails_only_for_a_task_that_failed() -> None:
    job = make_job(status="failed", image_count=0, events=("job.failed",))
    failed = make_task(status="FAILED", image_count=0)
    heard: dict[str, object] = {"final_statuses": {}, "picture_sha256": {}}
    books: dict[str, object] = {"spent_images": 0}

    fair = make_evidence(tasks=(failed,), jobs=(job,), books=books, heard=heard)
    unfair = make_evidence(tasks=(), jobs=(job,), books=books, heard=heard)

    assert kinds_of(fair) == set()
    assert kinds_of(unfair) == {Kind.LOST}


def test_a_job_that_has_not_ended_is_lost_unless_it_calls_a_person() -> None:
    job = make_job(status=None, image_count=0, attempts=(), events=("job.queued",))
    heard: dict[str, object] = {"final_statuses": {}, "picture_sha256": {}}
    books: dict[str, object] = {"spent_images": 0}
    evidence = make_evidence(tasks=(), jobs=(job,), books=books, heard=heard)

    attended = replace(evidence, attended=frozenset({"job-1"}))

    assert kinds_of(evidence) == {Kind.LOST}
    assert kinds_of(attended) == set()


def test_an_order_that_the_upstream_never_takes_fails() -> None:
    job = make_job(status="failed", image_count=0, attempts=(), events=("job.failed",))
    heard: dict[str, object] = {"final_statuses": {}, "picture_sha256": {}}
    books: dict[str, object] = {"spent_images": 0}
    evidence = make_evidence(tasks=(), jobs=(job,), books=books, heard=heard)

    refused = replace(evidence, refused_prompts=frozenset({"fox"}))

    assert kinds_of(evidence) == {Kind.LOST}
    assert kinds_of(refused) == set()


def test_every_picture_that_was_made_is_kept() -> None:
    task = make_task(n=2, image_count=2)
    job = make_job(n=2)

    evidence = make_evidence(tasks=(task,), jobs=(job,))

    assert kinds_of(evidence) == {Kind.LOST, Kind.LEDGER, Kind.UNBOOKED}


def test_what_is_billed_beyond_what_is_delivered_is_in_the_name_of_its_job() -> None:
    task = make_task(image_count=2)
    whole = {"wasted_images": 1}

    unbooked = make_evidence(tasks=(task,), books=whole)
    booked = make_evidence(tasks=(task,), books=whole | {"wasted_by_job": {"job-1": 1}})
    twice = make_evidence(tasks=(task,), books=whole | {"wasted_by_job": {"job-1": 2}})

    assert kinds_of(unbooked) == kinds_of(twice) == {Kind.UNBOOKED}
    assert kinds_of(booked) == set()


def test_a_task_without_a_picture_to_be_had_is_no_loss_when_it_is_booked() -> None:
    task = make_task(picture_sha256=frozenset())
    job = make_job(status="failed", image_count=0)
    heard: dict[str, object] = {"final_statuses": {}, "picture_sha256": {}}
    books = {"spent_images": 0, "wasted_images": 1, "wasted_by_job": {"job-1": 1}}

    evidence = make_evidence(tasks=(task,), jobs=(job,), books=books, heard=heard)

    assert kinds_of(replace(evidence, refused_prompts=frozenset({"fox"}))) == set()


def test_every_picture_that_was_kept_is_handed_out() -> None:
    assert kinds_of(make_evidence(heard={"picture_sha256": {}})) == {Kind.LOST}


def test_bytes_of_another_task_are_found() -> None:
    heard = {"picture_sha256": {"job-1": ("bytes of task-2",)}}

    assert kinds_of(make_evidence(heard=heard)) == {Kind.WRONG_PICTURE}


@pytest.mark.parametrize("task", [make_task(prompt="hen"), make_task(n=2)])
def test_the_task_of_another_request_is_found(task: UpstreamTask) -> None:
    assert kinds_of(make_evidence(tasks=(task,))) == {Kind.WRONG_PICTURE}


def test_a_task_belongs_to_one_job() -> None:
    later = make_attempt(lane="lane-2")
    jobs = (make_job(), make_job("job-2", attempts=(later,)))
    heard = {"picture_sha256": dict.fromkeys(("job-1", "job-2"), ("bytes of task-1",))}

    evidence = make_evidence(jobs=jobs, books={"spent_images": 1}, heard=heard)

    assert kinds_of(evidence) == {Kind.WRONG_PICTURE}


def test_the_books_own_audits_are_heard() -> None:
    assert kinds_of(make_evidence(books={"disagreements": ("job-1: 2, not 1",)})) == {Kind.LEDGER}


@pytest.mark.parametrize("spent", [0, 2])
def test_money_is_compared_image_for_image(spent: int) -> None:
    assert kinds_of(make_evidence(books={"spent_images": spent})) == {Kind.LEDGER}


def make_pair(*, second_starts: float) -> tuple[tuple[UpstreamTask, ...], tuple[BookedJob, ...]]:
    """Two jobs whose second create begins then, on the same lane; a create takes two seconds."""
    intended, settled = at(second_starts), at(second_starts + 2)
    attempt = make_attempt("task-2", intended_at=intended, settled_at=settled)
    task = make_task("task-2", created_at=at(second_starts + 1), ended_at=at(second_starts + 3))
    return (make_task(), task), (make_job(), make_job("job-2", attempts=(attempt,)))


@pytest.mark.parametrize(("second_starts", "crowded"), [(4, 0), (2.5, 0), (1.9, 2), (0.5, 2)])
def test_lanes_and_slots_hold_one_at_a_time(second_starts: float, crowded: int) -> None:
    tasks, jobs = make_pair(second_starts=second_starts)
    pictures = {f"job-{number}": (f"bytes of task-{number}",) for number in (1, 2)}

    evidence = make_evidence(
        tasks=tasks,
        jobs=jobs,
        books={"spent_images": 2},
        heard={"picture_sha256": pictures},
    )

    assert check(evidence).count(Kind.CROWDED) == crowded


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        ((*ENDED, "job.requeued"), {"succeeded"}),
        (("job.failed", *ENDED), {"succeeded"}),
        (ENDED, {"succeeded", "failed"}),
    ],
)
def test_what_has_ended_stays_as_it_is(events: tuple[str, ...], shown: set[str]) -> None:
    evidence = make_evidence(
        jobs=(make_job(events=events),), heard={"final_statuses": {"job-1": frozenset(shown)}}
    )

    assert kinds_of(evidence) == {Kind.MOVED_BACK}


def test_news_of_no_status_may_follow_an_end() -> None:
    assert kinds_of(make_evidence(jobs=(make_job(events=(*ENDED, "webhook.sent")),))) == set()


def test_a_create_that_lost_its_task_again_had_given_its_lane_up_before() -> None:
    tasks, (first, second) = make_pair(second_starts=1.9)
    disowned = replace(first, events=(*first.events[:-1], "job.disowned", first.events[-1]))

    without, with_it = (
        check(make_evidence(tasks=tasks, jobs=(job, second))) for job in (first, disowned)
    )

    assert with_it.count(Kind.CROWDED) == without.count(Kind.CROWDED) - 1
