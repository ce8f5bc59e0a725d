"""What a person reads of each event, picture and cent, what to do now, and what never."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.jobs.explain.facts import AttemptFacts, Entry, Event, PictureFacts
from app.jobs.explain.phrases import say_hold, say_seconds, veil
from app.jobs.explain.story import tell_story
from app.jobs.lifecycle import JobStatus
from app.jobs.queue.forecast import Hold
from tests.jobs.stories import (
    CLAIMED,
    JOB_ID,
    SECRET_URL,
    at,
    event,
    make_attempt,
    make_facts,
    make_job,
)

TASK = "0385dc79-5ff8-4d82-bcb6-7c0a1b2c3d4e"


def tell_last(*events: Event, **changes: Any) -> str:
    """What the last event's line says of a job that has ended."""
    changes.setdefault("job", make_job(status=JobStatus.SUCCEEDED))
    return tell_story(make_facts(*events, **changes)).timeline[-1].text


ENDED = make_attempt(
    outcome="accepted",
    task_id=TASK,
    task_status="SUCCEEDED",
    task_submitted_at=at(93.2),
    task_scheduled_at=at(94.2),
    task_ended_at=at(129.2),
)
REFUSED = make_attempt(outcome="refused", http_status=429, request_id="4909")

SAYINGS: list[tuple[str, Event, dict[str, Any], str]] = [
    (
        "acceptance",
        event(0, "job.queued", door="native"),
        {},
        "accepted by the native door, key ci of team ads: interactive, 2 pictures asked, "
        "0.40 CNY reserved",
    ),
    ("claim", CLAIMED, {}, "attempt 1 goes out on account default, key ...ghij, slot 0"),
    (
        "answer",
        event(94, "job.running", attempt=1, outcome="accepted", task_id=TASK, request_id="r-1"),
        {},
        f"attempt 1: its create was answered with task {TASK} (upstream request r-1)",
    ),
    (
        "adoption after a crash",
        event(94, "job.running", attempt=1, outcome="adopted", task_id=TASK, request_id=""),
        {},
        f"attempt 1: nobody heard the answer of its create; task {TASK} was found in the "
        "upstream's list and adopted",
    ),
    (
        "lost answer",
        event(94, "job.submission_unknown", attempt=1, reason="no answer"),
        {"attempts": [make_attempt(outcome="unknown", http_status=502)]},
        "attempt 1: the answer of its create was lost (HTTP 502, no answer); the upstream's list "
        "is asked for its task",
    ),
    (
        "refusal",
        event(
            94,
            "job.requeued",
            attempt=1,
            outcome="refused",
            code="Throttling",
            message="slower",
            request_id="4909",
            delay_seconds=0.0,
        ),
        {"attempts": [REFUSED]},
        "attempt 1 was refused: HTTP 429, Throttling (slower) (upstream request 4909); the job is "
        "queued again",
    ),
    (
        "failed task",
        event(
            130, "job.requeued", attempt=1, outcome="accepted", code="InternalError", message="oh"
        ),
        {"attempts": [ENDED]},
        "attempt 1 came to nothing: its task failed, InternalError (oh) (1.0 s queued upstream, "
        "35 s at work, its end seen 0.8 s later); the job is queued again",
    ),
    (
        "no task",
        event(
            160,
            "job.requeued",
            attempt=1,
            outcome="absent",
            code="not_created",
            message="the upstream lists no task of this create",
            delay_seconds=2.3,
        ),
        {},
        "attempt 1 made no task: not_created (the upstream lists no task of this create); the job "
        "is queued again, due again 2.3 s later",
    ),
    (
        "given up",
        event(
            160, "job.requeued", attempt=1, outcome="absent", code="given_up", message="not ours"
        ),
        {},
        "attempt 1 was given up by a person (not ours); the job is queued again",
    ),
    (
        "disowned",
        event(140, "job.disowned", attempt=1, task_id=TASK, reason="another's"),
        {},
        f"attempt 1: task {TASK} is given back (another's); the upstream's list is asked again",
    ),
    (
        "end upstream",
        event(129.6, "job.finalizing", image_count=1),
        {
            "attempts": [ENDED],
            "pictures": [
                PictureFacts(
                    index=1, status="failed", error_code="InternalError", error_message="slow"
                )
            ],
        },
        f"task {TASK} succeeded, 1 of 2 pictures made (1.0 s queued upstream, 35 s at work, its "
        "end seen 0.4 s later); picture 1 was not made: InternalError (slow)",
    ),
    (
        "kept",
        event(131.2, "picture.kept", index=0, bytes=1_482_213),
        {"attempts": [ENDED]},
        "picture 0 is kept (1,482,213 bytes, 2.0 s after its task's end)",
    ),
    (
        "lost",
        event(131.2, "picture.lost", index=0, reason="gone"),
        {},
        "picture 0 is lost: gone",
    ),
    (
        "risk",
        event(140, "pictures.at_risk", level="critical", left_seconds=14_400),
        {},
        "its pictures are at risk, critical: they die upstream in 4.0 h",
    ),
    (
        "attention",
        event(140, "job.attention", code="task_unknown", detail="not known"),
        {},
        "a person must look: task_unknown (not known)",
    ),
    (
        "waste",
        event(140, "job.orphan_settled", task_id=TASK, state="wasted", image_count=2),
        {},
        f"the task too many {TASK} has ended: it was billed: 2 pictures are booked as the "
        "company's waste",
    ),
    (
        "success",
        event(132, "job.succeeded", image_count=2),
        {},
        "succeeded after 132 s; 2 of 2 pictures delivered",
    ),
    (
        "refused for good",
        event(94, "job.failed", image_count=0, code="InvalidImage", message="too small"),
        {"attempts": [make_attempt(outcome="refused", http_status=400, request_id="r-9")]},
        "failed after 94 s: InvalidImage (too small), HTTP 400 (upstream request r-9); 0 of 2 "
        "pictures delivered",
    ),
    (
        "given up and canceled",
        event(160, "job.canceled", image_count=0),
        {"attempts": [make_attempt(outcome="absent", error_code="given_up", error_message="no")]},
        "canceled after 160 s; attempt 1 was given up by a person (no); 0 of 2 pictures delivered",
    ),
    (
        "failed task",
        event(130, "job.failed", image_count=0, code="InvalidImage", message="too small"),
        {"attempts": [replace(ENDED, task_status="FAILED")]},
        "failed after 130 s: InvalidImage (too small) (1.0 s queued upstream, 35 s at work, its "
        "end seen 0.8 s later); 0 of 2 pictures delivered",
    ),
    ("event of a later version", event(1, "job.moved_on", to="moon"), {}, "job moved on: to moon"),
]


