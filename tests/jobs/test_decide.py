"""What follows from the upstream's answers: the table of the engine's core."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashscope.client import Accepted, NotSent, OutcomeUnknown, Refused
from app.dashscope.payloads import ListedTask, TaskAnswer, TaskStatus
from app.jobs.engine.decide import (
    LIST_REACH,
    LONGEST_PAUSE_SECONDS,
    SUSPENSION_SECONDS,
    UNKNOWN_PATIENCE,
    Unprepared,
    after_create,
    after_disowning,
    after_list,
    after_query,
    answers_another,
)
from app.jobs.lifecycle import Collect, Disown, Doubt, Fail, Flag, Requeue, Run
from tests.jobs.test_links import NOON

SETTLE = timedelta(seconds=70)
PROMPT = "make it blue"
JOB_TTL = timedelta(days=7)
ATTEMPTS_LIMIT = 2**15 - 1
"""Of the column that counts them."""


def refuse(status: int, code: str, retry_after_seconds: float | None = None) -> Refused:
    return Refused(status, code, "no", "r-1", retry_after_seconds)


def answer(status: str, *results: dict[str, Any], **output: Any) -> TaskAnswer:
    usage = {"image_count": sum("url" in item for item in results)}
    return TaskAnswer.model_validate(
        {
            "request_id": "r-2",
            "output": {"task_id": "t-1", "task_status": status, "results": results, **output},
            "usage": usage if status == "SUCCEEDED" else None,
        }
    )


def picture(name: str, prompt: str = PROMPT, **more: Any) -> dict[str, Any]:
    return {"url": f"https://result.example/{name}.png", "orig_prompt": prompt, **more}


FAILED_ITEM = {"code": "InternalError.Timeout", "message": "it took too long"}


def listed(name: str, seconds: float = 1) -> ListedTask:
    return ListedTask(
        task_id=name,
        status=TaskStatus.RUNNING,
        request_id=f"request-of-{name}",
        gmt_create=NOON + timedelta(seconds=seconds),
    )


def query(
    task: TaskAnswer, *, n: int = 1, adopted: bool = False, unknown_for: timedelta | None = None
) -> object:
    return after_query(
        task, asked_prompt=PROMPT, asked_n=n, adopted=adopted, unknown_for=unknown_for
    )


def look(*tasks: ListedTask, age: timedelta, is_contested: bool = False) -> object:
    return after_list(tasks, is_contested=is_contested, age=age, settle=SETTLE)


class TestAfterCreate:
    def test_an_accepted_task_runs(self) -> None:
        assert after_create(Accepted("t-1", "r-1"), attempt=1) == Run("t-1", "r-1")

    def test_an_unknown_outcome_is_a_doubt_and_never_a_retry(self) -> None:
        assert after_create(OutcomeUnknown("reset", 502), attempt=1) == Doubt("reset", 502)

    def test_a_request_at_fault_fails_its_job(self) -> None:
        refusal = refuse(400, "InvalidParameter")
        assert after_create(refusal, attempt=1) == Fail("InvalidParameter", "no", 400, "r-1")

    @pytest.mark.parametrize(
        ("refusal", "pause_seconds"),
        [
            (refuse(429, "Throttling.RateQuota"), 2.0),
            (refuse(429, "Throttling.RateQuota", 8.0), 8.0),
            (refuse(429, "Throttling.RateQuota", 1_849_295.0), LONGEST_PAUSE_SECONDS),
            (refuse(401, "InvalidApiKey"), SUSPENSION_SECONDS),
            (refuse(429, "Throttling.AllocationQuota", 3.0), SUSPENSION_SECONDS),
        ],
    )
    def test_an_account_at_fault_pauses_and_the_job_waits(
        self, refusal: Refused, pause_seconds: float
    ) -> None:
        decision = after_create(refusal, attempt=1)

        assert decision == Requeue(
            "refused",
            refusal.code,
            "no",
            pause_seconds=pause_seconds,
            http_status=refusal.http_status,
            request_id="r-1",
        )

    def test_a_create_that_never_left_pauses_the_account(self) -> None:
        decision = after_create(NotSent("refused"), attempt=1)

        assert decision == Requeue("absent", "not_sent", "refused", pause_seconds=2.0)

    def test_inputs_that_cannot_be_had_now_delay_only_their_own_job(self) -> None:
        decision = after_create(Unprepared("the store is away"), attempt=1)

        assert decision == Requeue(
            "absent", "not_prepared", "the store is away", delay_seconds=2.0
        )

    def test_inputs_that_are_lost_end_their_job(self) -> None:
        decision = after_create(Unprepared("gone", is_input_lost=True), attempt=1)

        assert decision == Fail("input_lost", "gone", outcome="absent")

    @pytest.mark.parametrize(
        "outcome", [NotSent("away"), refuse(429, "Throttling"), Unprepared("slow")]
    )
    def test_trouble_that_lasts_as_long_as_a_job_may_wait_does_not_run_out_of_attempts(
        self, outcome: NotSent | Refused | Unprepared
    ) -> None:
        waited, attempts = 0.0, 0
        while waited < JOB_TTL.total_seconds():
            attempts += 1
            decision = after_create(outcome, attempt=attempts)
            assert isinstance(decision, Requeue)
            waited += decision.pause_seconds + decision.delay_seconds

        assert attempts < ATTEMPTS_LIMIT / 2

    @given(st.integers(1, ATTEMPTS_LIMIT), st.floats(0, 1e9) | st.none())
    def test_no_pause_is_longer_than_the_longest(self, attempt: int, asked: float | None) -> None:
        decision = after_create(refuse(429, "Throttling", asked), attempt=attempt)

        assert isinstance(decision, Requeue)
        assert 0 < decision.pause_seconds <= LONGEST_PAUSE_SECONDS


class TestAfterQuery:
    @pytest.mark.parametrize("status", ["PENDING", "RUNNING", "SUSPENDED"])
    def test_a_task_that_goes_on_decides_nothing(self, status: str) -> None:
        assert query(answer(status)) is None

    def test_a_succeeded_task_is_collected_with_its_failed_slots_in_order(self) -> None:
        task = answer(
            "SUCCEEDED",
            picture("a", actual_prompt="make it very blue"),
            FAILED_ITEM,
            picture("c"),
            submit_time="2026-11-23 20:00:00.100",
            scheduled_time="2026-11-23 20:00:00.200",
            end_time="2026-11-23 20:01:00.300",
        )

        decision = query(task, n=3)

        assert isinstance(decision, Collect)
        assert [(p.index, p.url, p.error_code) for p in decision.pictures] == [
            (0, "https://result.example/a.png", None),
            (1, None, "InternalError.Timeout"),
            (2, "https://result.example/c.png", None),
        ]
        assert decision.pictures[0].actual_prompt == "make it very blue"
        assert decision.pictures[1].error_message == "it took too long"
        assert decision.task.image_count == 2
        assert decision.task.ended_at == datetime(2026, 11, 23, 12, 1, 0, 300_000, UTC)

    def test_pictures_beyond_those_asked_for_do_not_stop_the_job(self) -> None:
        decision = query(answer("SUCCEEDED", picture("a"), picture("b")), n=1)

        assert isinstance(decision, Collect)
        assert [p.index for p in decision.pictures] == [0]
        assert decision.task.image_count == 2

    def test_a_success_without_pictures_is_a_failure(self) -> None:
        for task in (answer("SUCCEEDED"), answer("SUCCEEDED", FAILED_ITEM)):
            decision = query(task)
            assert isinstance(decision, Fail)
            assert decision.task is not None

    def test_a_failed_task_fails_its_job_with_the_upstreams_words(self) -> None:
        decision = query(answer("FAILED", code="DataInspectionFailed", message="not that"))

        assert isinstance(decision, Fail)
        assert (decision.code, decision.message) == ("DataInspectionFailed", "not that")
        assert decision.task is not None
        assert decision.task.status == "FAILED"

    def test_a_failed_task_without_words_fails_its_job_all_the_same(self) -> None:
        decision = query(answer("FAILED"))

        assert isinstance(decision, Fail)
        assert decision.code
        assert decision.message

    def test_a_task_canceled_behind_our_back_fails_its_job(self) -> None:
        decision = query(answer("CANCELED"))

        assert isinstance(decision, Fail)
        assert decision.code == "upstream_canceled"

    @pytest.mark.parametrize("unknown_for", [None, timedelta(0), UNKNOWN_PATIENCE * 0.99])
    def test_a_task_that_the_upstream_does_not_know_may_still_turn_up(
        self, unknown_for: timedelta | None
    ) -> None:
        decision = query(answer("UNKNOWN"), unknown_for=unknown_for)

        assert isinstance(decision, Flag)
        assert decision.code == "task_unknown"

    def test_a_task_that_stays_unknown_is_lost_and_never_made_again(self) -> None:
        decision = query(answer("UNKNOWN"), unknown_for=UNKNOWN_PATIENCE)

        assert isinstance(decision, Fail)
        assert decision.code == "task_lost"

    def test_an_adopted_task_is_trusted_when_it_answers_what_was_asked(self) -> None:
        task = answer("SUCCEEDED", picture("a"), FAILED_ITEM)

        assert isinstance(query(task, n=2, adopted=True), Collect)

    @pytest.mark.parametrize(
        "results",
        [
            pytest.param([picture("a", "another team's")], id="another prompt"),
            pytest.param([{"url": "https://result.example/a.png"}], id="no prompt at all"),
            pytest.param([picture("a"), picture("b", "x")], id="one of two"),
            pytest.param([picture("a"), picture("b")], id="another number"),
        ],
    )
    def test_an_adopted_task_that_answers_another_request_is_shown_to_nobody(
        self, results: list[dict[str, Any]]
    ) -> None:
        assert isinstance(query(answer("SUCCEEDED", *results), adopted=True), Disown)

    @pytest.mark.parametrize("status", ["FAILED", "CANCELED"])
    def test_the_failure_of_an_adopted_task_says_nothing_of_the_job(self, status: str) -> None:
        assert isinstance(query(answer(status), adopted=True), Disown)

    @pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
    def test_an_adopted_task_that_goes_on_may_still_be_the_jobs(self, status: str) -> None:
        assert query(answer(status), adopted=True) is None

    def test_an_echo_without_the_white_space_around_is_still_the_same_prompt(self) -> None:
        task = answer("SUCCEEDED", picture("a", f" {PROMPT}\n"))

        assert isinstance(query(task, adopted=True), Collect)

    def test_a_task_that_was_handed_to_us_needs_no_proof(self) -> None:
        assert isinstance(query(answer("SUCCEEDED", picture("a", "rewritten"))), Collect)


class TestAfterDisowning:
    DISOWNED = Disown("t-1", "another's")

    def test_nothing_happens_before_the_list_can_be_trusted(self) -> None:
        assert after_disowning(self.DISOWNED, None) is None

    def test_the_job_waits_its_turn_again_when_nothing_else_was_made(self) -> None:
        nothing = Requeue("absent", "not_created", "none")

        assert after_disowning(self.DISOWNED, nothing) == self.DISOWNED

    def test_a_person_decides_when_another_task_may_be_the_jobs(self) -> None:
        decision = after_disowning(self.DISOWNED, Run("t-2", "r-2", adopted=True))

        assert isinstance(decision, Flag)
        assert decision.code == "wrong_task"


class TestAnswersAnother:
    @pytest.mark.parametrize(
        ("task", "is_anothers"),
        [
            (answer("SUCCEEDED", picture("a")), False),
            (answer("SUCCEEDED", picture("a", "make it red")), True),
            (answer("SUCCEEDED", picture("a"), picture("b")), True),
            (answer("SUCCEEDED", {"url": "https://result.example/a.png"}), False),
            (answer("SUCCEEDED", FAILED_ITEM), False),
            (answer("RUNNING"), False),
            (answer("FAILED"), False),
        ],
    )
    def test_only_a_finished_task_tells_whose_it_is(
        self, task: TaskAnswer, is_anothers: bool
    ) -> None:
        assert answers_another(task, asked_prompt=PROMPT, asked_n=1) == is_anothers


class TestAfterList:
    def test_a_single_unattached_task_is_ours_at_once(self) -> None:
        decision = look(listed("t-1"), age=timedelta(seconds=1))

        assert decision == Run("t-1", "request-of-t-1", adopted=True)

    def test_without_one_the_create_may_still_come(self) -> None:
        assert look(age=SETTLE - timedelta(seconds=1)) is None

    def test_without_one_after_the_settle_time_the_job_goes_back_to_the_queue(self) -> None:
        decision = look(age=SETTLE)

        assert isinstance(decision, Requeue)
        assert decision.outcome == "absent"
        assert decision.pause_seconds == decision.delay_seconds == 0

    @pytest.mark.parametrize("age", [SETTLE, timedelta(hours=3), LIST_REACH * 2])
    def test_several_are_for_a_person_to_tell_apart(self, age: timedelta) -> None:
        decision = look(listed("t-1"), listed("t-2"), age=age)

        assert isinstance(decision, Flag)
        assert decision.code == "submission_unknown"
        assert "t-1, t-2" in decision.detail

    def test_a_task_that_another_open_create_may_have_made_is_not_taken_from_it(self) -> None:
        assert look(listed("t-1"), age=timedelta(seconds=1), is_contested=True) is None

        late = look(listed("t-1"), age=SETTLE, is_contested=True)

        assert isinstance(late, Flag)

    def test_a_create_that_the_list_no_longer_reaches_is_never_sent_again(self) -> None:
        decision = look(age=LIST_REACH + timedelta(seconds=1))

        assert isinstance(decision, Flag)
        assert decision.code == "submission_unknown"

    @given(
        st.lists(st.integers(0, 9), unique=True, max_size=3),
        st.timedeltas(timedelta(0), timedelta(days=9)),
        st.booleans(),
    )
    def test_a_job_goes_back_only_when_the_list_has_settled_reaches_back_and_is_empty(
        self, names: list[int], age: timedelta, is_contested: bool
    ) -> None:
        tasks = [listed(f"t-{name}") for name in names]

        decision = look(*tasks, age=age, is_contested=is_contested)

        goes_back = not tasks and SETTLE <= age <= LIST_REACH
        assert isinstance(decision, Requeue) == goes_back
        is_adopted = len(tasks) == 1 and not is_contested
        assert isinstance(decision, Run) == is_adopted
