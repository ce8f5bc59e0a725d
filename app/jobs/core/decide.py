"""The engine's one rule: a job's state, a piece of news and the time give what is to be done."""

from datetime import datetime
from typing import assert_never

from app.dashscope.outcomes import Accepted
from app.dashscope.payloads import TaskStatus
from app.jobs.core.creates import after_create
from app.jobs.core.deadlines import OVERDUE_CODE, after_time
from app.jobs.core.doubts import REVIEW_CODE, after_list
from app.jobs.core.restored import hold_restored
from app.jobs.core.state import (
    Answered,
    CancelAsked,
    Created,
    Event,
    Listed,
    RequeueAsked,
    Rules,
    RunState,
    Spotted,
    Ticked,
)
from app.jobs.core.tasks import UNKNOWN_CODE, after_answer, after_return
from app.jobs.lifecycle import (
    Action,
    CancelTask,
    Disown,
    Flag,
    JobStatus,
    NoteCancel,
    Orphan,
    Requeue,
    Run,
    Stop,
)

GIVEN_UP_IN_DOUBT = frozenset({REVIEW_CODE, "answer_unwritable", UNKNOWN_CODE, OVERDUE_CODE})
"""What a person is called for while it is unknown whether a create made a task; or was, before the
task that was adopted for it proved to be another's."""


def decide(
    run: RunState | None, event: Event, now: datetime, *, rules: Rules
) -> tuple[Action, ...]:
    """What is to be done about a job at a piece of news; nothing when the news is stale.

    A job that has ended, or an attempt that is over, is told by no state (`None`) or another
    attempt's number: all that its late news can still mean is a task too many.
    """
    if run is None or not _concerns(run, event):
        return _after_stale_news(run, event)
    actions: tuple[Action, ...]
    match event:
        case Created(outcome=outcome, verdict=verdict):
            actions = after_create(run, outcome, verdict, rules=rules)
        case Listed():
            actions = after_list(run, event, now, rules=rules)
        case Answered():
            actions = after_answer(run, event, now, rules=rules)
        case Spotted():
            actions = _after_sight(run, event)
        case CancelAsked() | RequeueAsked():
            actions = _after_wish(run, event)
        case Ticked(is_next=is_next):
            actions = after_time(run, now, rules=rules, is_next=is_next)
        case _:
            assert_never(event)
    return _restrain(run, event, actions, now)


def _restrain(
    run: RunState, event: Event, actions: tuple[Action, ...], now: datetime
) -> tuple[Action, ...]:
    """Not every job goes back into the queue, whatever its attempt has met."""
    if run.is_cancel_asked:
        return _heed_cancel(actions)
    if run.is_restored and not isinstance(event, RequeueAsked):
        return hold_restored(run, actions, now)
    return actions


def _concerns(run: RunState, event: Event) -> bool:
    match event:
        case Created(attempt=attempt) | Listed(attempt=attempt):
            return run.status is JobStatus.SUBMITTING and attempt == run.attempt
        case Answered(attempt=attempt, answer=answer):
            is_its_task = answer.output.task_id == run.task_id
            return run.status is JobStatus.RUNNING and attempt == run.attempt and is_its_task
        case Spotted(attempt=attempt):
            return run.status is JobStatus.RUNNING and attempt == run.attempt
    return True


def _after_stale_news(run: RunState | None, event: Event) -> tuple[Action, ...]:
    match event:
        case Created(outcome=Accepted(task_id, request_id)) if (
            run is not None and run.task_id is not None and _is_guess(run, event)
        ):
            if task_id == run.task_id:
                return ()
            guessed = Disown(run.task_id, "its create has answered with another")
            return (guessed, Run(task_id, request_id))
        case Created(outcome=Accepted(task_id)) if run is None or run.task_id != task_id:
            return (Orphan(task_id, "its create was given up before it answered", is_ours=True),)
    return ()


def _is_guess(run: RunState, event: Created) -> bool:
    """Whether the attempt goes on with a task that was found for it."""
    is_running = run.status is JobStatus.RUNNING and run.is_adopted
    return is_running and run.attempt == event.attempt


def _heed_cancel(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """A job that is to stop does not go back into the queue, and nobody need look at it there."""
    for action in actions:
        if isinstance(action, Requeue):
            others = tuple(one for one in actions if not isinstance(one, Requeue | Flag))
            return (Stop(JobStatus.CANCELED, instead_of=action), *others)
    return actions


def _after_sight(run: RunState, sight: Spotted) -> tuple[Action, ...]:
    assert run.task_id is not None
    if run.is_cancel_asked and sight.status is TaskStatus.PENDING and not run.is_adopted:
        return (CancelTask(run.task_id),)
    return after_return(run)


def _after_wish(run: RunState, wish: CancelAsked | RequeueAsked) -> tuple[Action, ...]:
    """A picture that the upstream has made is paid for, and nobody's wish loses it."""
    if isinstance(wish, RequeueAsked):
        return _after_requeue_asked(run, wish)
    if run.status is JobStatus.QUEUED:
        return (Stop(JobStatus.CANCELED),)
    is_upstream = run.status in (JobStatus.SUBMITTING, JobStatus.RUNNING)
    is_news = is_upstream and not run.is_cancel_asked and not wish.only_queued
    return (NoteCancel(),) if is_news else ()


def _after_requeue_asked(run: RunState, asked: RequeueAsked) -> tuple[Action, ...]:
    """Only what a person was called to look at is given up on a person's word.

    A create that may still be under way is not, whatever the job was flagged for before.
    """
    if run.attention_code is None:
        return ()
    match run.status:
        case JobStatus.SUBMITTING if run.attention_code not in GIVEN_UP_IN_DOUBT or run.is_awaited:
            return ()
        case JobStatus.SUBMITTING:
            return (Requeue("absent", "given_up", asked.reason),)
        case JobStatus.RUNNING:
            assert run.task_id is not None
            lost = Orphan(run.task_id, "given up by a person", is_ours=not run.is_adopted)
            return (Requeue("accepted", "given_up", asked.reason), lost)
    return ()
