"""Weather: what the upstream may do wrong stays within what the gateway is told of it."""

from app.bench.storm.contenders.contract import ACCOUNT_KEYS, draw_heavy_input
from app.bench.storm.contenders.dashgate import SETTINGS
from app.bench.storm.plan import FREEZE_SECONDS, POISON
from app.bench.storm.weather import (
    HARDSHIPS,
    HEAVY_BYTES,
    LIES,
    LIES_SECONDS,
    SLOW_BYTES_PER_SECOND,
    STALE_SECONDS,
    choose_lies,
    count_strikes,
    lies_end_seconds,
    list_climate,
    list_moods,
    list_weather,
)
from app.emulator.disturb.faults import Target

ACCOUNTS = tuple(ACCOUNT_KEYS)
STORM_SECONDS = 10.0


def get_seconds(name: str) -> float:
    return float(SETTINGS[f"DASHGATE_{name}_SECONDS"])


def whole_wait_seconds() -> float:
    """How long the gateway waits before it believes what a list does not show."""
    return sum(map(get_seconds, ("PREPARE", "SUBMIT_TIMEOUT", "SETTLE")))


def test_no_task_stays_hidden_longer_than_the_gateway_is_told() -> None:
    moods = list_moods(STORM_SECONDS)
    late = max(rule.seconds for rule in moods if rule.on == "create" and rule.when == "before")
    hidden = max(rule.seconds + (rule.for_seconds or 0) for rule in moods if rule.do == "lost")
    line = len(draw_heavy_input()) / SLOW_BYTES_PER_SECOND

    longest = get_seconds("PREPARE") + FREEZE_SECONDS[1] + line + late + hidden

    assert longest + 1 <= whole_wait_seconds()


def test_lists_lie_for_longer_than_a_create_is_waited_for_and_then_no_more() -> None:
    whole = whole_wait_seconds()

    assert 2.5 * whole <= LIES_SECONDS
    assert whole < STALE_SECONDS < get_seconds("STALE_LIST")
    assert whole < get_seconds("REVIEW") < LIES_SECONDS


def test_the_upstream_errs_everywhere() -> None:
    moods = list_moods(STORM_SECONDS)

    assert {rule.on for rule in moods} == {"create", "query", "list", "cancel", "picture", "task"}
    assert all(rule.probability < 0.25 for rule in moods)
    assert {rule.until_seconds for rule in moods} == {STORM_SECONDS}


def test_three_seeds_in_a_row_tell_every_lie_and_later_ones_in_other_pairs() -> None:
    told = [choose_lies(seed, ACCOUNTS) for seed in range(1, 51)]

    for first in range(48):
        if first % 3 == 0:
            kinds = {kind for lies in told[first : first + 3] for kind in lies.values()}
            assert kinds == set(LIES)
    assert all(len(set(lies.values())) == len(ACCOUNTS) for lies in told)
    for account in ACCOUNTS:
        assert {lies[account] for lies in told} == set(LIES)


def test_every_list_of_an_account_is_its_lie_while_the_lies_last() -> None:
    rules = list_weather(1, ACCOUNTS, STORM_SECONDS)
    lies = [rule for rule in rules if rule.on == "list" and rule.match.account]

    assert {rule.match.account for rule in lies} == set(ACCOUNTS)
    for rule in lies:
        assert rule.probability == rule.every == 1
        assert rule.until_seconds == lies_end_seconds()
        assert rule.from_seconds < STORM_SECONDS / 2


def test_poison_and_a_long_body_are_hit_in_calm_too_and_nothing_else_is() -> None:
    heavy_bytes = len(draw_heavy_input())

    def strikes(place: str, target: Target) -> bool:
        return any(rule.on == place and rule.match.accepts(target) for rule in list_climate())

    assert strikes("create", Target(prompt=f"storm 1, {POISON}"))
    assert not strikes("create", Target(prompt="storm 1, job 7"))
    assert strikes("line", Target(body_bytes=heavy_bytes))
    assert not strikes("line", Target(body_bytes=HEAVY_BYTES))
    assert heavy_bytes > HEAVY_BYTES


def test_a_hardship_can_be_left_out() -> None:
    whole = list_weather(1, ACCOUNTS, STORM_SECONDS)

    for name in HARDSHIPS:
        rest = list_weather(1, ACCOUNTS, STORM_SECONDS, without={name})
        assert set(map(repr, rest)) < set(map(repr, whole))
    assert list_climate(without=HARDSHIPS) == ()


def test_strikes_are_counted_by_place_deed_and_status() -> None:
    report = [
        {"on": "list", "do": "empty", "fired_count": 3},
        {"on": "list", "do": "status", "status": 403, "fired_count": 2},
        {"on": "list", "do": "empty", "fired_count": 1},
    ]

    assert count_strikes(report) == {"list empty": 4, "list status 403": 2}


def test_answers_are_unreadable_for_a_while_too() -> None:
    rules = list_weather(1, ACCOUNTS, STORM_SECONDS)

    assert {rule.on for rule in rules if rule.do == "unreadable"} >= {"task", "query"}
