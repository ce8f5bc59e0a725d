"""What follows from an answer of the upstream (pure): outcomes in, decisions out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from app.dashscope.client import Accepted, CreateOutcome, NotSent, OutcomeUnknown, Refused
from app.dashscope.errors import MAX_RETRY_AFTER_SECONDS, Reaction, react_to
from app.dashscope.payloads import ListedTask, TaskAnswer, TaskStatus
from app.jobs.lifecycle import (
    UPSTREAM_MEMORY,
    Collect,
    Decision,
    Disown,
    Doubt,
    Fail,
    Flag,
    Requeue,
    Run,
    TaskFacts,
    UpstreamPicture,
)

SUSPENSION_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
UNKNOWN_PATIENCE = timedelta(minutes=2)
"""How long an accepted task may be unknown to the upstream before it is given up."""
LIST_REACH = UPSTREAM_MEMORY - timedelta(minutes=10)
"""How far back the upstream's list is sure to tell of every task."""


@dataclass(frozen=True, slots=True)
class Unprepared:
    """The create was not sent for the job's own sake: its inputs could not be brought along."""

    reason: str
    is_input_lost: bool = False


def after_create(outcome: CreateOutcome | Unprepared, *, attempt: int) -> Decision:
    """What a create's outcome means for its job, on its nth attempt."""
    match outcome:
        case Accepted(task_id, request_id):
            return Run(task_id, request_id)
        case Refused():
            return _after_refusal(outcome, attempt)
        case NotSent(reason):
            return Requeue("absent", "not_sent", reason, pause_seconds=_back_off(attempt))
        case Unprepared(reason, is_input_lost=True):
            return Fail("input_lost", reason, outcome="absent")
        case Unprepared(reason):
            return Requeue("absent", "not_prepared", reason, delay_seconds=_back_off(attempt))
        case OutcomeUnknown(reason, http_status):
            return Doubt(reason, http_status)
    assert_never(outcome)


def after_query(
    answer: TaskAnswer,
    *,
    asked_prompt: str,
    asked_n: int,
    adopted: bool,
    unknown_for: timedelta | None = None,
) -> Decision | None:
    """What a task's state means for its job; None while it goes on.

    A task that was found in the list rather than handed to us is trusted only once its prompt
    and its number of pictures are those that were asked: nobody may ever see another team's
    picture. Nor does its failure say anything about this job.
    """
    output = answer.output
    facts = TaskFacts(
        status=output.task_status,
        submitted_at=output.submit_time,
        scheduled_at=output.scheduled_time,
        ended_at=output.end_time,
        image_count=answer.usage.image_count if answer.usage else 0,
    )
    if adopted and not _may_be_asked_for(answer, asked_prompt, asked_n):
        return Disown(output.task_id, "the adopted task is not known to be this job's")
    match output.task_status:
        case TaskStatus.PENDING | TaskStatus.RUNNING:
            return None
        case TaskStatus.SUCCEEDED:
            return _after_success(answer, facts, asked_n)
        case TaskStatus.FAILED:
            code = output.code or "InternalError"
            return Fail(code, output.message or "the upstream gave no reason", task=facts)
        case TaskStatus.CANCELED:
            return Fail("upstream_canceled", "the task was canceled at the upstream", task=facts)
        case TaskStatus.UNKNOWN:
            return _after_unknown(facts, unknown_for)
    assert_never(output.task_status)


def after_list(
    candidates: Sequence[ListedTask],
    *,
    is_contested: bool,
    age: timedelta,
    settle: timedelta,
) -> Decision | None:
    """What the account's unattached tasks mean for a create in doubt; None: ask again later.

    One lane sends one create at a time, so a single unattached task of the window is ours,
    unless a create of another lane is open too and contests it. Nothing is known of a create
    that is younger than `settle`, or older than the list reaches back.
    """
    if len(candidates) == 1 and not is_contested:
        return Run(candidates[0].task_id, candidates[0].request_id, adopted=True)
    if age < settle:
        return None
    if candidates:
        listed = ", ".join(task.task_id for task in candidates)
        return Flag("submission_unknown", f"these tasks may be this job's: {listed}")
    if age > LIST_REACH:
        return Flag("submission_unknown", "the upstream's list no longer tells of this create")
    return Requeue("absent", "not_created", "the upstream lists no task of this create")


