"""What time alone means for a job (pure): nothing waits in silence.

Each active status has a bound. A job that makes no progress for longer is a person's to look at,
and holds nothing that others need.

| status | bound | then |
|---|---|---|
| queued | its own end | it expires |
| queued, first of its team | `start_within` | attention `not_started` |
| submitting, in doubt | `settle` | its API key may send the next create |
| submitting, in doubt | `review_after` | attention `submission_unknown`, its slot is given back |
| running | `overdue_after` | attention `task_overdue` |
| running | `slot_held_for` | its slot is given back |
| finalizing | the alert levels of `keeping/risk`, and the end of its pictures' URLs | |
"""

from datetime import datetime, timedelta

from app.jobs.core.doubts import REVIEW_CODE
from app.jobs.core.state import Rules, RunState
from app.jobs.lifecycle import Action, Flag, JobStatus, ReleaseLane, Review, Stop

NOT_STARTED_CODE = "not_started"
OVERDUE_CODE = "task_overdue"

REVIEW_GRACE = timedelta(seconds=30)
"""A look at the list knows more of a create in doubt than its age does, and may speak first."""


def after_time(
    run: RunState, now: datetime, *, rules: Rules, is_next: bool = False
) -> tuple[Action, ...]:
    """What is due by now; `is_next`: the job is the first of its team and could start."""
    match run.status:
        case JobStatus.QUEUED:
            return _after_waiting(run, now, is_next)
        case JobStatus.SUBMITTING:
            return _after_doubt(run, now, rules)
        case JobStatus.RUNNING:
            return _after_running(run, now, rules)
    return ()


def _after_waiting(run: RunState, now: datetime, is_next: bool) -> tuple[Action, ...]:
    if now >= run.expires_at:
        return (Stop(JobStatus.EXPIRED),)
    if is_next and run.attention_code is None:
        detail = (
            "the first job of its team was not started for too long: `job explain` with its id "
            "says what it waits for, `account list` how the accounts are"
        )
        return (Flag(NOT_STARTED_CODE, detail),)
    return ()


def _after_doubt(run: RunState, now: datetime, rules: Rules) -> tuple[Action, ...]:
    if run.is_awaited or run.intended_at is None:
        return ()
    age = now - run.intended_at
    if age >= rules.review_after + REVIEW_GRACE and run.holds_slot:
        detail = (
            "no list of the upstream has told whether this create made a task: `account list` "
            "shows whether the account can be asked; look in the upstream's own console, then "
            "type `job requeue` with this job's id"
        )
        return (Review(REVIEW_CODE, detail),)
    if age >= rules.settle and run.holds_lane:
        return (ReleaseLane(),)
    return ()


def _after_running(run: RunState, now: datetime, rules: Rules) -> tuple[Action, ...]:
    assert run.intended_at is not None
    age = now - run.intended_at
    is_too_long = age >= rules.slot_held_for and run.holds_slot
    if not is_too_long and (age < rules.overdue_after or run.attention_code is not None):
        return ()
    detail = (
        f"no answer of the upstream has told the end of task {run.task_id} for "
        f"{round(age.total_seconds() / 60)} minutes: `job explain` with this job's id shows what "
        "was heard; `job requeue` gives the task up"
    )
    code = run.attention_code or OVERDUE_CODE
    return (Review(code, detail),) if is_too_long else (Flag(code, detail),)
