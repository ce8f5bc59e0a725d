"""What the faults of a task make of it (pure)."""

from collections.abc import Sequence

from app.emulator.checks import Failure
from app.emulator.disturb.faults import FaultRule


def find_early_failure(rules: Sequence[FaultRule], first_image: str) -> Failure | None:
    """What ends a task as soon as its order is looked at."""
    for rule in rules:
        if rule.do == "ip_suspicion" or (rule.do == "moderation" and rule.stage == "input"):
            return rule.failure
        if rule.do == "fetch_failure":
            default = f"Failed to download {first_image}"
            return Failure(rule.failure.code, rule.message or default)
    return None


def decide_outcomes(rules: Sequence[FaultRule], n: int) -> tuple[Failure | None, ...]:
    """Per picture why it failed, or None; one picture more than asked for by each `extra`."""
    n += sum(rule.do == "extra" for rule in rules)
    outcomes: list[Failure | None] = [None] * n
    for rule in rules:
        for index in _list_hits(rule, n):
            outcomes[index] = rule.failure
    return tuple(outcomes)


def _list_hits(rule: FaultRule, n: int) -> list[int]:
    if rule.do == "fail":
        return list(range(n))
    is_output_moderation = rule.do == "moderation" and rule.stage == "output"
    if rule.do != "partial" and not is_output_moderation:
        return []
    return [index for index in range(n) if index in rule.indexes or not rule.indexes]
