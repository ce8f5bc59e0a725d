"""What a decision makes of a job's state (pure): what `record` writes, said in one page.

The simulation runs on this; a test holds `record` to it.
"""

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from app.jobs.core.state import RunState
from app.jobs.lifecycle import (
    Collect,
    Decision,
    Disown,
    Doubt,
    Fail,
    Flag,
    JobStatus,
    NoteCancel,
    NoteUnlisted,
    Orphan,
    ReleaseLane,
    Requeue,
    Review,
    Run,
    Stop,
    Unflag,
)


def advance(run: RunState, decision: Decision, now: datetime) -> RunState | None:
    """The state after a decision; None when the job has ended."""
    match decision:
        case Fail() | Stop():
            return None
        case Run() | Requeue() | Disown() | Collect():
            return _move(run, decision)
        case Flag() | Unflag() | Review():
            return _turn_flag(run, decision, now)
        case _:
            return _note(run, decision)


def _move(run: RunState, decision: Run | Requeue | Disown | Collect) -> RunState:
    match decision:
        case Run(task_id=task_id, adopted=adopted):
            started = replace(
                run,
                status=JobStatus.RUNNING,
                task_id=task_id,
                is_adopted=adopted,
                is_awaited=False,
                holds_lane=False,
            )
            return _unflag(started) if run.holds_slot else started
        case Requeue(outcome=outcome, is_failure=is_failure):
            return replace(
                run if decision.keeps_attention else _unflag(run),
                status=JobStatus.QUEUED,
                task_id=None,
                is_adopted=False,
                is_awaited=False,
                is_restored=False,
                holds_lane=False,
                holds_slot=False,
                task_failures=run.task_failures + is_failure,
                fruitless_tries=run.fruitless_tries + (outcome == "absent"),
                refusals=run.refusals + (outcome == "refused"),
            )
        case Disown():
            return replace(
                run,
                status=JobStatus.SUBMITTING,
                task_id=None,
                is_adopted=False,
                holds_lane=False,
                unlisted_at=None,
            )
        case Collect():
            return replace(_unflag(run), status=JobStatus.FINALIZING, holds_slot=False)
    assert_never(decision)


def _note(
    run: RunState, decision: NoteCancel | NoteUnlisted | ReleaseLane | Doubt | Orphan
) -> RunState:
    match decision:
        case NoteCancel():
            return replace(run, is_cancel_asked=True)
        case NoteUnlisted(looked_at):
            return replace(run, unlisted_at=looked_at)
        case ReleaseLane():
            return replace(run, holds_lane=False)
        case Doubt():
            return replace(run, is_awaited=False)
        case Orphan():
            return run
    assert_never(decision)


def _turn_flag(run: RunState, decision: Flag | Unflag | Review, now: datetime) -> RunState:
    if isinstance(decision, Unflag):
        return _unflag(run) if run.holds_slot else run
    flagged = _flag(run, decision.code, now)
    if isinstance(decision, Review):
        return replace(flagged, holds_lane=False, holds_slot=False, is_awaited=False)
    return flagged


def _flag(run: RunState, code: str, now: datetime) -> RunState:
    if run.attention_code == code:
        return run
    return replace(run, attention_code=code, attention_since=now)


def _unflag(run: RunState) -> RunState:
    return replace(run, attention_code=None, attention_since=None)
