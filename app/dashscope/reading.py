"""Answers read field by field (pure): what is odd in one place hides nothing in another."""

import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, ValidatorFunctionWrapHandler, WrapValidator

from app.kit.json_values import check_values

T = TypeVar("T")

TEXT_LIMIT = 8_192
"""In characters: longer than signed URLs and rewritten prompts are."""
ITEMS_LIMIT = 100
INTEGER_DIGITS_LIMIT = 200
"""Beyond any number of the wire, and any name that is one; what is longer is neither."""


def load_json(content: bytes) -> Any:
    """A JSON text in any encoding error's shape; raises ValueError when it is none, or vast."""
    check_values(content)
    try:
        return json.loads(
            content.decode("utf-8-sig", "replace"),
            parse_constant=_to_none,
            parse_int=_to_integer,
        )
    except RecursionError:
        raise ValueError("nested too deep") from None


def or_else(default: T) -> WrapValidator:
    """A field that takes the default where it cannot be read."""

    def read(value: object, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except (ValueError, TypeError, ArithmeticError, OSError):
            return default

    return WrapValidator(read)


def each_or_else(make_default: Callable[[], T], read: Callable[[Any], T]) -> BeforeValidator:
    """A list whose odd items are defaults in their places; what is no list is empty.

    It ends at `ITEMS_LIMIT`: no task has as many pictures.
    """

    def read_each(value: object) -> object:
        if isinstance(value, tuple):
            return value
        items = value[:ITEMS_LIMIT] if isinstance(value, list) else ()
        return tuple(map(_read_or(make_default, read), items))

    return BeforeValidator(read_each)


def _read_or(make_default: Callable[[], T], read: Callable[[Any], T]) -> Callable[[Any], T]:
    def read_one(value: Any) -> T:
        try:
            return read(value)
        except ValueError:
            return make_default()

    return read_one


def _to_text(value: object) -> object:
    """Postgres keeps neither NUL nor half a surrogate pair, and none belongs into a text.

    What is longer than any text of the API is cut, with a mark that no URL and no id can have.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return value
    text = value[:TEXT_LIMIT].encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return text if len(value) <= TEXT_LIMIT else f"{text} [cut from {len(value)} characters]"


def _to_none(_: str) -> None:
    return None


def _to_integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= INTEGER_DIGITS_LIMIT else None


Text = Annotated[str, BeforeValidator(_to_text)]
"""A number counts as its digits."""
TextOrEmpty = Annotated[Text, or_else("")]
TextOrNone = Annotated[Text | None, or_else(None)]
