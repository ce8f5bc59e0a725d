"""How `account list` shows an account: as a document, and in a line for each of its models."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from app import PROGRAM
from app.accounts.overview import AccountView, KeyView, PaceView, Tried
from app.accounts.tables import Account

COLUMNS = (
    "name",
    "state",
    "health",
    "tasks",
    "creates",
    "a task runs",
    "region",
    "api keys",
    "last trouble",
    "last task",
)


VERDICTS = {
    "works": "works",
    "refused": "refused by the upstream",
    "unreachable": "not reachable",
    "odd": "answers, but not as DashScope",
    "unreadable": "no API key works",
}


def view_account(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "state": account.state,
        "region": account.region,
        "base_url": account.base_url,
        "max_running": account.max_running,
        "submit_rate": account.submit_rate,
        "query_rate": account.query_rate,
        "weight": account.weight,
        "created_at": account.created_at,
    }


def to_document(view: AccountView) -> dict[str, Any]:
    return {
        **view_account(view.account),
        "api_keys": [asdict(key) for key in view.keys],
        "models": [asdict(pace) for pace in view.paces],
        "last_trouble": asdict(view.last_trouble) if view.last_trouble else None,
        "last_taken_at": view.last_taken_at,
        "last_tried": asdict(view.last_tried) if view.last_tried else None,
    }


def to_lines(view: AccountView) -> list[dict[str, Any]]:
    """One for each model; one too for an account that no worker has taken up yet."""
    return [_to_line(view, pace) for pace in view.paces or (None,)]


def find_next_steps(view: AccountView) -> list[str]:
    """What to type about an account that does not take all that its limits allow."""
    if view.account.state == "removed":
        return []
    name = view.account.name
    steps = [
        f"{name} is suspended ({pace.code}): mend it at Alibaba, then, to try at once: "
        f"{PROGRAM} account resume {name}"
        for pace in view.paces
        if pace.health in ("suspended", "probing")
    ]
    steps += [
        f"{name} has room for {room} of {view.account.max_running} tasks: does somebody else use "
        f"the account? If that stays: {PROGRAM} account set {name} --max-running {room}"
        for pace in view.paces
        if (room := view.account.max_running + pace.priming) < view.account.max_running
    ]
    return steps


def describe_health(view: AccountView, pace: PaceView | None) -> str:
    """What a person must know first; times are UTC, for no pause lasts longer than minutes."""
    if view.account.state == "removed":
        return ""
    if not any(key.state == "works" for key in view.keys):
        return "no API key works"
    if pace is not None and pace.health != "healthy":
        return _describe_pause(pace)
    if view.last_taken_at is not None and not _is_newer(view.last_tried, view.last_taken_at):
        return "healthy"
    if view.last_tried is None:
        return "not tried yet"
    return VERDICTS[view.last_tried.verdict]


def _is_newer(tried: Tried | None, moment: datetime) -> bool:
    return tried is not None and tried.at > moment


def _describe_pause(pace: PaceView) -> str:
    match pace.health:
        case "throttled":
            return f"throttled until {_to_clock(pace.until)} ({pace.code})"
        case "suspended":
            return f"suspended ({pace.code}), next try {_to_clock(pace.until)}"
        case "probing":
            return f"probing ({pace.code})"
    return pace.health


def _to_line(view: AccountView, pace: PaceView | None) -> dict[str, Any]:
    account = view.account
    trouble = view.last_trouble
    return {
        "name": account.name,
        "state": account.state,
        "health": describe_health(view, pace),
        "tasks": _describe_tasks(account, pace),
        "creates": _describe_pace(account, pace),
        "a task runs": _describe_run_times(pace),
        "region": account.region,
        "api keys": [_describe_key(key) for key in view.keys],
        "last trouble": f"{trouble.code} {trouble.at:%m-%d %H:%M}" if trouble else "",
        "last task": f"{view.last_taken_at:%m-%d %H:%M}" if view.last_taken_at else "",
    }


def _describe_tasks(account: Account, pace: PaceView | None) -> str:
    if pace is None:
        return ""
    if pace.priming < 0:
        room = account.max_running + pace.priming
        return (
            f"{pace.in_use} of {room} ({account.max_running} set, the upstream has no more room)"
        )
    primed = f"+{pace.priming}" if pace.priming else ""
    return f"{pace.in_use} of {account.max_running}{primed}"


def _describe_pace(account: Account, pace: PaceView | None) -> str:
    share = pace.pace_share if pace else 1.0
    return f"{share:.0%} of {account.submit_rate.normalize():f}/s"


def _describe_run_times(pace: PaceView | None) -> str:
    if pace is None or pace.run_seconds_p50 is None:
        return ""
    return f"{pace.run_seconds_p50} s, p90 {pace.run_seconds_p90} s"


def _describe_key(key: KeyView) -> str:
    return f"...{key.hint}" if key.state == "works" else f"...{key.hint} ({key.state})"


def _to_clock(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%H:%M:%S}" if moment else ""
