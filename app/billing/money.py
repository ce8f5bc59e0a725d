"""Amounts of money as text: exact both ways, never a float (pure)."""

import re
from decimal import Decimal, InvalidOperation

from app.kit.errors import FieldProblem, InvalidRequest

DECIMALS = 6
AMOUNT_LIMIT = Decimal(10) ** 9
_AMOUNT_LENGTH_LIMIT = 40
_SHOWN_DECIMALS = 2


def format_amount(amount: Decimal) -> str:
    """Plain digits with two decimals, more only where they say something: 1.80, 0.220177."""
    whole, _, decimals = f"{amount:f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(_SHOWN_DECIMALS, '0')}"


def parse_amount(text: str, *, field: str = "amount") -> Decimal:
    """An amount of zero or more with at most six decimals; raises InvalidRequest."""
    try:
        amount = Decimal(text.strip()) if len(text) <= _AMOUNT_LENGTH_LIMIT else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite():
        raise _refuse(field, "not_an_amount", f"{text[:40]!r} is no amount; write it as 0.20")
    if not 0 <= amount < AMOUNT_LIMIT:
        raise _refuse(
            field, "amount_out_of_range", f"{text} is not between 0 and {AMOUNT_LIMIT - 1:,}"
        )
    if amount != round(amount, DECIMALS):
        raise _refuse(
            field, "amount_too_fine", f"{text} has more than the {DECIMALS} decimals that are kept"
        )
    return abs(round(amount, DECIMALS))


def parse_currency(text: str) -> str:
    """An ISO 4217 code in capitals; raises InvalidRequest."""
    if not re.fullmatch(r"[A-Z]{3}", text):
        raise _refuse(
            "currency", "bad_currency", f"{text[:40]!r} is no currency code; write it as CNY"
        )
    return text


def _refuse(field: str, code: str, message: str) -> InvalidRequest:
    return InvalidRequest.from_problems((FieldProblem((field,), code, message),))
