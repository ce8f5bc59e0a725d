"""`price`: what an image costs, and from when on."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from app import PROGRAM
from app.accounts.rules import BASE_URLS
from app.billing import price_store
from app.billing.money import format_amount, parse_amount, parse_currency
from app.billing.prices import DatedPrice, UnitPrice, find_currency_changes, price_at
from app.billing.tables import Price
from app.cli.arguments import in_zone, parse_moment
from app.cli.context import in_transaction, who_acts
from app.cli.output import AsJson, Yes, confirm, print_json, print_table, say
from app.jobs.requests.models import MODELS
from app.kit.clock import utc_now
from app.kit.errors import InvalidRequest
from app.kit.names import describe_missing
from app.teams.rules import DEFAULT_TIMEZONE, check_timezone

prices = typer.Typer(help="Prices of images, by model and region.", no_args_is_help=True)

AskedModel = Annotated[str, typer.Argument(help="Such as wan2.5-i2i-preview.")]
AskedRegion = Annotated[str, typer.Option(help="cn-beijing or ap-southeast-1.")]
Timezone = Annotated[
    str, typer.Option(metavar="ZONE", help="Whose days and times are meant and shown.")
]


@prices.command("set")
def set_price(
    *,
    model: AskedModel,
    unit_price: Annotated[str, typer.Argument(metavar="AMOUNT", help="Of one image: 0.20.")],
    region: AskedRegion,
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")] = "CNY",
    valid_from: Annotated[
        datetime | None,
        typer.Option(
            "--from",
            parser=parse_moment,
            metavar="TIME",
            help="Day (from its start in --timezone) or time; now unless given.",
        ),
    ] = None,
    timezone: Timezone = DEFAULT_TIMEZONE,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Set the price of a model in a region from a moment on; past prices stay."""
    _check_place(model, region, timezone)
    unit = UnitPrice(parse_amount(unit_price), parse_currency(currency))
    now = utc_now()
    begins_at = in_zone(valid_from, timezone) if valid_from else now
    price = DatedPrice(model, region, unit, begins_at)
    _ask_about_currency(price, timezone, yes=yes)
    stored = in_transaction(
        lambda session: price_store.set_price(session, price, now=now, actor=who_acts())
    )
    has_begun = stored.valid_from <= now
    if as_json:
        print_json(view_price(stored, "current" if has_begun else "future"))
        return
    typer.echo(
        f"An image of {model} in {region} costs {_describe(price)} from "
        f"{_show(begins_at, timezone)} on ({begins_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC)."
    )
    if not has_begun:
        begin = _local(begins_at, timezone).isoformat()
        say(f"To take it back: {PROGRAM} price cancel {model} --region {region} --from {begin}")


@prices.command("cancel")
def cancel_price(
    *,
    model: AskedModel,
    region: AskedRegion,
    valid_from: Annotated[
        datetime,
        typer.Option(
            "--from", parser=parse_moment, metavar="TIME", help="When it was to begin, as set."
        ),
    ],
    timezone: Timezone = DEFAULT_TIMEZONE,
    as_json: AsJson = False,
) -> None:
    """Take back a price that has not begun yet; the one before it goes on."""
    _check_place(model, region, timezone)
    begins_at = in_zone(valid_from, timezone)
    canceled = in_transaction(
        lambda session: price_store.cancel_price(
            session, model, region, begins_at, actor=who_acts()
        )
    )
    if as_json:
        print_json(view_price(canceled, "canceled"))
        return
    typer.echo(
        f"The price of {_describe(price_store.to_dated_price(canceled))} for {model} in {region} "
        f"from {_show(begins_at, timezone)} on is taken back."
    )


@prices.command("list")
def list_prices(*, timezone: Timezone = DEFAULT_TIMEZONE, as_json: AsJson = False) -> None:
    """List every price there is, was or will be."""
    check_timezone(timezone)
    rows = in_transaction(price_store.list_prices)
    dated = [price_store.to_dated_price(row) for row in rows]
    now = utc_now()
    states = [_find_state(price, dated, now) for price in dated]
    views = [view_price(row, state) for row, state in zip(rows, states, strict=True)]
    if as_json:
        print_json(views)
    elif views:
        begin = f"from ({timezone})"
        lines = [
            view
            | {
                "unit_price": _describe(price),
                begin: f"{_local(price.valid_from, timezone):%Y-%m-%d %H:%M}",
            }
            for view, price in zip(views, dated, strict=True)
        ]
        print_table(lines, ("model", "region", "unit_price", begin, "state"))
    else:
        say(f"There is no price yet: {PROGRAM} price set MODEL AMOUNT --region REGION")


def view_price(price: Price, state: str) -> dict[str, Any]:
    return {
        "id": price.id,
        "model": price.model,
        "region": price.region,
        "unit_price": format_amount(price.unit_price),
        "currency": price.currency,
        "valid_from": price.valid_from,
        "is_current": state == "current",
        "state": state,
    }


def _find_state(price: DatedPrice, known: Iterable[DatedPrice], now: datetime) -> str:
    if price.valid_from > now:
        return "future"
    is_current = price_at(known, price.model, price.region, now) == price
    return "current" if is_current else "past"


def _ask_about_currency(price: DatedPrice, timezone: str, *, yes: bool) -> None:
    """Teams' bills change with it, and prices in two currencies cannot be compared."""
    rows = in_transaction(price_store.list_prices)
    changes = find_currency_changes(map(price_store.to_dated_price, rows), price)
    if not changes:
        return
    for other in changes:
        if other.region == price.region:
            say(
                f"The currency of {price.model} in {price.region} changes from "
                f"{other.unit.currency} to {price.unit.currency} at "
                f"{_show(price.valid_from, timezone)}; no report adds the two up."
            )
        else:
            say(
                f"{price.model} costs {_describe(other)} in {other.region}: while accounts of "
                "both regions are there, its jobs are refused, because two currencies cannot be "
                "compared."
            )
    confirm(f"Set {_describe(price)} all the same?", yes=yes)


def _describe(price: DatedPrice) -> str:
    return f"{format_amount(price.unit.amount)} {price.unit.currency}"


def _show(moment: datetime, timezone: str) -> str:
    return f"{_local(moment, timezone):%Y-%m-%d %H:%M} {timezone}"


def _local(moment: datetime, timezone: str) -> datetime:
    return moment.astimezone(ZoneInfo(timezone))


def _check_place(model: str, region: str, timezone: str) -> None:
    """A price of a mistyped model would never be found; raises InvalidRequest."""
    if model not in MODELS:
        raise InvalidRequest(f"model: {describe_missing('model', model, MODELS)}")
    if region not in BASE_URLS:
        raise InvalidRequest(f"region: {describe_missing('region', region, BASE_URLS)}")
    check_timezone(timezone)