@pytest.mark.parametrize(
    ("one", "changes", "said"), [row[1:] for row in SAYINGS], ids=[row[0] for row in SAYINGS]
)
def test_each_event_says_what_the_rows_know(
    one: Event, changes: dict[str, Any], said: str
) -> None:
    assert tell_last(one, **changes) == said


def test_an_end_in_the_queue_does_not_tell_an_earlier_attempt_again() -> None:
    told = tell_last(
        event(130, "job.requeued", attempt=1, outcome="accepted", code="InternalError"),
        event(400, "job.canceled", image_count=0),
        attempts=[replace(ENDED, task_status="FAILED")],
    )

    assert told == "canceled after 7 min; 0 of 2 pictures delivered"


def test_an_adoption_after_a_known_doubt_does_not_tell_it_twice() -> None:
    told = tell_last(
        event(94, "job.submission_unknown", attempt=1, reason="reset"),
        event(96, "job.running", attempt=1, outcome="adopted", task_id=TASK, request_id="r"),
    )

    assert told.startswith(f"attempt 1: task {TASK} was found")


@pytest.mark.parametrize(
    ("status", "attempt", "said"),
    [
        (
            JobStatus.SUBMITTING,
            make_attempt(outcome="unknown"),
            "now: attempt 1, begun 7.0 s ago, is in doubt",
        ),
        (
            JobStatus.RUNNING,
            make_attempt(outcome="accepted", task_id=TASK),
            f"now: task {TASK} is upstream, sent 7.0 s ago",
        ),
        (JobStatus.FINALIZING, ENDED, "now: 1 of its pictures are still to be kept"),
    ],
)
def test_a_job_that_goes_on_says_how_it_stands(
    status: JobStatus, attempt: AttemptFacts, said: str
) -> None:
    story = tell_story(
        make_facts(
            CLAIMED,
            job=make_job(status=status),
            attempts=[attempt],
            pictures=[PictureFacts(index=0, status="upstream", source_expires_at=at(900))],
        )
    )

    assert story.timeline[-1].text == said


