"""What follows from each piece of news: the table of the engine's core."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accounts.evidence.suspicion import Verdict
from app.dashscope.outcomes import Accepted, NotSent, OutcomeUnknown, Refused
from app.dashscope.payloads import TaskStatus
from app.jobs.core.creates import LONGEST_DELAY_SECONDS, TRIES_LIMIT, back_off
from app.jobs.core.doubts import REVIEW_CODE
from app.jobs.core.state import (
    Answered,
    CancelAsked,
    Created,
    Event,
    Listed,
    ListProof,
    RequeueAsked,
    RunState,
    Spotted,
    Unprepared,
)
from app.jobs.core.tasks import UNKNOWN_CODE
from app.jobs.lifecycle import (
    Action,
    CancelTask,
    Collect,
    Doubt,
    Fail,
    Flag,
    JobStatus,
    NoteCancel,
    Orphan,
    Requeue,
    Run,
    Stop,
)
from tests.jobs.news import (
    ADOPTED,
    FINALIZING,
    JOB_TTL,
    NOON,
    QUEUED,
    RULES,
    RUNNING,
    SUBMITTING,
    answer,
    candidate,
    create,
    hear,
    picture,
    query,
    refuse,
)

ATTEMPTS_LIMIT = 2**15 - 1
"""Of the column that counts them."""
LOOKED = replace(SUBMITTING, unlisted_at=NOON)
UNLISTED = Listed(1, proof=ListProof.FRESH)


class TestCreates:
    def test_an_accepted_task_runs(self) -> None:
        assert create(Accepted("t-1", "r-1")) == (Run("t-1", "r-1"),)

    def test_an_unknown_outcome_is_a_doubt_and_never_a_retry(self) -> None:
        assert create(OutcomeUnknown("reset", 502)) == (Doubt("reset", 502),)

    def test_a_request_at_fault_fails_its_job(self) -> None:
        refusal = refuse(400, "InvalidParameter")

        assert create(refusal) == (Fail("InvalidParameter", "no", 400, "r-1"),)

    @pytest.mark.parametrize(
        "refusal",
        [
            refuse(429, "Throttling.RateQuota"),
            refuse(429, "Throttling.AllocationQuota"),
            refuse(401, "InvalidApiKey"),
            refuse(400, "Arrearage"),
        ],
        ids=lambda refusal: refusal.code,
    )
    def test_for_an_account_at_fault_the_job_waits_its_turn_however_often(
        self, refusal: Refused
    ) -> None:
        (decision,) = create(refusal, replace(SUBMITTING, attempt=999, task_failures=9))

        assert decision == Requeue(
            "refused", refusal.code, "no", 0.0, refusal.http_status, "r-1", is_failure=False
        )

    def test_trouble_of_the_upstreams_own_is_tried_again_within_the_jobs_limit(self) -> None:
        refusal = refuse(422, "InternalError")
        tries = [
            create(refusal, replace(SUBMITTING, task_failures=failures))[0]
            for failures in range(RULES.retries + 1)
        ]

        *again, last = tries
        assert all(isinstance(one, Requeue) and one.is_failure for one in again)
        assert not any(isinstance(one, Requeue) and one.is_refunded for one in again)
        assert isinstance(last, Fail)

    def test_a_create_that_never_left_lets_others_go_first(self) -> None:
        decision = Requeue("absent", "not_sent", "refused", delay_seconds=2.0)

        assert create(NotSent("refused")) == (decision,)

    @pytest.mark.parametrize(
        ("outcome", "code"),
        [
            (Unprepared("slow"), "not_prepared"),
            (NotSent("slow", is_body=True), "not_sent"),
        ],
    )
    def test_what_cannot_be_sent_delays_only_its_own_job(
        self, outcome: Unprepared | NotSent, code: str
    ) -> None:
        decision = Requeue("absent", code, "slow", delay_seconds=2.0, is_refunded=False)

        assert create(outcome) == (decision,)

    @pytest.mark.parametrize(
        "news",
        [Created(1, NotSent("slow")), Created(1, Unprepared("slow")), UNLISTED],
        ids=["not sent", "not prepared", "not made"],
    )
    def test_fruitless_tries_wait_ever_longer_and_from_the_fifth_call_a_person(
        self, news: Event
    ) -> None:
        delays, flags = [], []
        for tries in range(12):
            run = replace(LOOKED, fruitless_tries=tries)
            requeue, *flag = hear(run, news, NOON + RULES.settle)
            assert isinstance(requeue, Requeue)
            delays.append(requeue.delay_seconds)
            flags.append([one.code for one in flag if isinstance(one, Flag)])

        assert min(delays) >= 1.5
        assert delays == sorted(delays)
        assert flags == [[]] * 4 + [["cannot_be_sent"]] * 8

    @pytest.mark.parametrize("code", ["Throttling.RateQuota", "Throttling.Concurrency"])
    def test_a_job_that_is_throttled_again_lets_others_go_first(self, code: str) -> None:
        delays = []
        for refusals in (0, 1, 2, 900):
            created = Created(1, refuse(429, code), Verdict(wait_seconds=4.0))
            (requeue,) = hear(replace(SUBMITTING, refusals=refusals), created)
            assert isinstance(requeue, Requeue)
            delays.append(requeue.delay_seconds)

        assert delays == [0, 6, 8, 304]

    def test_what_one_request_may_draw_waits_longer_than_its_account(self) -> None:
        created = Created(1, refuse(403, "AccessDenied"), Verdict(wait_seconds=60.0))

        waits = []
        for refusals in range(3):
            (requeue,) = hear(replace(SUBMITTING, refusals=refusals), created)
            assert isinstance(requeue, Requeue)
            assert not requeue.is_failure
            assert not requeue.is_refunded
            waits.append(requeue.delay_seconds)

        assert waits == [61, 122, 244]

    def test_the_fifth_such_refusal_calls_a_person_and_does_not_fail_the_job(self) -> None:
        requeue, flag = create(refuse(403, "AccessDenied"), replace(SUBMITTING, refusals=4))

        assert isinstance(requeue, Requeue)
        assert isinstance(flag, Flag)
        assert flag.code == "account_refuses"
        assert "AccessDenied" in flag.detail

    def test_a_job_at_fault_fails_with_the_upstreams_words(self) -> None:
        created = Created(1, refuse(403, "AccessDenied"), Verdict(is_jobs_fault=True))

        assert hear(SUBMITTING, created) == (Fail("AccessDenied", "no", 403, "r-1"),)

    def test_inputs_that_are_lost_end_their_job(self) -> None:
        lost = Unprepared("gone", is_input_lost=True)

        assert create(lost) == (Fail("input_lost", "gone", outcome="absent"),)

    def test_inputs_that_stay_away_as_long_as_a_job_may_wait_do_not_run_out_of_attempts(
        self,
    ) -> None:
        waited, attempt = 0.0, 0
        while waited < JOB_TTL.total_seconds():
            attempt += 1
            run = replace(SUBMITTING, attempt=attempt, fruitless_tries=attempt - 1)
            decision, *_ = create(Unprepared("slow"), run)
            assert isinstance(decision, Requeue)
            waited += decision.delay_seconds

        assert attempt < ATTEMPTS_LIMIT / 2

    @given(st.integers(0, ATTEMPTS_LIMIT), st.floats(0, 1))
    def test_no_delay_is_longer_than_the_longest(self, tries: int, roll: float) -> None:
        assert 0 < back_off(tries, lambda: roll) <= LONGEST_DELAY_SECONDS * 1.25


STALE_NEWS: list[Event] = [
    Created(1, refuse(400, "InvalidParameter")),
    Created(1, OutcomeUnknown("reset", None)),
    Listed(1, (candidate("t-1"),)),
    Listed(1),
    Answered(1, answer("SUCCEEDED", picture("a"))),
    Answered(1, answer("UNKNOWN")),
    Spotted(1, TaskStatus.PENDING),
]


class TestStaleNews:
    @pytest.mark.parametrize("news", STALE_NEWS, ids=lambda news: type(news).__name__)
    @pytest.mark.parametrize(
        "run",
        [None, QUEUED, FINALIZING, replace(SUBMITTING, attempt=2), replace(RUNNING, attempt=2)],
        ids=["ended", "queued", "finalizing", "submitting again", "running again"],
    )
    def test_news_of_an_attempt_that_is_over_decides_nothing(
        self, run: RunState | None, news: Event
    ) -> None:
        assert hear(run, news, NOON + RULES.lost_after) == ()

    @pytest.mark.parametrize(
        "run",
        [None, QUEUED, replace(SUBMITTING, attempt=2), replace(RUNNING, attempt=2, task_id="t-2")],
    )
    def test_a_task_that_came_after_its_create_was_given_up_is_a_task_too_many(
        self, run: RunState | None
    ) -> None:
        (orphan,) = hear(run, Created(1, Accepted("t-1", "r-1")))

        assert isinstance(orphan, Orphan)
        assert (orphan.task_id, orphan.is_ours) == ("t-1", True)

    @pytest.mark.parametrize("run", [RUNNING, replace(ADOPTED, attempt=2), FINALIZING])
    def test_a_late_answer_that_names_the_jobs_own_task_is_no_news(self, run: RunState) -> None:
        assert hear(run, Created(1, Accepted("t-1", "r-1"))) == ()

    def test_the_answer_of_a_create_in_doubt_still_counts(self) -> None:
        reviewed = replace(SUBMITTING, holds_slot=False, attention_code=REVIEW_CODE)

        assert create(Accepted("t-1", "r-1"), reviewed) == (Run("t-1", "r-1"),)


CANCELING = replace(SUBMITTING, is_cancel_asked=True)
CANCELING_UPSTREAM = replace(RUNNING, is_cancel_asked=True)


class TestWishes:
    @pytest.mark.parametrize(
        ("run", "actions"),
        [
            (QUEUED, (Stop(JobStatus.CANCELED),)),
            (SUBMITTING, (NoteCancel(),)),
            (RUNNING, (NoteCancel(),)),
            (CANCELING, ()),
            (FINALIZING, ()),
            (None, ()),
        ],
    )
    def test_a_cancel_is_heeded_while_nothing_is_made_and_noted_after(
        self, run: RunState | None, actions: tuple[Action, ...]
    ) -> None:
        assert hear(run, CancelAsked()) == actions

    def test_a_cancel_for_queued_jobs_only_stops_nothing_else(self) -> None:
        wish = CancelAsked(only_queued=True)

        assert hear(QUEUED, wish) == (Stop(JobStatus.CANCELED),)
        assert hear(SUBMITTING, wish) == hear(RUNNING, wish) == ()

    @pytest.mark.parametrize(
        "news",
        [
            Created(1, NotSent("away")),
            Created(1, refuse(429, "Throttling")),
            Created(1, Unprepared("slow")),
            UNLISTED,
        ],
        ids=["not sent", "refused", "unprepared", "not made"],
    )
    def test_a_job_that_is_to_stop_does_not_go_back_into_the_queue(self, news: Event) -> None:
        tried = replace(LOOKED, fruitless_tries=TRIES_LIMIT)
        instead, *_ = hear(tried, news, NOON + RULES.settle)

        canceling = replace(tried, is_cancel_asked=True)
        (stop,) = hear(canceling, news, NOON + RULES.settle)

        assert isinstance(instead, Requeue)
        assert stop == Stop(JobStatus.CANCELED, instead_of=instead)

    @pytest.mark.parametrize("status", ["FAILED", "CANCELED"])
    def test_a_job_that_is_to_stop_ends_with_its_task(self, status: str) -> None:
        (stop,) = query(answer(status), CANCELING_UPSTREAM)

        assert isinstance(stop, Stop)
        assert stop.status is JobStatus.CANCELED
        assert stop.task is not None

    def test_a_picture_that_was_made_is_kept_whatever_was_wished(self) -> None:
        (decision,) = query(answer("SUCCEEDED", picture("a")), CANCELING_UPSTREAM)

        assert isinstance(decision, Collect)

    @pytest.mark.parametrize(
        ("run", "status", "actions"),
        [
            (CANCELING_UPSTREAM, TaskStatus.PENDING, (CancelTask("t-1"),)),
            (CANCELING_UPSTREAM, TaskStatus.RUNNING, ()),
            (replace(CANCELING_UPSTREAM, is_adopted=True), TaskStatus.PENDING, ()),
            (RUNNING, TaskStatus.PENDING, ()),
        ],
        ids=["waiting", "running", "perhaps another's", "not wished"],
    )
    def test_only_a_waiting_task_that_is_surely_ours_is_canceled(
        self, run: RunState, status: TaskStatus, actions: tuple[Action, ...]
    ) -> None:
        assert hear(run, Spotted(1, status)) == actions

    def test_a_person_gives_up_only_what_a_person_was_called_to(self) -> None:
        wish = RequeueAsked("no such task")
        reviewed = replace(SUBMITTING, attention_code=REVIEW_CODE)
        denied = replace(RUNNING, attention_code=UNKNOWN_CODE)

        awaited = replace(reviewed, is_awaited=True)
        unsent = replace(SUBMITTING, attention_code="cannot_be_sent")
        for run in (QUEUED, SUBMITTING, awaited, unsent, RUNNING, FINALIZING, None):
            assert hear(run, wish) == ()
        assert hear(reviewed, wish) == (Requeue("absent", "given_up", "no such task"),)
        requeue, orphan = hear(denied, wish)
        assert requeue == Requeue("accepted", "given_up", "no such task")
        assert isinstance(orphan, Orphan)
        assert (orphan.task_id, orphan.is_ours) == ("t-1", True)
