"""Query parameters that nobody reads are refused: what they ask for would not happen."""

from collections.abc import Collection
from difflib import get_close_matches

from starlette.requests import Request

from app.kit.errors import FieldProblem, InvalidRequest

SHOWN_CHARACTERS = 64


def refuse_unknown_parameters(
    request: Request, known: Collection[str], *, prefix: str | None = None
) -> None:
    """Raises InvalidRequest; names that begin with `prefix` are known as well."""
    unknown = [
        name
        for name in request.query_params
        if name not in known and not (prefix and name.startswith(prefix))
    ]
    if unknown:
        raise InvalidRequest.from_problems(tuple(_note(name, known) for name in unknown))


def _note(name: str, known: Collection[str]) -> FieldProblem:
    shown = name[:SHOWN_CHARACTERS]
    close = get_close_matches(shown, known, n=1)
    advice = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
    return FieldProblem(("query", shown), "unknown_parameter", f"is not read here; {advice}")
