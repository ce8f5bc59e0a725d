"""What the upstream's list means for a create whose answer was lost (pure).

One lane sends one create at a time, so an unattached task of its window is that create's unless
another create in doubt may own it. The words of the request verify; they do not identify, because
many jobs may share them.
"""

from datetime import datetime

from app.jobs.core.creates import after_fruitless_try
from app.jobs.core.state import Candidate, Listed, Match, Rules, RunState
from app.jobs.lifecycle import Action, Orphan, Review, Run

REVIEW_CODE = "submission_unknown"


def after_list(run: RunState, news: Listed, now: datetime, *, rules: Rules) -> tuple[Action, ...]:
    """What the account's unattached tasks mean for a create in doubt; nothing: ask again later.

    Nothing is known of a create that is younger than `settle`, or older than the list reaches.
    """
    assert run.intended_at is not None
    age = (news.looked_at or now) - run.intended_at
    possible = [one for one in news.candidates if one.match in (Match.UNSEEN, Match.SAME)]
    chosen = _choose(possible)
    if chosen:
        return chosen
    if age < rules.settle:
        return ()
    if not possible and age <= rules.list_reach:
        reason = "the upstream lists no task of this create"
        return after_fruitless_try(run, "not_created", reason, rules=rules)
    if age >= rules.review_after and run.holds_slot:
        return (Review(REVIEW_CODE, _describe(possible)),)
    return ()


def _choose(possible: list[Candidate]) -> tuple[Action, ...]:
    """Adopt the only one, or the first that proves to be ours; others of ours are surplus."""
    if len(possible) == 1 and not possible[0].is_contested:
        return (_adopt(possible[0]),)
    if any(one.match is Match.UNSEEN for one in possible):
        return ()
    ours = [one for one in possible if not one.is_contested]
    surplus = tuple(
        Orphan(one.task_id, "a second task of the same create", is_ours=False) for one in ours[1:]
    )
    return (_adopt(ours[0]), *surplus) if ours else ()


def _adopt(candidate: Candidate) -> Run:
    return Run(candidate.task_id, candidate.request_id, adopted=True)


def _describe(possible: list[Candidate]) -> str:
    if not possible:
        return "the upstream's list no longer tells of this create"
    return "these tasks may be this job's: " + ", ".join(one.task_id for one in possible)
