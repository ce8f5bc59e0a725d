"""What the upstream's word on a job's task means for the job (pure)."""

from datetime import datetime
from typing import assert_never

from app.dashscope.errors import find_policy
from app.dashscope.payloads import TaskAnswer, TaskStatus
from app.jobs.core.content import match_content
from app.jobs.core.creates import back_off
from app.jobs.core.state import Answered, Match, Rules, RunState
from app.jobs.lifecycle import (
    Action,
    Collect,
    Disown,
    Fail,
    Flag,
    JobStatus,
    Orphan,
    Requeue,
    Review,
    Stop,
    TaskFacts,
    Unflag,
    UpstreamPicture,
)

UNKNOWN_CODE = "task_unknown"


def after_answer(
    run: RunState, news: Answered, now: datetime, *, rules: Rules
) -> tuple[Action, ...]:
    """What becomes of a running job by its task's state.

    A task that was found in the list rather than handed to us is trusted only once its prompt
    and its number of pictures are those that were asked. Nor does its failure say anything
    about this job.
    """
    answer = news.answer
    status = answer.output.task_status
    if status is TaskStatus.UNKNOWN:
        return _after_unknown(run, news, now, rules)
    if run.is_adopted:
        match = match_content(answer, prompt=run.prompt, n=run.n)
        if match in (Match.UNCLEAR, Match.OTHER, Match.NOTHING):
            reason = "the task that was found is not known to be this job's"
            unclaimed = answer.image_count if match is Match.UNCLEAR else 0
            return (Disown(answer.output.task_id, reason, unclaimed),)
    match status:
        case TaskStatus.PENDING | TaskStatus.RUNNING:
            return after_return(run)
        case TaskStatus.SUCCEEDED:
            return (_after_success(run, answer),)
        case TaskStatus.FAILED:
            return (_after_failure(run, answer, rules),)
        case TaskStatus.CANCELED:
            return (_after_cancel(run, answer),)
    assert_never(status)


def after_return(run: RunState) -> tuple[Action, ...]:
    """The upstream knows the task again; a run that lost its slot stays flagged to its end."""
    return (Unflag(),) if run.attention_code == UNKNOWN_CODE and run.holds_slot else ()


def _after_success(run: RunState, answer: TaskAnswer) -> Action:
    pictures = tuple(
        UpstreamPicture(
            index=index,
            url=item.url or None,
            actual_prompt=item.actual_prompt,
            error_code=None if item.url else item.code or "InternalError",
            error_message=None if item.url else item.message or "the upstream gave no reason",
        )
        for index, item in enumerate(answer.output.results[: run.n])
    )
    if not any(picture.url for picture in pictures):
        message = "the task succeeded without any picture"
        return Fail("InternalError", message, task=_facts(answer))
    return Collect(_facts(answer), pictures)


def _after_failure(run: RunState, answer: TaskAnswer, rules: Rules) -> Action:
    """A failed task was not billed: another may be tried where the fault was the upstream's."""
    code = answer.output.code or "InternalError"
    message = answer.output.message or "the upstream gave no reason"
    facts = _facts(answer)
    if run.is_cancel_asked:
        return Stop(JobStatus.CANCELED, task=facts)
    failures = run.task_failures + 1
    if not find_policy(code, message=message).allows_retry(failures, rules.retries):
        return Fail(code, message, task=facts)
    return Requeue(
        "accepted",
        code,
        message,
        delay_seconds=back_off(failures, rules.dice),
        task=facts,
        is_failure=True,
    )


def _after_cancel(run: RunState, answer: TaskAnswer) -> Action:
    if run.is_cancel_asked:
        return Stop(JobStatus.CANCELED, task=_facts(answer))
    reason = "the task was canceled at the upstream, and not by this gateway"
    return Fail("upstream_canceled", reason, task=_facts(answer))


def _after_unknown(
    run: RunState, news: Answered, now: datetime, rules: Rules
) -> tuple[Action, ...]:
    """The upstream denies a task that it took: it is asked on, without its slot in the end."""
    if run.attention_code != UNKNOWN_CODE or run.attention_since is None:
        return (Flag(UNKNOWN_CODE, "the upstream does not know the task it accepted"),)
    denied_for = now - run.attention_since
    task_id = news.answer.output.task_id
    if denied_for >= rules.lost_after and not news.is_listed:
        reason = "the upstream has lost the task it accepted"
        return (
            Fail("task_lost", reason, task=_facts(news.answer)),
            Orphan(task_id, reason, is_ours=not run.is_adopted),
        )
    if denied_for >= rules.unknown_patience and run.holds_slot:
        return (Review(UNKNOWN_CODE, "the upstream still does not know the task it accepted"),)
    return ()


def _facts(answer: TaskAnswer) -> TaskFacts:
    output = answer.output
    return TaskFacts(
        status=output.task_status,
        submitted_at=output.submit_time,
        scheduled_at=output.scheduled_time,
        ended_at=output.end_time,
        # Of a task that the upstream does not know, nothing is known; it is watched on.
        image_count=0 if output.task_status is TaskStatus.UNKNOWN else answer.image_count,
    )
