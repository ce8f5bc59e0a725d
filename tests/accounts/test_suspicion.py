"""Whatever one job does, other jobs go on; a grant that is lost is found within a few creates."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.accounts.evidence.suspicion import (
    LONE_TRIES,
    SUSPECTS_LIMIT,
    Evidence,
    Source,
    Suspect,
    is_at_fault,
    suspect,
    weigh,
)
from app.accounts.health import Limits, PaceState, after
from app.accounts.news import Barred, Reach, Taken

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CODE = "AccessDenied"
LIMITS = Limits(max_running=5)


def job(number: int, *, team: int = 1) -> Source:
    return Source(UUID(int=number), UUID(int=team))


def refused(*sources: Source, code: str = CODE) -> tuple[Suspect, ...]:
    found: tuple[Suspect, ...] = ()
    for source in sources:
        found = suspect(found, source, code, NOON)
    return found


@dataclass
class Account:
    """An account that hears news as it comes, when its pause is over."""

    state: PaceState = field(default_factory=PaceState)
    now: datetime = NOON
    refused_at: dict[UUID, datetime] = field(default_factory=dict)

    def refuse(self, source: Source) -> bool:
        """Whether the job is at fault; else the account hears of it."""
        self.now = max(self.now + SECOND, self.state.paused_until or self.now)
        refused_at = self.refused_at.get(source.job)
        passed_at = self.state.passed_at
        if not self.state.is_suspended and is_at_fault(
            self.state.suspects, source, refused_at=refused_at, passed_at=passed_at
        ):
            return True
        self.refused_at[source.job] = self.now
        news = Barred(CODE, Reach.MODEL, source)
        self.state = after(self.state, news, limits=LIMITS, now=self.now, dice=0.0)
        return False

    def take(self, *, sent_before: timedelta = timedelta(0)) -> None:
        self.now = max(self.now + SECOND, self.state.paused_until or self.now)
        news = Taken(1, self.now - sent_before)
        self.state = after(self.state, news, limits=LIMITS, now=self.now, dice=0.0)

    def pause_seconds(self) -> float:
        until = self.state.paused_until
        return 0.0 if until is None else (until - self.now).total_seconds()


class TestEvidence:
    def test_the_table(self) -> None:
        one, same, other, third = job(1), job(2), job(3, team=2), job(4)

        assert weigh(refused(*[one] * (LONE_TRIES - 1)), CODE) is Evidence.NONE
        assert weigh(refused(*[one] * LONE_TRIES), CODE) is Evidence.ONE_TEAM
        assert weigh(refused(one, same), CODE) is Evidence.NONE
        assert weigh(refused(one, same, third), CODE) is Evidence.ONE_TEAM
        assert weigh(refused(one, other), CODE) is Evidence.TEAMS
        assert weigh(refused(one, other, code="ModelNotFound"), CODE) is Evidence.NONE

    def test_what_is_remembered_is_bounded(self) -> None:
        assert len(refused(*map(job, range(200)))) == SUSPECTS_LIMIT


class TestAccount:
    def test_jobs_of_two_teams_suspend_it_at_once(self) -> None:
        account = Account()
        account.refuse(job(1))
        account.refuse(job(2, team=2))

        assert account.state.is_suspended
        assert account.pause_seconds() == 10

    def test_a_lost_grant_is_probed_ever_more_seldom_by_jobs_that_are_new_to_it(self) -> None:
        account, pauses = Account(), []
        for number in range(9):
            account.refuse(job(number, team=number))
            pauses.append(account.pause_seconds())

        assert pauses == [0, 10, 20, 40, 80, 160, 320, 600, 600]

    def test_one_team_holds_up_the_others_two_seconds_a_job_at_most(self) -> None:
        account, pauses = Account(), []
        for number in range(40):
            account.refuse(job(number))
            pauses.append(account.pause_seconds())

        assert pauses[:6] == [0, 0, 2, 4, 6, 8]
        assert max(pauses) == 60

    def test_the_same_probe_again_is_no_new_evidence(self) -> None:
        account = Account()
        for _ in range(30):
            account.refuse(job(1))

        assert account.state.is_suspended
        assert account.pause_seconds() == 2

    def test_a_create_sent_before_the_refusals_does_not_end_what_they_proved(self) -> None:
        account = Account()
        account.refuse(job(1))
        account.refuse(job(2, team=2))

        account.take(sent_before=timedelta(minutes=1))
        assert account.state.is_suspended
        account.take()
        assert not account.state.is_suspended
        assert account.state.suspects == ()


class TestJob:
    def test_it_is_at_fault_when_another_passed_where_it_is_refused_again(self) -> None:
        account = Account()

        assert not account.refuse(job(1))
        account.take()
        assert account.refuse(job(1))
        assert account.state.suspects == ()

    def test_it_is_not_at_fault_while_all_are_refused(self) -> None:
        account = Account()
        account.take()

        assert not any(account.refuse(job(number % 3, team=number % 3)) for number in range(30))

    def test_a_create_sent_before_its_refusal_proves_nothing_against_it(self) -> None:
        account = Account()
        account.refuse(job(1))
        account.take(sent_before=timedelta(minutes=1))

        assert not account.refuse(job(1))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60))
def test_whatever_one_teams_jobs_draw_others_wait_seconds_and_the_guilty_fail(
    steps: list[tuple[int, bool]],
) -> None:
    """Up to six poison jobs of one team, in any order, between takes of another team's jobs."""
    account, failed, waited = Account(), set(), 0.0
    for number, has_other in steps:
        if number not in failed and account.refuse(job(number)):
            failed.add(number)
        if has_other:
            waited += account.pause_seconds()
            account.take()
            assert not account.state.is_suspended
    assert waited <= 2.0 * len(steps)
    assert account.pause_seconds() <= 2.0 * 6

    for number in range(6):
        for _ in range(2):
            account.take()
            if number not in failed and account.refuse(job(number)):
                failed.add(number)
    assert failed == set(range(6))


@given(st.lists(st.integers(1, 8), min_size=3, max_size=40))
def test_a_lost_grant_is_found_and_fails_nobody(numbers: list[int]) -> None:
    """Two teams' jobs, none of which is taken after the grant is lost."""
    account = Account()
    account.take()
    for number in numbers:
        assert not account.refuse(job(number, team=number % 2))
    teams = {number % 2 for number in numbers}
    is_proven = len(teams) == 2 or len(set(numbers)) >= 3
    assert account.state.is_suspended or not is_proven
