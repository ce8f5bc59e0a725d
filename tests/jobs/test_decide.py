"""What follows from each piece of news: the table of the engine's core."""

from dataclasses import replace
from datetime import timedelta

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
    Match,
    RequeueAsked,
    RunState,
    Spotted,
    Ticked,
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
    Review,
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
    SECOND,
    SUBMITTING,
    answer,
    candidate,
    create,
    hear,
    look,
    picture,
    query,
    refuse,
)

ATTEMPTS_LIMIT = 2**15 - 1
"""Of the column that counts them."""


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
        [Created(1, NotSent("slow")), Created(1, Unprepared("slow")), Listed(1)],
        ids=["not sent", "not prepared", "not made"],
    )
    def test_fruitless_tries_wait_ever_longer_and_from_the_fifth_call_a_person(
        self, news: Event
    ) -> None:
        delays, flags = [], []
        for tries in range(12):
            run = replace(SUBMITTING, fruitless_tries=tries)
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


class TestDoubts:
    def test_a_single_unattached_task_is_ours_at_once(self) -> None:
        for match in (Match.UNSEEN, Match.SAME):
            actions = look(candidate("t-1", match))
            assert actions == (Run("t-1", "request-of-t-1", adopted=True),)

    @pytest.mark.parametrize("match", [Match.OTHER, Match.NOTHING])
    def test_a_task_that_proved_to_be_no_bodys_or_anothers_is_not_adopted(
        self, match: Match
    ) -> None:
        assert look(candidate("t-1", match)) == ()
        (decision,) = look(candidate("t-1", match), age=RULES.settle)
        assert isinstance(decision, Requeue)

    def test_without_one_the_create_may_still_come(self) -> None:
        assert look(age=RULES.settle - SECOND) == ()

    def test_without_one_after_the_settle_time_the_job_goes_back_to_the_queue(self) -> None:
        (decision,) = look(age=RULES.settle)

        assert isinstance(decision, Requeue)
        assert (decision.outcome, decision.code) == ("absent", "not_created")
        assert decision.delay_seconds == 2.0
        assert not decision.is_failure

    def test_a_look_from_before_the_settle_time_proves_nothing_however_late_it_is_heard(
        self,
    ) -> None:
        """The database was away between the look and its news."""
        early = Listed(1, (), NOON + RULES.settle - SECOND)

        assert hear(SUBMITTING, early, NOON + RULES.review_after) == ()

    def test_of_several_none_is_taken_before_all_have_ended(self) -> None:
        found = candidate("t-1", Match.SAME), candidate("t-2")

        assert look(*found) == look(*found, age=RULES.settle) == ()

    def test_of_several_the_first_that_is_ours_is_adopted_and_the_others_are_surplus(self) -> None:
        found = (
            candidate("t-0", Match.OTHER),
            candidate("t-1", Match.SAME),
            candidate("t-2", Match.NOTHING),
            candidate("t-3", Match.SAME),
            candidate("t-4", Match.SAME, is_contested=True),
        )

        run, *orphans = look(*found)

        assert run == Run("t-1", "request-of-t-1", adopted=True)
        assert [(one.task_id, one.is_ours) for one in orphans if isinstance(one, Orphan)] == [
            ("t-3", False)
        ]

    @pytest.mark.parametrize("match", [Match.UNSEEN, Match.SAME])
    def test_a_task_that_another_open_create_may_have_made_is_not_taken_from_it(
        self, match: Match
    ) -> None:
        contested = candidate("t-1", match, is_contested=True)

        assert look(contested) == look(contested, age=RULES.review_after - SECOND) == ()

    def test_what_cannot_be_told_apart_is_for_a_person_who_is_told_what_is_known(self) -> None:
        found = [candidate(f"t-{name}", Match.SAME, is_contested=True) for name in (1, 2)]

        (decision,) = look(*found, age=RULES.review_after)

        assert isinstance(decision, Review)
        assert decision.code == REVIEW_CODE
        assert "t-1, t-2" in decision.detail

    def test_a_create_in_review_is_looked_for_on_and_adopted_when_its_task_is_clear(self) -> None:
        reviewed = replace(
            SUBMITTING,
            holds_lane=False,
            holds_slot=False,
            attention_code=REVIEW_CODE,
            attention_since=NOON,
        )
        age = RULES.review_after + SECOND

        assert look(candidate("t-1", is_contested=True), age=age, run=reviewed) == ()
        actions = look(candidate("t-1"), age=age, run=reviewed)
        assert actions == (Run("t-1", "request-of-t-1", adopted=True),)

    def test_a_create_that_the_list_no_longer_reaches_is_never_sent_again(self) -> None:
        (decision,) = look(age=RULES.list_reach + SECOND)

        assert isinstance(decision, Review)
        assert decision.code == REVIEW_CODE

    @given(
        st.lists(st.tuples(st.sampled_from(Match), st.booleans()), max_size=3),
        st.timedeltas(timedelta(0), timedelta(days=9)),
    )
    def test_a_job_goes_back_only_when_the_list_has_settled_reaches_back_and_has_none(
        self, found: list[tuple[Match, bool]], age: timedelta
    ) -> None:
        tasks = [
            candidate(f"t-{number}", match, is_contested=is_contested)
            for number, (match, is_contested) in enumerate(found)
        ]

        actions = look(*tasks, age=age)

        has_possible = any(match in (Match.UNSEEN, Match.SAME) for match, _ in found)
        goes_back = not has_possible and RULES.settle <= age <= RULES.list_reach
        assert any(isinstance(action, Requeue) for action in actions) == goes_back
        adopted = [action.task_id for action in actions if isinstance(action, Run)]
        contested = {task.task_id for task in tasks if task.is_contested}
        assert not contested & set(adopted)


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
            Listed(1),
        ],
        ids=["not sent", "refused", "unprepared", "not made"],
    )
    def test_a_job_that_is_to_stop_does_not_go_back_into_the_queue(self, news: Event) -> None:
        tried = replace(SUBMITTING, fruitless_tries=TRIES_LIMIT)
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

        for run in (QUEUED, SUBMITTING, RUNNING, FINALIZING, None):
            assert hear(run, wish) == ()
        assert hear(reviewed, wish) == (Requeue("absent", "given_up", "no such task"),)
        requeue, orphan = hear(denied, wish)
        assert requeue == Requeue("accepted", "given_up", "no such task")
        assert isinstance(orphan, Orphan)
        assert (orphan.task_id, orphan.is_ours) == ("t-1", True)


class TestTime:
    def test_a_queued_job_expires_when_its_time_is_over(self) -> None:
        assert hear(QUEUED, Ticked(), QUEUED.expires_at - SECOND) == ()
        assert hear(QUEUED, Ticked(), QUEUED.expires_at) == (Stop(JobStatus.EXPIRED),)

    @pytest.mark.parametrize("run", [SUBMITTING, RUNNING, FINALIZING, None])
    def test_a_job_that_has_gone_out_does_not_expire(self, run: RunState | None) -> None:
        assert hear(run, Ticked(), QUEUED.expires_at) == ()
