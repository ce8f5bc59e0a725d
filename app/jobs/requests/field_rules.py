"""Reading the fields of a request: types, limits, and every fault noted in words (pure)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from app.jobs.requests.models import MODELS, ModelRules, Range
from app.kit.errors import FieldProblem, InvalidRequest

Loc = tuple[str | int, ...]
Choice = TypeVar("Choice", bound=StrEnum)

SHOWN_CHARACTERS = 64
UNKNOWN_FIELDS_SHOWN = 16
_INTEGER_TEXT = re.compile(r"-?[0-9]{1,18}")
_SIZE = re.compile(r"([1-9][0-9]{0,5})[*x]([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class Fields:
    """One object of a request. Lenient reading coerces and cuts as the upstream does, and takes
    the empty string of a form left blank for a field that is not given.

    A fault is noted and a stand-in returned, so that all are found before `refuse_faults`.
    """

    values: Mapping[str, object]
    loc: Loc = ()
    lenient: bool = False
    problems: list[FieldProblem] = field(default_factory=list)

    @classmethod
    def of(cls, body: object, *, lenient: bool = False) -> "Fields":
        """InvalidRequest when the body is no object."""
        if not isinstance(body, Mapping):
            raise InvalidRequest(f"the body must be a JSON object, not {name_type(body)}")
        return cls(body, lenient=lenient)

    def refuse_faults(self) -> None:
        if self.problems:
            raise InvalidRequest.from_problems(tuple(self.problems))

    def note(self, name: str, code: str, message: str, **limits: object) -> None:
        self.problems.append(FieldProblem((*self.loc, name), code, message, limits))

    def note_type(self, name: str, wanted: str) -> None:
        value = self.values.get(name)
        self.note(name, "wrong_type", f"must be {wanted}, not {show_value(value)}")

    def section(self, name: str) -> "Fields":
        """A nested object; missing and null count as empty."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, Mapping):
            self.note_type(name, "an object")
        inner = value if isinstance(value, Mapping) else {}
        return Fields(inner, (*self.loc, name), self.lenient, self.problems)

    def refuse_unknown(self, known: frozenset[str], advices: Mapping[str, str]) -> None:
        """`advices` say what to write in place of names that are known from elsewhere."""
        names = sorted(known)
        unknown = (name for name in self.values if name not in known)
        for name in islice(unknown, UNKNOWN_FIELDS_SHOWN):
            shown = show(name)
            close = get_close_matches(shown, names, n=1)
            advice = f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
            advice = advices.get(name, advice)
            self.note(shown, "unknown_field", f"is not a field of this request; {advice}")

    def scalar(self, name: str) -> object:
        """None when it is missing or null, and where reading is lenient, when it is empty."""
        value = self.values.get(name)
        return None if self.lenient and value == "" else value

    def text(self, name: str, *, longest: int) -> str | None:
        """None when it is missing, null or empty."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.note_type(name, "a string")
            return None
        if len(value) > longest and not self.lenient:
            self.note(
                name,
                "too_long",
                f"has {len(value)} characters, above {longest}; shorten it",
                max=longest,
                actual=len(value),
            )
        value = value[:longest]
        fault = find_unstorable(value)
        if fault:
            self.note(name, "unstorable", fault)
        return value or None

    def required_text(self, name: str, *, longest: int) -> str:
        value = self.text(name, longest=longest)
        is_blank = value is None or not value.strip()
        if is_blank and isinstance(self.values.get(name), str | None):
            self.note(
                name,
                "missing",
                f"is required: give 1 to {longest} characters",
                min=1,
                max=longest,
                actual=0,
            )
        return value or ""

    def integer(self, name: str, bounds: Range) -> int | None:
        """None when it is not given."""
        value = self.scalar(name)
        if value is None:
            return None
        number = _to_integer(value) if self.lenient else value
        if not isinstance(number, int) or isinstance(number, bool):
            self.note_type(name, "a whole number")
            return None
        smallest, largest = bounds
        if not smallest <= number <= largest:
            actual = number if number.bit_length() < 64 else "beyond 64 bits"
            self.note(
                name,
                "out_of_range",
                f"is {actual}; it must be {smallest} to {largest}",
                min=smallest,
                max=largest,
                actual=actual,
            )
            return None
        return number

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self.scalar(name)
        if self.lenient and isinstance(value, str) and value.lower() in {"true", "false"}:
            return value.lower() == "true"
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.note_type(name, "true or false")
        return default

    def choice(self, name: str, default: Choice) -> Choice:
        value = self.values.get(name)
        if value is None:
            return default
        known = {choice.value: choice for choice in type(default)}
        if isinstance(value, str) and value in known:
            return known[value]
        told = f"is {show_value(value)}; it must be {' or '.join(known)}"
        self.note(name, "not_a_choice", told)
        return default

    def size(self, name: str, rules: ModelRules) -> str | None:
        """Normalised to "W*H"; "WxH" is understood as well."""
        value = self.scalar(name)
        if value is None:
            return None
        match = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            told = f'must be "width*height" such as "1280*1280", not {show_value(value)}'
            self.note(name, "bad_size", told)
            return None
        self._check_size(name, int(match[1]), int(match[2]), rules)
        return f"{match[1]}*{match[2]}"

    def _check_size(self, name: str, width: int, height: int, rules: ModelRules) -> None:
        smallest, largest = rules.output_area_pixels
        aspect = rules.output_aspect
        if not smallest <= width * height <= largest:
            self.note(
                name,
                "size_area",
                f"{width}*{height} is {width * height} pixels; "
                f"it must be {smallest} (768*768) to {largest} (1280*1280)",
                min=smallest,
                max=largest,
                actual=width * height,
            )
        if max(width, height) > aspect * min(width, height):
            self.note(
                name,
                "size_aspect",
                f"{width}*{height} is {show_aspect(width, height)}; "
                f"width to height must be 1:{aspect} to {aspect}:1",
                min=1 / aspect,
                max=aspect,
                actual=round(width / height, 3),
            )


def read_model(fields: Fields, *, default: ModelRules | None) -> ModelRules:
    """The rules of the wanted model; without them nothing else can be judged: InvalidRequest."""
    value = fields.values.get("model")
    if value is None and default is not None:
        return default
    if isinstance(value, str) and value in MODELS:
        return MODELS[value]
    told = f"{show_value(value)} is no model; give {' or '.join(MODELS)}"
    fields.note("model", "model_not_found", told)
    raise InvalidRequest.from_problems(tuple(fields.problems))


def find_unstorable(text: str) -> str | None:
    """What Postgres could not keep of the text, or None."""
    if "\0" in text:
        return "contains a NUL character (U+0000); remove it"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"contains half of a surrogate pair at character {error.start}; send whole UTF-8"
    return None


def show(text: str) -> str:
    """A piece of the caller's own text, short and encodable."""
    cut = text[:SHOWN_CHARACTERS] + ("..." if len(text) > SHOWN_CHARACTERS else "")
    return cut.encode(errors="backslashreplace").decode()


def show_value(value: object) -> str:
    """A scalar as JSON writes it, short; of anything larger only its type."""
    match value:
        case str():
            return f'"{show(value)}"'
        case bool():
            return str(value).lower()
        case int() if value.bit_length() >= 64:
            return "a number beyond 64 bits"
        case int() | float():
            return str(value)
    return name_type(value)


def show_aspect(width: int, height: int) -> str:
    """`1.78:1` or `1:1.78`, exact enough to tell a ratio from its limit."""
    longer, shorter = max(width, height), min(width, height)
    ratio = f"{longer / shorter:.6g}"
    return f"{ratio}:1" if width >= height else f"1:{ratio}"


def name_type(value: object) -> str:
    """The JSON word for the type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case Mapping():
            return "an object"
    return "an array"


def _to_integer(value: object) -> object:
    if isinstance(value, str) and _INTEGER_TEXT.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
