"""`account`: the DashScope accounts behind the gateway."""

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from app import PROGRAM
from app.accounts import store
from app.accounts.keys import add_key, replace_keys
from app.accounts.overview import load_overview
from app.accounts.rules import (
    API_KEY_LENGTH_LIMIT,
    BASE_URLS,
    AccountLimits,
    NewAccount,
    check_account,
)
from app.accounts.tables import Account, Lane
from app.cli.arguments import parse_number
from app.cli.context import in_transaction, load_settings, open_vault, who_acts
from app.cli.local.upstream import EMULATOR, dismiss_stand_in
from app.cli.operators.account_trial import (
    Trial,
    Verdict,
    describe_trial,
    try_account,
    try_new_key,
)
from app.cli.operators.account_views import (
    COLUMNS,
    find_next_steps,
    to_document,
    to_lines,
    view_account,
)
from app.cli.output import AsJson, Yes, confirm, print_json, print_table, say
from app.kit.crypto import Vault
from app.kit.errors import InvalidRequest
from app.settings import SettingMissing

accounts = typer.Typer(help="Upstream accounts and their limits.", no_args_is_help=True)

DEFAULTS = AccountLimits()

AccountChange = Callable[..., Awaitable[None]]

AskedAccount = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name or id.")]


def _number(help_text: str) -> Any:
    return typer.Option(parser=parse_number, metavar="NUMBER", help=help_text)


MAX_RUNNING = typer.Option(help="Most tasks upstream at once.")
SUBMIT_RATE = _number("Most submits a second.")
QUERY_RATE = _number("Most queries a second.")
WEIGHT = _number("Share of the work among accounts.")


