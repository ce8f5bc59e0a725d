"""Why a job waited: what is told of pauses, limits, taken places and its own delay."""

from datetime import timedelta

from app.jobs.explain.facts import Facts, Setback, Spell, Surroundings
from app.jobs.explain.story import tell_story
from app.jobs.explain.waits import find_waits
from tests.jobs.stories import CLAIMED, START, at, event, make_facts, make_job


def reasons_of(facts: Facts) -> list[str]:
    """Why the job's first wait took so long, as `seconds from, to: text`."""
    waited = next(line for line in tell_story(facts).timeline if line.waited_seconds is not None)
    return [
        reason.text
        if reason.since is None or reason.until is None
        else f"{(reason.since - START).seconds} to {(reason.until - START).seconds}: {reason.text}"
        for reason in waited.because
    ]


def sorted_by_time(setbacks: tuple[Setback, ...]) -> list[Setback]:
    return sorted(setbacks, key=lambda one: one.at)


def test_a_short_wait_needs_no_reason() -> None:
    around = Surroundings(setbacks=(Setback(at(0), "default", "account.paused", "X"),))

    facts = make_facts(event(0.4, "job.submitting", attempt=1), around=around)

    assert reasons_of(facts) == []


def test_a_throttled_account_is_told_with_its_times() -> None:
    setbacks = (
        Setback(at(62), "default", "account.paused", "Throttling.RateQuota", at(92)),
        Setback(at(-30), "default", "account.paused", "Throttling", at(-1)),
    )

    facts = make_facts(CLAIMED, around=Surroundings(setbacks=sorted_by_time(setbacks)))

    assert reasons_of(facts) == [
        "62 to 92: account default throttled (Throttling.RateQuota)",
        "63 s in which no job was sent: no worker ran, or no account was there",
    ]


def test_a_pause_ends_with_the_next_word_about_its_account() -> None:
    setbacks = (
        Setback(at(0), "default", "account.paused", "Throttling", at(60)),
        Setback(at(10), "other", "account.recovered", "Arrearage"),
        Setback(at(20), "default", "account.suspended", "Arrearage", at(80)),
    )

    facts = make_facts(CLAIMED, around=Surroundings(setbacks=setbacks))

    assert reasons_of(facts) == [
        "0 to 20: account default throttled (Throttling)",
        "20 to 93: account default suspended (Arrearage)",
    ]


def test_a_suspension_from_long_before_lasts_until_it_is_taken_back() -> None:
    setbacks = (
        Setback(at(-9_000), "default", "account.suspended", "Arrearage", at(-8_940)),
        Setback(at(90), "default", "account.recovered", "Arrearage"),
    )

    facts = make_facts(CLAIMED, around=Surroundings(setbacks=setbacks))

    assert reasons_of(facts) == ["0 to 90: account default suspended (Arrearage)"]


def test_pauses_one_after_the_other_are_told_as_one() -> None:
    setbacks = [
        Setback(at(second), "default", "account.paused", "Throttling", at(second + 2.5))
        for second in range(0, 90, 3)
    ]

    facts = make_facts(CLAIMED, around=Surroundings(setbacks=setbacks))

    assert reasons_of(facts) == ["0 to 89: account default throttled (Throttling)"]


def test_of_many_reasons_the_longest_are_told_and_the_others_counted() -> None:
    setbacks = [
        Setback(at(second), "default", "account.paused", f"C{second}", at(second + 1 + second))
        for second in (0, *(2**power for power in range(1, 11)))
    ]

    told = reasons_of(
        make_facts(
            event(3_000, "job.submitting", attempt=1), around=Surroundings(setbacks=setbacks)
        )
    )

    assert len([text for text in told if "throttled" in text]) == 8
    assert told[8] == "3 shorter ones like these, 7.0 s in all"


def test_its_own_delay_is_told_until_it_was_hastened() -> None:
    requeued = event(1, "job.requeued", attempt=1, outcome="absent", delay_seconds=60.0)
    events = (
        event(0.5, "job.submitting", attempt=1),
        requeued,
        event(31, "job.hastened", status="queued", reason="mended"),
        event(32, "job.submitting", attempt=2),
    )

    story = tell_story(make_facts(*events))

    (own,) = story.timeline[4].because
    assert own.text == "its own delay after the try in vain"
    assert (own.since, own.until) == (at(1), at(31))


def test_a_teams_limit_and_taken_places_are_told_from_what_others_did() -> None:
    spells = (
        Spell(at(-5), at(40), "default", is_of_team=True),
        Spell(at(10), at(50), "default", is_of_team=True),
        Spell(at(0), at(45), "default", is_of_team=False),
    )
    around = Surroundings(spells=spells, places=(("default", 3), ("spare", 2)))

    facts = make_facts(CLAIMED, job=make_job(team_max_running=2), around=around)

    assert reasons_of(facts) == [
        "10 to 40: team ads had its limit of 2 upstream",
        "30 s because all 3 places of account default were taken",
        "63 s for its turn: others were before it",
    ]


def test_a_wait_that_goes_on_is_told_up_to_now() -> None:
    setback = Setback(at(5), "default", "account.suspended", "InvalidApiKey", at(65))

    story = tell_story(make_facts(now=50, around=Surroundings(setbacks=(setback,))))

    assert story.timeline[-1].text == "now: still in the queue"
    assert story.timeline[-1].waited_seconds == 50
    assert story.timeline[-1].because[0].until == at(50)


def test_a_job_that_expires_has_waited_to_its_end() -> None:
    (wait,) = find_waits(make_facts(event(60, "job.expired")).events, at(100))

    assert wait.lasted == timedelta(seconds=60)
