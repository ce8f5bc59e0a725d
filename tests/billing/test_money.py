"""Amounts: exact both ways, and refused when they are none."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.billing.money import format_amount, parse_amount, parse_currency
from app.kit.errors import InvalidRequest

AMOUNTS = st.decimals(0, 999_999_999, allow_nan=False, allow_infinity=False, places=6)


@given(AMOUNTS)
def test_an_amount_survives_being_written_and_read(amount: Decimal) -> None:
    assert parse_amount(format_amount(amount)) == amount


@given(AMOUNTS)
def test_an_amount_has_two_decimals_and_no_needless_zero(amount: Decimal) -> None:
    decimals = format_amount(amount).partition(".")[2]

    assert len(decimals) >= 2
    assert len(decimals) == 2 or not decimals.endswith("0")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("1.8", "1.80"),
        ("0.220177", "0.220177"),
        ("0", "0.00"),
        ("1E+3", "1000.00"),
        ("1E-6", "0.000001"),
        ("12.300000", "12.30"),
        ("-0.5", "-0.50"),
    ],
)
def test_amounts_read_as_people_write_them(amount: str, text: str) -> None:
    assert format_amount(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "not_an_amount"),
        ("free", "not_an_amount"),
        ("nan", "not_an_amount"),
        ("Infinity", "not_an_amount"),
        ("0,20", "not_an_amount"),
        ("1" * 50, "not_an_amount"),
        ("-0.01", "amount_out_of_range"),
        ("1e9", "amount_out_of_range"),
        ("0.0000001", "amount_too_fine"),
    ],
)
def test_what_is_no_amount_is_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_amount(text, field="unit_price")

    (problem,) = refused.value.problems
    assert (problem.path, problem.code) == ("unit_price", code)


@pytest.mark.parametrize("text", ["", "cny", "CNYX", "¥¥¥", "CNY\n"])
def test_what_is_no_currency_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="CNY"):
        parse_currency(text)


def test_minus_zero_is_zero() -> None:
    assert format_amount(parse_amount("-0")) == "0.00"
