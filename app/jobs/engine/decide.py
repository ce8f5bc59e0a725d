"""What follows from an answer of the upstream (pure): outcomes in, decisions out."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import assert_never

from app.dashscope.client import Accepted, CreateOutcome, NotSent, OutcomeUnknown, Refused
from app.dashscope.errors import MAX_RETRY_AFTER_SECONDS, Reaction, react_to
from app.dashscope.payloads import ListedTask, TaskAnswer, TaskStatus
from app.jobs.lifecycle import (
    Collect,
    Decision,
    Doubt,
    Fail,
    Flag,
    Requeue,
    Run,
    TaskFacts,
    UpstreamPicture,
)

SUSPENSION_SECONDS = 60.0
THROTTLE_SECONDS = 2.0
NO_CONNECTION_SECONDS = 2.0


def after_create(outcome: CreateOutcome) -> Decision:
    """What a create's outcome means for its job."""
    match outcome:
        case Accepted(task_id, request_id):
            return Run(task_id, request_id)
        case Refused():
            return _after_refusal(outcome)
        case NotSent(reason):
            return Requeue("absent", "not_sent", reason, NO_CONNECTION_SECONDS)
        case OutcomeUnknown(reason, http_status):
            return Doubt(reason, http_status)
    assert_never(outcome)


def after_query(answer: TaskAnswer, *, asked_prompt: str, adopted: bool) -> Decision | None:
    """What a task's state means for its job; None while it goes on.

    A task that was found in the list rather than handed to us is trusted only once its prompt
    is the one that was asked: nobody may ever see another team's picture.
    """
    output = answer.output
    facts = TaskFacts(
        status=output.task_status,
        submitted_at=output.submit_time,
        scheduled_at=output.scheduled_time,
        ended_at=output.end_time,
        image_count=answer.usage.image_count if answer.usage else 0,
    )
    match output.task_status:
        case TaskStatus.PENDING | TaskStatus.RUNNING:
            return None
        case TaskStatus.SUCCEEDED:
            if adopted and not _prompt_matches(answer, asked_prompt):
                return Flag("wrong_task", "the adopted task answers another prompt")
            return _after_success(answer, facts)
        case TaskStatus.FAILED:
            code = output.code or "InternalError"
            return Fail(code, output.message or "the upstream gave no reason", task=facts)
        case TaskStatus.CANCELED:
            return Fail("upstream_canceled", "the task was canceled at the upstream", task=facts)
        case TaskStatus.UNKNOWN:
            return Flag("task_unknown", "the upstream does not know the task it accepted")
    assert_never(output.task_status)


def after_list(
    candidates: Sequence[ListedTask], *, intended_at: datetime, now: datetime, settle: timedelta
) -> Decision | None:
    """What the account's unattached tasks mean for a create in doubt; None: ask again later.

    One lane sends one create at a time, so a single unattached task of the window is ours. None
    may still be on its way until `settle` has passed since the intent.
    """
    if len(candidates) == 1:
        return Run(candidates[0].task_id, candidates[0].request_id, adopted=True)
    if candidates:
        listed = ", ".join(task.task_id for task in candidates)
        return Flag("submission_unknown", f"several tasks may be this job's: {listed}")
    if now - intended_at < settle:
        return None
    return Requeue("absent", "not_created", "the upstream lists no task of this create", 0)


def _after_refusal(refused: Refused) -> Decision:
    reaction = react_to(refused.http_status, refused.code)
    match reaction:
        case Reaction.FAIL:
            return Fail(
                refused.code, refused.message, refused.http_status, refused.request_id or None
            )
        case Reaction.WAIT:
            asked = refused.retry_after_seconds or THROTTLE_SECONDS
            return _requeue(refused, min(asked, MAX_RETRY_AFTER_SECONDS))
        case Reaction.SUSPEND:
            return _requeue(refused, SUSPENSION_SECONDS)
    assert_never(reaction)


def _requeue(refused: Refused, pause_seconds: float) -> Requeue:
    return Requeue(
        "refused",
        refused.code,
        refused.message,
        pause_seconds,
        refused.http_status,
        refused.request_id or None,
    )


def _after_success(answer: TaskAnswer, facts: TaskFacts) -> Decision:
    pictures = tuple(
        UpstreamPicture(
            index=index,
            url=item.url or None,
            actual_prompt=item.actual_prompt,
            error_code=None if item.url else item.code or "InternalError",
            error_message=None if item.url else item.message or "the upstream gave no reason",
        )
        for index, item in enumerate(answer.output.results)
    )
    if not any(picture.url for picture in pictures):
        return Fail("InternalError", "the task succeeded without any picture", task=facts)
    return Collect(facts, pictures)


def _prompt_matches(answer: TaskAnswer, asked_prompt: str) -> bool:
    echoed = [item.orig_prompt for item in answer.output.results if item.orig_prompt is not None]
    return bool(echoed) and all(prompt == asked_prompt for prompt in echoed)