def after_disowning(disowned: Disown, rest: Decision | None) -> Decision | None:
    """What becomes of a job whose adopted task was another's, by what the list shows without it.

    None: the list cannot be trusted yet. A person decides when another task may be the job's.
    """
    match rest:
        case None:
            return None
        case Requeue():
            return disowned
    return Flag("wrong_task", disowned.reason)


def _back_off(attempt: int) -> float:
    doublings = min(attempt - 1, 10)
    return min(FIRST_PAUSE_SECONDS * 2.0**doublings, LONGEST_PAUSE_SECONDS)


def _after_refusal(refused: Refused, attempt: int) -> Decision:
    reaction = react_to(refused.http_status, refused.code)
    match reaction:
        case Reaction.FAIL:
            return Fail(
                refused.code, refused.message, refused.http_status, refused.request_id or None
            )
        case Reaction.WAIT:
            asked = refused.retry_after_seconds or _back_off(attempt)
            return _requeue(refused, min(asked, MAX_RETRY_AFTER_SECONDS))
        case Reaction.SUSPEND:
            return _requeue(refused, SUSPENSION_SECONDS)
    assert_never(reaction)


def _requeue(refused: Refused, pause_seconds: float) -> Requeue:
    return Requeue(
        "refused",
        refused.code,
        refused.message,
        pause_seconds=pause_seconds,
        http_status=refused.http_status,
        request_id=refused.request_id or None,
    )


def _after_success(answer: TaskAnswer, facts: TaskFacts, asked_n: int) -> Decision:
    pictures = tuple(
        UpstreamPicture(
            index=index,
            url=item.url or None,
            actual_prompt=item.actual_prompt,
            error_code=None if item.url else item.code or "InternalError",
            error_message=None if item.url else item.message or "the upstream gave no reason",
        )
        for index, item in enumerate(answer.output.results[:asked_n])
    )
    if not any(picture.url for picture in pictures):
        return Fail("InternalError", "the task succeeded without any picture", task=facts)
    return Collect(facts, pictures)


def _after_unknown(facts: TaskFacts, unknown_for: timedelta | None) -> Decision:
    if unknown_for is None or unknown_for < UNKNOWN_PATIENCE:
        return Flag("task_unknown", "the upstream does not know the task it accepted")
    return Fail("task_lost", "the upstream has lost the task it accepted", task=facts)


def answers_another(answer: TaskAnswer, *, asked_prompt: str, asked_n: int) -> bool:
    """Whether a succeeded task is certain to have been made by another request than that."""
    if answer.output.task_status is not TaskStatus.SUCCEEDED:
        return False
    results = answer.output.results
    return len(results) != asked_n or not _echoed(answer) <= {_fold(asked_prompt)}


def _may_be_asked_for(answer: TaskAnswer, asked_prompt: str, asked_n: int) -> bool:
    """Whether a task found in the list may still be, or is proven to be, this request's."""
    status = answer.output.task_status
    if status is not TaskStatus.SUCCEEDED:
        return status not in (TaskStatus.FAILED, TaskStatus.CANCELED)
    results = answer.output.results
    return _echoed(answer) == {_fold(asked_prompt)} and len(results) == asked_n


def _echoed(answer: TaskAnswer) -> set[str]:
    prompts = (item.orig_prompt for item in answer.output.results)
    return {_fold(prompt) for prompt in prompts if prompt is not None}


def _fold(prompt: str) -> str:
    """White space aside: to take a trimmed echo for another's would pay for the job twice."""
    return " ".join(prompt.split())
