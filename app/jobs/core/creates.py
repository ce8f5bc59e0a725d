"""What a create's outcome means for its job (pure)."""

from typing import assert_never

from app.dashscope.errors import Remedy, find_policy
from app.dashscope.outcomes import Accepted, CreateOutcome, NotSent, OutcomeUnknown, Refused
from app.jobs.core.state import Dice, Rules, RunState, Unprepared
from app.jobs.lifecycle import Decision, Doubt, Fail, Requeue, Run

FIRST_DELAY_SECONDS = 2.0
LONGEST_DELAY_SECONDS = 60.0


def after_create(run: RunState, outcome: CreateOutcome | Unprepared, *, rules: Rules) -> Decision:
    """What becomes of a job by the outcome of its create.

    What holds up the whole account is the account's news, not the job's: the job then waits its
    turn without a delay of its own.
    """
    match outcome:
        case Accepted(task_id, request_id):
            return Run(task_id, request_id)
        case Refused():
            return _after_refusal(run, outcome, rules)
        case NotSent(reason):
            return Requeue("absent", "not_sent", reason)
        case Unprepared(reason, is_input_lost=True):
            return Fail("input_lost", reason, outcome="absent")
        case Unprepared(reason):
            delay_seconds = back_off(run.attempt, rules.dice)
            return Requeue("absent", "not_prepared", reason, delay_seconds=delay_seconds)
        case OutcomeUnknown(reason, http_status):
            return Doubt(reason, http_status)
    assert_never(outcome)


def back_off(tries: int, dice: Dice) -> float:
    """Seconds before another try: doubled each time, capped, and spread by a quarter."""
    doublings = min(max(tries - 1, 0), 10)
    capped = min(FIRST_DELAY_SECONDS * 2.0**doublings, LONGEST_DELAY_SECONDS)
    return capped * (0.75 + 0.5 * dice())


def _after_refusal(run: RunState, refused: Refused, rules: Rules) -> Decision:
    policy = find_policy(refused.code, refused.http_status, refused.message)
    is_accounts = policy.remedy in (Remedy.WAIT, Remedy.BAR)
    if is_accounts or policy.allows_retry(run.task_failures + 1, rules.retries):
        return Requeue(
            "refused",
            refused.code,
            refused.message,
            delay_seconds=0.0 if is_accounts else back_off(run.task_failures + 1, rules.dice),
            http_status=refused.http_status,
            request_id=refused.request_id or None,
            is_failure=not is_accounts,
        )
    return Fail(refused.code, refused.message, refused.http_status, refused.request_id or None)
