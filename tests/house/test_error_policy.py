"""The table of error policies in the documents is the one that the code goes by."""

from collections.abc import Iterator

from app.dashscope.errors import (
    NO_CODE,
    POLICIES,
    POLICIES_BY_STATUS,
    UNKNOWN_CODE,
    Policy,
    Remedy,
    find_policy,
)
from tests.house.sources import ROOT

HEAD = ("| code | reaction | at fault | tried again | meaning |", "|---|---|---|---|---|")


def test_the_documents_show_the_policies_that_the_code_goes_by() -> None:
    lines = (ROOT / "docs/upstream.md").read_text().splitlines()
    start = lines.index(HEAD[0])
    shown = lines[start : lines.index("", start)]

    assert shown == [*HEAD, *_list_rows()]


def _list_rows() -> Iterator[str]:
    for row in POLICIES:
        codes = ", ".join(f"`{code}`" for code in row.codes)
        named = f"{codes} that says “{row.says}”" if row.says else codes
        yield _to_row(named, row.policy, row.meaning)
    for status, policy in POLICIES_BY_STATUS.items():
        yield _to_row(f"another with {status}", policy, "as its status says")
    yield _to_row("another with 5xx", find_policy("", 500), "the create is in doubt")
    yield _to_row("another, and that of a failed task", UNKNOWN_CODE, "not foreseen")
    yield _to_row("another 4xx without a code", NO_CODE, "something on the road has answered")


def _to_row(codes: str, policy: Policy, meaning: str) -> str:
    cells = (codes, policy.remedy, policy.scope, _describe_retries(policy), meaning)
    return f"| {' | '.join(cells)} |"


def _describe_retries(policy: Policy) -> str:
    if policy.remedy is Remedy.FAIL:
        return "no"
    return "yes" if policy.retries is None else ("no", "once", "twice")[policy.retries]
