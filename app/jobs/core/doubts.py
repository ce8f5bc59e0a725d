"""What the upstream's list means for a create whose answer was lost (pure).

One lane sends one create at a time, so an unattached task of its window is that create's unless
another create in doubt may own it. The words of the request verify; they do not identify, because
many jobs may share them.

That no task was made is believed only of two looks, each asked for after the last moment at which
the task could appear, each proving itself by showing tasks that are known to be there. A list that
lags behind passes that test as long as nothing newer is known; so it is believed at once only if
it shows a task that was made after the create could make its own, else after a long while.
"""

from datetime import datetime

from app.jobs.core.creates import after_fruitless_try
from app.jobs.core.state import Candidate, Listed, ListProof, Match, Rules, RunState
from app.jobs.lifecycle import Action, NoteUnlisted, Orphan, Review, Run

REVIEW_CODE = "submission_unknown"


def after_list(run: RunState, news: Listed, now: datetime, *, rules: Rules) -> tuple[Action, ...]:
    """What the account's unattached tasks mean for a create in doubt; nothing: ask again later.

    Nothing is known of a create that is younger than `settle`, or older than the list reaches.
    """
    assert run.intended_at is not None
    looked_at = news.looked_at or now
    age = looked_at - run.intended_at
    possible = [one for one in news.candidates if one.match in (Match.UNSEEN, Match.SAME)]
    chosen = _choose(possible)
    if chosen:
        return chosen
    if age < rules.settle:
        return ()
    unclear = [one for one in news.candidates if one.match is Match.UNCLEAR]
    if not possible and not unclear and age <= rules.list_reach:
        settled = _settle_absence(run, news.proof, looked_at, rules)
        if settled:
            return settled
    if age >= rules.review_after and run.holds_slot:
        return (
            Review(REVIEW_CODE, _describe(possible + unclear, news.proof, age > rules.list_reach)),
        )
    return ()


def _settle_absence(
    run: RunState, proof: ListProof, looked_at: datetime, rules: Rules
) -> tuple[Action, ...]:
    """The first look that proves itself is noted; the second one settles it."""
    assert run.intended_at is not None
    is_believed = proof is ListProof.FRESH or (
        proof is ListProof.KNOWN
        and looked_at - run.intended_at >= rules.settle + rules.stale_after
    )
    if not is_believed:
        return ()
    if run.unlisted_at is None:
        return (NoteUnlisted(looked_at),)
    if looked_at - run.unlisted_at < rules.looks_apart:
        return ()
    reason = "the upstream lists no task of this create"
    return after_fruitless_try(run, "not_created", reason, rules=rules)


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


def _describe(possible: list[Candidate], proof: ListProof, is_too_old: bool) -> str:
    if possible:
        return "these tasks may be this job's: " + ", ".join(one.task_id for one in possible)
    if is_too_old:
        return "the upstream's list no longer tells of this create"
    if proof is ListProof.NONE:
        return (
            "the upstream's list shows no task of this create, but it could not be read whole "
            "with the tasks that are known to be there: look in the upstream's own console, then "
            "type `job requeue` with this job's id"
        )
    return "the upstream's list shows no task of this create, and may lag behind"
