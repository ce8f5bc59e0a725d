"""What a create's outcome means for its job (pure).

A try that gave the job nothing makes it wait: it is never first again at once, and another job
goes meanwhile. From the fifth on a person is called; at the latest the job ends as any that waits
too long. What holds up the whole account delays its job only when it has met it several times.
"""

from dataclasses import replace
from typing import assert_never

from app.accounts.evidence.suspicion import NO_VERDICT, Verdict
from app.dashscope.errors import Policy, Remedy, find_policy
from app.dashscope.outcomes import Accepted, CreateOutcome, NotSent, OutcomeUnknown, Refused
from app.jobs.core.news import is_of_account
from app.jobs.core.state import Dice, Rules, RunState, Unprepared
from app.jobs.lifecycle import Action, Doubt, Fail, Flag, Requeue, Run

FIRST_DELAY_SECONDS = 2.0
LONGEST_DELAY_SECONDS = 60.0
TRIES_LIMIT = 5
"""In vain; from then on a person is called, and the job's delay may grow longer."""
LONGEST_LATE_DELAY_SECONDS = 600.0
LONGEST_THROTTLED_DELAY_SECONDS = 300.0
LONGEST_SUSPECT_DELAY_SECONDS = 1800.0
"""A job goes at once when the account that refused it takes another's create again."""
SUSPECT_MARGIN_SECONDS = 1.0

UNSENDABLE_CODE = "cannot_be_sent"
REFUSED_CODE = "account_refuses"

_NOT_SENT = "not_sent"


def after_create(
    run: RunState,
    outcome: CreateOutcome | Unprepared,
    verdict: Verdict = NO_VERDICT,
    *,
    rules: Rules,
) -> tuple[Action, ...]:
    """What becomes of a job by the outcome of its create."""
    match outcome:
        case Accepted(task_id, request_id):
            return (Run(task_id, request_id),)
        case Refused():
            return _after_refusal(run, outcome, verdict, rules)
        case NotSent(reason, is_body=is_body):
            return after_fruitless_try(run, _NOT_SENT, reason, rules=rules, is_own=is_body)
        case Unprepared(reason, is_input_lost=True):
            return (Fail("input_lost", reason, outcome="absent"),)
        case Unprepared(reason):
            return after_fruitless_try(run, "not_prepared", reason, rules=rules)
        case OutcomeUnknown(reason, http_status):
            return (Doubt(reason, http_status),)
    assert_never(outcome)


def after_fruitless_try(
    run: RunState, code: str, reason: str, *, rules: Rules, is_own: bool = True
) -> tuple[Action, ...]:
    """Wait after an attempt that made no task and was not refused, ever longer.

    `is_own`: it may be the job's own trouble. Without a connection it is not, and then the job
    goes soon after the account does.
    """
    tries = run.fruitless_tries + 1
    is_late = is_own and tries >= TRIES_LIMIT
    longest = LONGEST_LATE_DELAY_SECONDS if is_late else LONGEST_DELAY_SECONDS
    delay_seconds = back_off(tries, rules.dice, longest)
    requeue = Requeue("absent", code, reason, delay_seconds=delay_seconds, is_refunded=not is_own)
    if tries < TRIES_LIMIT:
        return (requeue,)
    detail = f"{tries} tries made no task; the last: {reason}"
    return _call_person(requeue, Flag(UNSENDABLE_CODE, detail))


def back_off(tries: int, dice: Dice, longest_seconds: float = LONGEST_DELAY_SECONDS) -> float:
    """Seconds before another try: doubled each time, capped, and spread by a quarter."""
    doublings = min(max(tries - 1, 0), 10)
    capped = min(FIRST_DELAY_SECONDS * 2.0**doublings, longest_seconds)
    return capped * (0.75 + 0.5 * dice())


def _after_refusal(
    run: RunState, refused: Refused, verdict: Verdict, rules: Rules
) -> tuple[Action, ...]:
    policy = find_policy(refused.code, refused.http_status, refused.message)
    is_accounts = policy.remedy in (Remedy.WAIT, Remedy.BAR) and not verdict.is_jobs_fault
    failures = run.task_failures + 1
    if not is_accounts and (
        verdict.is_jobs_fault or not policy.allows_retry(failures, rules.retries)
    ):
        request_id = refused.request_id or None
        return (Fail(refused.code, refused.message, refused.http_status, request_id),)
    is_suspected = policy.remedy is Remedy.BAR and not is_of_account(refused.code)
    if is_suspected:
        delay_seconds = _delay_suspect(run, verdict, rules.dice)
    elif is_accounts:
        delay_seconds = _delay_refused(run, policy, verdict, rules.dice)
    else:
        delay_seconds = back_off(failures, rules.dice)
    requeue = Requeue(
        "refused",
        refused.code,
        refused.message,
        delay_seconds=delay_seconds,
        http_status=refused.http_status,
        request_id=refused.request_id or None,
        is_failure=not is_accounts,
        is_refunded=is_accounts and not is_suspected,
    )
    if not is_suspected or run.refusals + 1 < TRIES_LIMIT:
        return (requeue,)
    return _call_person(requeue, Flag(REFUSED_CODE, _describe(run, refused)))


def _call_person(requeue: Requeue, flag: Flag) -> tuple[Action, ...]:
    """One mark and one event from the first call on, however often the job is tried again."""
    return (replace(requeue, keeps_attention=True), flag)


def _delay_refused(run: RunState, policy: Policy, verdict: Verdict, dice: Dice) -> float:
    """The account waits, not the job; but one that is throttled again lets others go first."""
    if policy.remedy is not Remedy.WAIT or run.refusals == 0:
        return 0.0
    own = back_off(run.refusals, dice, LONGEST_THROTTLED_DELAY_SECONDS)
    return verdict.wait_seconds + own


def _delay_suspect(run: RunState, verdict: Verdict, dice: Dice) -> float:
    """Longer than its account waits, each time more: the next ones that it tries are others."""
    own = back_off(run.refusals + 1, dice, LONGEST_LATE_DELAY_SECONDS)
    if not verdict.wait_seconds:
        return own
    rounds = 2.0 ** min(run.refusals, 6)
    waited = (verdict.wait_seconds + SUSPECT_MARGIN_SECONDS) * rounds
    return min(max(own, waited), max(LONGEST_SUSPECT_DELAY_SECONDS, verdict.wait_seconds))


def _describe(run: RunState, refused: Refused) -> str:
    return (
        f"refused {run.refusals + 1} times with {refused.code} ({refused.message}), and no other "
        "job was taken in between: the account may have lost its right, or the request draws it"
    )
