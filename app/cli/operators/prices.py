"""`price`: what an image costs, and from when on."""

from datetime import datetime
from typing import Annotated, Any

import typer

from app import PROGRAM
from app.accounts.rules import BASE_URLS
from app.billing import price_store
from app.billing.money import format_amount, parse_amount, parse_currency
from app.billing.prices import DatedPrice, UnitPrice, price_at
from app.billing.tables import Price
from app.cli.arguments import parse_moment
from app.cli.context import in_transaction, who_acts
from app.cli.output import AsJson, print_json, print_table, say
from app.jobs.requests.models import MODELS
from app.kit.clock import utc_now
from app.kit.errors import InvalidRequest
from app.kit.names import describe_missing

prices = typer.Typer(help="Prices of images, by model and region.", no_args_is_help=True)

COLUMNS = ("model", "region", "unit_price", "currency", "valid_from", "is_current")


@prices.command("set")
def set_price(
    *,
    model: Annotated[str, typer.Argument(help="Such as wan2.5-i2i-preview.")],
    unit_price: Annotated[str, typer.Argument(metavar="AMOUNT", help="Of one image: 0.20.")],
    region: Annotated[str, typer.Option(help="cn-beijing or ap-southeast-1.")],
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")] = "CNY",
    valid_from: Annotated[
        datetime | None,
        typer.Option(
            "--from",
            parser=parse_moment,
            metavar="TIME",
            help="Day (from midnight UTC) or time with offset; now unless given.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set the price of a model in a region from a moment on; past prices stay."""
    _check_place(model, region)
    now = utc_now()
    price = DatedPrice(
        model,
        region,
        UnitPrice(parse_amount(unit_price), parse_currency(currency)),
        valid_from or now,
    )
    stored = in_transaction(
        lambda session: price_store.set_price(session, price, now=now, actor=who_acts())
    )
    view = view_price(stored, is_current=stored.valid_from <= now)
    if as_json:
        print_json(view)
        return
    typer.echo(
        f"An image of {model} in {region} costs {view['unit_price']} {currency} from "
        f"{stored.valid_from.isoformat(timespec='seconds')} on."
    )


@prices.command("list")
def list_prices(*, as_json: AsJson = False) -> None:
    """List every price there is, was or will be."""
    rows = in_transaction(price_store.list_prices)
    dated = [price_store.to_dated_price(row) for row in rows]
    now = utc_now()
    views = [
        view_price(row, is_current=price_at(dated, row.model, row.region, now) == price)
        for row, price in zip(rows, dated, strict=True)
    ]
    if as_json:
        print_json(views)
    elif views:
        print_table(views, COLUMNS)
    else:
        say(f"There is no price yet: {PROGRAM} price set MODEL AMOUNT --region REGION")


def view_price(price: Price, *, is_current: bool) -> dict[str, Any]:
    return {
        "id": price.id,
        "model": price.model,
        "region": price.region,
        "unit_price": format_amount(price.unit_price),
        "currency": price.currency,
        "valid_from": price.valid_from,
        "is_current": is_current,
    }


def _check_place(model: str, region: str) -> None:
    """A price of a mistyped model would never be found; raises InvalidRequest."""
    if model not in MODELS:
        raise InvalidRequest(f"model: {describe_missing('model', model, MODELS)}")
    if region not in BASE_URLS:
        raise InvalidRequest(f"region: {describe_missing('region', region, BASE_URLS)}")
