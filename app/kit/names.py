"""Names that people give to things: their form, and what to say when one is not there."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from uuid import UUID

from app.kit.errors import FieldProblem

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,62}"


def find_name_problem(field: str, name: str) -> FieldProblem | None:
    """What keeps the text from being a name, if anything does."""
    if not re.fullmatch(NAME_PATTERN, name):
        return FieldProblem(
            (field,),
            "bad_name",
            f"{name!r} is no name: use 1 to 63 of a-z, 0-9, '.', '_' and '-', the first of them "
            "a letter or a digit",
            {"pattern": NAME_PATTERN},
        )
    if to_uuid(name):
        return FieldProblem((field,), "bad_name", f"{name!r} would be mistaken for an id")
    return None


def to_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def describe_missing(noun: str, asked: str, known: Iterable[str]) -> str:
    """`no team 'asd'; did you mean ads?`: what was asked, and the nearest of what is there."""
    names = sorted(known)
    close = get_close_matches(asked, names, n=3, cutoff=0.5)
    if close:
        return f"no {noun} {asked!r}; did you mean {' or '.join(close)}?"
    if not names:
        return f"no {noun} {asked!r}: there is none yet"
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return f"no {noun} {asked!r}; there are: {listed}"
