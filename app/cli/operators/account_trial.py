"""Whether an account's API keys work, found out by a call that costs nothing: a list of tasks."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.keys import open_keys
from app.accounts.rules import to_hint
from app.accounts.store import get_account, note_try
from app.cli.context import in_transaction
from app.dashscope.client import DashScope, TaskWindow
from app.dashscope.line import make_create_http, make_query_http
from app.dashscope.outcomes import UpstreamTrouble
from app.jobs.requests.models import DEFAULT_MODEL
from app.kit.clock import utc_now
from app.kit.crypto import Vault

TRIAL_SECONDS = 6.0
LISTED = timedelta(minutes=1)


class Verdict(StrEnum):
    WORKS = "works"
    REFUSED = "refused"
    """The upstream does not know the key, or not for this."""
    UNREACHABLE = "unreachable"
    ODD = "odd"
    """Something answers, but not as DashScope does, or not now."""
    UNREADABLE = "unreadable"
    """The stored key does not open with this deployment's secret."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How it went with one key, by the end of it, and what was said."""

    hint: str
    verdict: Verdict
    said: str = ""


_WORDS = {
    Verdict.WORKS: "works",
    Verdict.REFUSED: "is refused by the upstream",
    Verdict.UNREACHABLE: "could not be tried, for the upstream is not reachable",
    Verdict.ODD: "was answered, but not as DashScope does",
    Verdict.UNREADABLE: "does not open: is DASHGATE_SECRET_KEY the one of when it was stored?",
}
_ORDER = list(Verdict)


def try_new_key(base_url: str, api_key: SecretStr) -> Trial:
    """Try a key before its account is there."""
    (trial,) = asyncio.run(_try_each(base_url, [(to_hint(api_key.get_secret_value()), api_key)]))
    return trial


def try_account(name: str, vault: Vault) -> list[Trial]:
    """Try each API key of an account and keep in its story how that went; raises GatewayError."""

    async def load(session: AsyncSession) -> tuple[str, list[tuple[str, SecretStr | None]]]:
        account = await get_account(session, name)
        return account.base_url, await open_keys(session, vault, account)

    base_url, keys = in_transaction(load)
    trials = asyncio.run(_try_each(base_url, keys))

    async def keep(session: AsyncSession) -> None:
        worst = max(trials, key=lambda trial: _ORDER.index(trial.verdict))
        account = await get_account(session, name)
        await note_try(session, account, verdict=worst.verdict, said=worst.said)

    if trials:
        in_transaction(keep)
    return trials


def describe_trial(trial: Trial) -> str:
    said = f" ({trial.said})" if trial.said else ""
    return f"The API key ...{trial.hint} {_WORDS[trial.verdict]}{said}."


async def _try_each(base_url: str, keys: list[tuple[str, SecretStr | None]]) -> list[Trial]:
    async with make_query_http() as queries, make_create_http() as creates:
        return [
            Trial(hint, Verdict.UNREADABLE)
            if api_key is None
            else await _try(hint, DashScope(base_url, api_key, queries, creates))
            for hint, api_key in keys
        ]


async def _try(hint: str, upstream: DashScope) -> Trial:
    now = utc_now()
    window = TaskWindow(DEFAULT_MODEL.name, now - LISTED, now)
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            await upstream.list_tasks(window, page=1)
    except TimeoutError:
        return Trial(hint, Verdict.UNREACHABLE, f"no answer within {TRIAL_SECONDS:g} s")
    except UpstreamTrouble as trouble:
        return Trial(hint, _judge(trouble), str(trouble).strip())
    return Trial(hint, Verdict.WORKS)


def _judge(trouble: UpstreamTrouble) -> Verdict:
    match trouble.http_status:
        case None:
            return Verdict.UNREACHABLE
        case 401 | 403:
            return Verdict.REFUSED
        case _:
            return Verdict.ODD