@accounts.command("add")
def add_account(
    *,
    name: Annotated[str, typer.Argument(help="1 to 63 of a-z, 0-9, '.', '_' and '-'.")],
    region: Annotated[str, typer.Option(help=f"{' or '.join(BASE_URLS)}.")],
    base_url: Annotated[
        str | None, typer.Option(help="Ends in /api/v1; the region's own unless given.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="VAR", help="Environment variable with its API key.")
    ] = None,
    api_key_stdin: Annotated[
        bool, typer.Option("--api-key-stdin", help="Read its API key from standard input.")
    ] = False,
    max_running: Annotated[int, MAX_RUNNING] = DEFAULTS.max_running,
    submit_rate: Annotated[Decimal, SUBMIT_RATE] = DEFAULTS.submit_rate,
    query_rate: Annotated[Decimal, QUERY_RATE] = DEFAULTS.query_rate,
    weight: Annotated[Decimal, WEIGHT] = DEFAULTS.weight,
    as_json: AsJson = False,
) -> None:
    """Add an account and try its API key, which is encrypted at once and never an argument."""
    if (api_key_env is None) != api_key_stdin:
        raise typer.BadParameter("give either --api-key-env VAR or --api-key-stdin")
    new = NewAccount(
        name=name,
        region=region,
        api_key=_read_api_key(api_key_env),
        base_url=base_url,
        limits=AccountLimits(
            max_running=max_running, submit_rate=submit_rate, query_rate=query_rate, weight=weight
        ),
    )
    vault = open_vault(load_settings())
    check_account(new)
    trial = try_new_key(new.resolved_base_url(), new.api_key)
    is_refused = trial.verdict is Verdict.REFUSED

    account, has_dismissed = in_transaction(
        lambda session: _store_account(session, vault, new, trial)
    )
    outcome = "takes nothing, for its key is refused" if is_refused else "is there and takes work"
    _print_account(account, as_json, outcome)
    if has_dismissed:
        say(f"{EMULATOR}, which stood in for DashScope, takes nothing new any more.")
    _tell_trials(account.name, [trial])
    raise typer.Exit(1 if is_refused else 0)


async def _store_account(
    session: AsyncSession, vault: Vault, new: NewAccount, trial: Trial
) -> tuple[Account, bool]:
    """The account, and whether the stand-in has left for it."""
    account = await store.create_account(session, vault, new, actor=who_acts())
    await store.note_try(session, account, verdict=trial.verdict, said=trial.said)
    if trial.verdict is Verdict.REFUSED:
        # What stands in may stay, for this one takes nothing until a key of it works.
        await store.drain_account(session, account, actor=who_acts())
        return account, False
    return account, account.name != EMULATOR and await dismiss_stand_in(session)


@accounts.command("test")
def try_keys(*, account: AskedAccount, as_json: AsJson = False) -> None:
    """Try each API key of an account by a call that costs nothing; exit 1 unless all work."""
    trials = try_account(account, open_vault(load_settings()))
    if as_json:
        print_json([asdict(trial) for trial in trials])
    for trial in () if as_json else trials:
        typer.echo(describe_trial(trial))
    if not trials:
        say(f"The account {account} has no API key: it was removed.")
    works = trials and all(trial.verdict is Verdict.WORKS for trial in trials)
    raise typer.Exit(0 if works else 1)


@accounts.command("list")
def list_accounts(*, as_json: AsJson = False) -> None:
    """List every account: state, health, tasks, what it has learned, its last trouble."""
    vault = _find_vault()
    views = in_transaction(lambda session: load_overview(session, vault))
    if as_json:
        print_json([to_document(view) for view in views])
    elif views:
        print_table([line for view in views for line in to_lines(view)], COLUMNS)
        for step in (step for view in views for step in find_next_steps(view)):
            say(step)
    else:
        say(f"There is no account yet: {PROGRAM} account add NAME --region cn-beijing ...")


@accounts.command("set")
def set_account(
    *,
    account: AskedAccount,
    max_running: Annotated[int | None, MAX_RUNNING] = None,
    submit_rate: Annotated[Decimal | None, SUBMIT_RATE] = None,
    query_rate: Annotated[Decimal | None, QUERY_RATE] = None,
    weight: Annotated[Decimal | None, WEIGHT] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(metavar="VAR", help="Variable with the API key to use instead of all."),
    ] = None,
    api_key_stdin: Annotated[
        bool, typer.Option("--api-key-stdin", help="Read that key from standard input.")
    ] = False,
    add_api_key_env: Annotated[
        str | None,
        typer.Option(metavar="VAR", help="Variable with one more API key of this account."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change limits and API keys; what is not given stays, and what was suspended is tried."""
    asked = {
        "max_running": max_running,
        "submit_rate": submit_rate,
        "query_rate": query_rate,
        "weight": weight,
    }
    changes: Any = {field: value for field, value in asked.items() if value is not None}
    keys_asked = [api_key_env is not None, api_key_stdin, add_api_key_env is not None]
    if sum(keys_asked) > 1 or not (any(keys_asked) or changes):
        raise typer.BadParameter(
            "give limits, or one of --api-key-env, --api-key-stdin and --add-api-key-env, or both"
        )
    change_key = None
    if any(keys_asked):
        change_key = _to_key_change(add_api_key_env or api_key_env, is_added=keys_asked[2])

    async def work(session: AsyncSession) -> Account:
        found = await store.get_account(session, account)
        if changes:
            limits = replace(store.to_limits(found), **changes)
            await store.set_account(session, found, limits, actor=who_acts())
        if change_key is not None:
            await change_key(session, found)
        return found

    _print_account(in_transaction(work), as_json, "is changed")
    if change_key is not None:
        _try_and_tell(account)


@accounts.command("drain")
def drain_account(
    *,
    account: AskedAccount,
    undo: Annotated[bool, typer.Option("--undo", help="Let it take new work again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let an account finish what it has and take nothing new."""
    if undo:
        _move(account, store.resume_account, as_json, "takes work again")
    else:
        outcome = "finishes what it has and takes nothing new"
        _move(account, store.drain_account, as_json, outcome)


@accounts.command("resume")
def resume_account(*, account: AskedAccount, as_json: AsJson = False) -> None:
    """Let an account that was drained, suspended or paused be tried again at once."""
    _move(account, store.resume_account, as_json, "takes work again")


@accounts.command("remove")
def remove_account(*, account: AskedAccount, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove an account for good; its history stays."""
    confirm(
        f"Remove {account}? Its API keys are forgotten and its name cannot be given again; to "
        f"have it take nothing new, `{PROGRAM} account drain {account}` is enough.",
        yes=yes,
    )
    _move(account, store.remove_account, as_json, "is removed")


def _move(name: str, change: AccountChange, as_json: bool, outcome: str) -> None:
    async def work(session: AsyncSession) -> Account:
        found = await store.get_account(session, name)
        await change(session, found, actor=who_acts())
        return found

    _print_account(in_transaction(work), as_json, outcome)


def _try_and_tell(name: str) -> None:
    trials = try_account(name, open_vault(load_settings()))
    _tell_trials(name, trials)
    if name != EMULATOR and any(trial.verdict is Verdict.WORKS for trial in trials):
        in_transaction(dismiss_stand_in)
        say(f"If it is draining: {PROGRAM} account resume {name}")


def _tell_trials(name: str, trials: Sequence[Trial]) -> None:
    for trial in trials:
        say(describe_trial(trial))
    if any(trial.verdict is not Verdict.WORKS for trial in trials):
        say(f"To change the key: {PROGRAM} account set {name} --api-key-env VAR")


def _to_key_change(
    variable: str | None, *, is_added: bool
) -> Callable[[AsyncSession, Account], Awaitable[Lane]]:
    """Reads the key at once, so that a variable that is not set is told before anything else."""
    change = add_key if is_added else replace_keys
    vault, api_key = open_vault(load_settings()), _read_api_key(variable)
    return lambda session, account: change(session, vault, account, api_key, actor=who_acts())


def _find_vault() -> Vault | None:
    """To see which keys do not open; the list is there without it."""
    try:
        return open_vault(load_settings())
    except SettingMissing:
        return None


def _print_account(account: Account, as_json: bool, outcome: str) -> None:
    if as_json:
        print_json(view_account(account))
    else:
        typer.echo(f"The account {account.name} ({account.base_url}) {outcome}.")


def _read_api_key(variable: str | None) -> SecretStr:
    if variable is None:
        return SecretStr(sys.stdin.read(API_KEY_LENGTH_LIMIT + 2).strip())
    api_key = os.environ.get(variable, "").strip()
    if not api_key:
        raise InvalidRequest(f"api_key_env: the environment variable {variable!r} is not set")
    return SecretStr(api_key)