def test_a_picture_says_its_troubles_and_whether_it_is_at_risk() -> None:
    flag = "picture_not_fetched"
    story = tell_story(
        make_facts(
            event(10, "job.attention", code=flag, detail="picture 1: reset"),
            event(20, "job.attention", code="store_unavailable", detail="picture 1: full"),
            pictures=[
                PictureFacts(index=0, status="kept", byte_count=7, kept_at=at(9)),
                PictureFacts(index=1, status="upstream", source_expires_at=at(3_600)),
                PictureFacts(index=2, status="upstream", source_expires_at=at(80_000)),
            ],
            attempts=[ENDED],
            now=3_500,
        )
    )

    kept, dying, safe = story.pictures
    assert (kept.bytes, kept.kept_at, kept.risk, kept.troubles) == (7, at(9), None, 0)
    assert (dying.troubles, dying.dies_at, dying.risk) == (2, at(3_600), "critical")
    assert safe.risk is None


def test_money_is_added_up_by_what_became_of_it() -> None:
    entries = [
        Entry("reserve", Decimal("0.40"), "CNY", 2),
        Entry("capture", Decimal("0.20"), "CNY", 1),
        Entry("release", Decimal("0.20"), "CNY", 1),
        Entry("waste", Decimal("0.20"), "CNY", 1),
        Entry("waste", Decimal("0.40"), "CNY", 2),
    ]

    money = tell_story(make_facts(entries=entries)).money

    assert (money.reserved, money.captured, money.released) == ("0.40", "0.20", "0.20")
    assert (money.wasted, money.wasted_image_count) == ("0.60", 3)


@pytest.mark.parametrize(
    ("status", "code", "is_cancel_asked", "command"),
    [
        (JobStatus.SUBMITTING, "submission_unknown", False, "job requeue {id} --reason"),
        (JobStatus.SUBMITTING, "submission_unknown", False, "job cancel {id}"),
        (JobStatus.SUBMITTING, "submission_unknown", True, "To end it now, free"),
        (JobStatus.RUNNING, "task_unknown", False, "fails free with task_lost"),
        (JobStatus.FINALIZING, "store_unavailable", False, "job requeue {id} --reason"),
        (JobStatus.FINALIZING, "picture_not_fetched", False, "DASHGATE_RESULT_HOSTS"),
    ],
)
def test_what_needs_attention_says_what_to_do(
    status: JobStatus, code: str, is_cancel_asked: bool, command: str
) -> None:
    job = make_job(
        status=status,
        attention_code=code,
        attention_since=at(50),
        attention_detail=f"host: {SECRET_URL}",
        cancel_requested_at=at(60) if is_cancel_asked else None,
    )

    story = tell_story(make_facts(CLAIMED, job=job))

    assert command.format(id=JOB_ID) in "\n".join(story.next_steps)
    assert story.attention is not None
    assert "Signature" not in str(story.attention.detail)


@pytest.mark.parametrize("status", list(JobStatus))
def test_a_job_without_attention_asks_for_nothing(status: JobStatus) -> None:
    assert tell_story(make_facts(job=make_job(status=status))).next_steps == ()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"GET {SECRET_URL} failed", "GET https://dashscope-result.oss.example/... failed"),
        ("see oss://me:pw@bucket/key", "see oss://bucket/..."),
        ("Incorrect API key: sk-0123456789abcdef.", "Incorrect API key: sk-...."),
        ("x" * 400, "x" * 297 + "..."),
        ("nothing to hide: 3/4", "nothing to hide: 3/4"),
    ],
)
def test_a_text_of_others_is_shown_without_what_nobody_may_see(text: str, shown: str) -> None:
    assert veil(text) == shown


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (-0.5, "-0.5 s"), (93, "93 s"), (1_200, "20 min"), (12_600, "3.5 h")],
)
def test_seconds_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert say_seconds(timedelta(seconds=seconds)) == said


def test_each_hold_is_told_in_words() -> None:
    assert all(say_hold(hold) != hold for hold in Hold)
