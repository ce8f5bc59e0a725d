"""What an image costs, where and from when on (pure).

The defaults are the upstream's list prices for each delivered image, whatever its size; failures
and inputs are free. Source: Alibaba Cloud Model Studio, "Model pricing", China site, read in
spring 2026. Accounts of the international site are billed in USD: set their prices.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """The price of one delivered image."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class DatedPrice:
    """A price of a model in a region, in force until the next one begins."""

    model: str
    region: str
    unit: UnitPrice
    valid_from: datetime


_LISTED_FROM = datetime(2025, 9, 1, tzinfo=UTC)

DEFAULT_PRICES = (
    DatedPrice(
        "wan2.5-i2i-preview", "cn-beijing", UnitPrice(Decimal("0.20"), "CNY"), _LISTED_FROM
    ),
    DatedPrice(
        "wan2.5-i2i-preview", "ap-southeast-1", UnitPrice(Decimal("0.220177"), "CNY"), _LISTED_FROM
    ),
)


def price_at(
    prices: Iterable[DatedPrice], model: str, region: str, moment: datetime
) -> DatedPrice | None:
    """The price in force at the moment; None when the model has none there yet."""
    begun = (
        price
        for price in prices
        if (price.model, price.region) == (model, region) and price.valid_from <= moment
    )
    return max(begun, key=lambda price: price.valid_from, default=None)


def find_currency_changes(prices: Iterable[DatedPrice], price: DatedPrice) -> list[DatedPrice]:
    """The prices of the model, at the moment when this one begins, that have another currency.

    That of the same region is replaced; with one of another region it cannot be compared.
    """
    known = list(prices)
    regions = sorted({one.region for one in known})
    at_that_time = (price_at(known, price.model, region, price.valid_from) for region in regions)
    return [
        found
        for found in at_that_time
        if found is not None and found.unit.currency != price.unit.currency
    ]
