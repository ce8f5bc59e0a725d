"""What follows from what the upstream says of a job's task: the table of the engine's core."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.dashscope.payloads import TaskAnswer
from app.jobs.core.content import match_content
from app.jobs.core.state import (
    Match,
    RunState,
)
from app.jobs.core.tasks import UNKNOWN_CODE
from app.jobs.lifecycle import (
    Collect,
    Disown,
    Fail,
    Flag,
    Orphan,
    Requeue,
    Review,
    Unflag,
)
from tests.jobs.news import (
    ADOPTED,
    FAILED_ITEM,
    NOON,
    PROMPT,
    RULES,
    RUNNING,
    SECOND,
    answer,
    picture,
    query,
)


class TestTasks:
    @pytest.mark.parametrize("status", ["PENDING", "RUNNING", "SUSPENDED"])
    @pytest.mark.parametrize("run", [RUNNING, ADOPTED], ids=["accepted", "adopted"])
    def test_a_task_that_goes_on_decides_nothing(self, status: str, run: RunState) -> None:
        assert query(answer(status), run) == ()

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

        (decision,) = query(task, replace(RUNNING, n=3))

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
        (decision,) = query(answer("SUCCEEDED", picture("a"), picture("b")))

        assert isinstance(decision, Collect)
        assert [p.index for p in decision.pictures] == [0]
        assert decision.task.image_count == 2

    def test_a_success_without_pictures_is_a_failure(self) -> None:
        for task in (answer("SUCCEEDED"), answer("SUCCEEDED", FAILED_ITEM)):
            (decision,) = query(task)
            assert isinstance(decision, Fail)
            assert decision.task is not None

    def test_a_task_that_failed_for_its_requests_sake_fails_its_job_in_the_upstreams_words(
        self,
    ) -> None:
        (decision,) = query(answer("FAILED", code="DataInspectionFailed", message="not that"))

        assert isinstance(decision, Fail)
        assert (decision.code, decision.message) == ("DataInspectionFailed", "not that")
        assert decision.task is not None
        assert decision.task.status == "FAILED"

    def test_a_task_that_failed_by_chance_is_tried_again_within_the_jobs_limit(self) -> None:
        task = answer("FAILED", code="InternalError")
        tries = [
            query(task, replace(RUNNING, task_failures=failures))[0]
            for failures in range(RULES.retries + 1)
        ]

        *again, last = tries
        assert [one.delay_seconds for one in again if isinstance(one, Requeue)] == [2.0, 4.0]
        assert all(isinstance(one, Requeue) and one.is_failure and one.task for one in again)
        assert isinstance(last, Fail)

    def test_a_failed_task_without_words_is_taken_for_the_upstreams_trouble(self) -> None:
        (decision,) = query(answer("FAILED"))

        assert isinstance(decision, Requeue)
        assert (decision.outcome, decision.code) == ("accepted", "InternalError")

    def test_a_task_canceled_behind_our_back_fails_its_job(self) -> None:
        (decision,) = query(answer("CANCELED"))

        assert isinstance(decision, Fail)
        assert decision.code == "upstream_canceled"

    def test_an_answer_about_another_task_than_the_jobs_is_stale(self) -> None:
        """The job has adopted another one since that task was asked for."""
        task = answer("SUCCEEDED", picture("a"), task_id="t-2")

        assert query(task) == query(task, ADOPTED) == ()


class TestUnknownTasks:
    DENIED = replace(RUNNING, attention_code=UNKNOWN_CODE, attention_since=NOON)
    REVIEWED = replace(DENIED, holds_slot=False)

    def test_a_task_that_the_upstream_does_not_know_is_flagged_at_once(self) -> None:
        (decision,) = query(answer("UNKNOWN"))

        assert isinstance(decision, Flag)
        assert decision.code == UNKNOWN_CODE

    def test_it_may_turn_up_again_and_keeps_its_slot_for_a_while(self) -> None:
        almost = RULES.unknown_patience - SECOND

        assert query(answer("UNKNOWN"), self.DENIED, later=almost) == ()
        for status in ("PENDING", "RUNNING"):
            assert query(answer(status), self.DENIED, later=almost) == (Unflag(),)

    def test_then_its_slot_is_given_back_and_it_is_asked_on(self) -> None:
        (decision,) = query(answer("UNKNOWN"), self.DENIED, later=RULES.unknown_patience)
        assert isinstance(decision, Review)
        assert decision.code == UNKNOWN_CODE

        again = query(answer("UNKNOWN"), self.REVIEWED, later=RULES.unknown_patience + SECOND)
        assert again == ()

    def test_a_run_without_a_slot_stays_flagged_until_its_task_ends(self) -> None:
        assert query(answer("RUNNING"), self.REVIEWED) == ()
        (decision,) = query(answer("SUCCEEDED", picture("a")), self.REVIEWED)
        assert isinstance(decision, Collect)

    @pytest.mark.parametrize(("run", "is_ours"), [(REVIEWED, True), (REVIEWED, False)])
    def test_in_the_end_it_is_lost_watched_and_never_made_again(
        self, run: RunState, is_ours: bool
    ) -> None:
        denied = replace(run, is_adopted=not is_ours)

        actions = query(answer("UNKNOWN"), denied, later=RULES.lost_after)

        fail, orphan = actions
        assert isinstance(fail, Fail)
        assert fail.code == "task_lost"
        assert isinstance(orphan, Orphan)
        assert (orphan.task_id, orphan.is_ours) == ("t-1", is_ours)

    def test_it_is_not_lost_as_long_as_the_list_tells_of_it(self) -> None:
        later = RULES.lost_after * 3

        assert query(answer("UNKNOWN"), self.REVIEWED, later=later, is_listed=True) == ()


class TestAdopted:
    def test_a_task_is_trusted_when_it_answers_what_was_asked(self) -> None:
        task = answer("SUCCEEDED", picture("a"), FAILED_ITEM)

        (decision,) = query(task, replace(ADOPTED, n=2))

        assert isinstance(decision, Collect)

    @pytest.mark.parametrize(
        "results",
        [
            pytest.param([picture("a", "another team's")], id="another prompt"),
            pytest.param([{"url": "https://result.example/a.png"}], id="no prompt at all"),
            pytest.param([picture("a"), picture("b", "x")], id="one of two"),
            pytest.param([picture("a"), picture("b")], id="another number"),
        ],
    )
    def test_a_task_that_answers_another_request_is_shown_to_nobody(
        self, results: list[dict[str, Any]]
    ) -> None:
        (decision,) = query(answer("SUCCEEDED", *results), ADOPTED)

        assert isinstance(decision, Disown)
        assert decision.task_id == "t-1"

    @pytest.mark.parametrize("status", ["FAILED", "CANCELED"])
    def test_its_failure_says_nothing_of_the_job(self, status: str) -> None:
        (decision,) = query(answer(status), replace(ADOPTED, is_cancel_asked=True))

        assert isinstance(decision, Disown)

    def test_an_echo_without_the_white_space_around_is_still_the_same_prompt(self) -> None:
        (decision,) = query(answer("SUCCEEDED", picture("a", f" {PROMPT}\n")), ADOPTED)

        assert isinstance(decision, Collect)

    def test_a_task_that_was_handed_to_us_needs_no_proof(self) -> None:
        (decision,) = query(answer("SUCCEEDED", picture("a", "rewritten")))

        assert isinstance(decision, Collect)


@pytest.mark.parametrize(
    ("task", "match"),
    [
        (answer("SUCCEEDED", picture("a")), Match.SAME),
        (answer("SUCCEEDED", picture("a", "make it red")), Match.OTHER),
        (answer("SUCCEEDED", picture("a"), picture("b")), Match.UNCLEAR),
        (answer("SUCCEEDED", {"url": "https://result.example/a.png"}), Match.UNCLEAR),
        (answer("SUCCEEDED", FAILED_ITEM), Match.OTHER),
        (answer("PENDING"), Match.UNSEEN),
        (answer("RUNNING"), Match.UNSEEN),
        (answer("UNKNOWN"), Match.UNSEEN),
        (answer("FAILED"), Match.NOTHING),
        (answer("CANCELED"), Match.NOTHING),
    ],
)
def test_only_a_finished_task_tells_whose_it_is(task: TaskAnswer, match: Match) -> None:
    assert match_content(task, prompt=PROMPT, n=1) is match
