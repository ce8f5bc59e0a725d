"""Addresses of input images: freed of what pasting adds, and written in one way (pure)."""

import re
import unicodedata
from urllib.parse import quote, urlsplit

from app.jobs.requests.edit import UrlImage
from app.jobs.requests.field_rules import find_unstorable

URL_CHARACTERS = 8_000
"""Signed URLs have 2,000 to 4,000, some 6,000; the upstream documents no limit."""
TRIMMED_CHARACTERS = 1_000
"""At either end: more of them is nothing that somebody pasted."""

_SPACES = "".join(filter(str.isspace, map(chr, range(0x3001))))
_MARKS = "\u00ad\u200b\u200e\u200f\u2060\ufeff" + "".join(
    map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)
"""Characters that nobody sees: word breaks, byte order marks, changes of direction."""
_JOINERS = "\u200c\u200d"
"""Within a word they are part of its spelling, in Persian and in emoji."""

_UNSAFE_IN_URL = re.compile(rf"[\x00-\x20\x7f\\{_SPACES}{_MARKS}]")
_BEFORE_SCHEME = re.compile(r"([^a-z])[^a-z]{0,7}(?=(https?://|data:|oss://))", re.IGNORECASE)
_AROUND = _SPACES + _MARKS + _JOINERS


class BadImage(Exception):
    """One image's fault, on its way to the list of problems."""

    def __init__(self, code: str, message: str, **limits: object) -> None:
        super().__init__(message)
        self.code, self.message, self.limits = code, message, limits


def trim_address(text: str) -> str:
    """Without the white space and the invisible characters around it, up to some number."""
    front, back = text[:TRIMMED_CHARACTERS], text[-TRIMMED_CHARACTERS:]
    start = len(front) - len(front.lstrip(_AROUND))
    end = len(text) - len(back) + len(back.rstrip(_AROUND))
    return text[start:end]


def parse_url(text: str) -> UrlImage:
    """An http or https URL, its scheme and host in small letters; raises BadImage."""
    if len(text) > URL_CHARACTERS:
        raise BadImage(
            "url_too_long",
            f"is a URL of {len(text)} characters, above {URL_CHARACTERS}; send the picture "
            "itself as a data URI, or upload it as a file",
            max=URL_CHARACTERS,
            actual=len(text),
        )
    unsafe = _UNSAFE_IN_URL.search(text)
    if unsafe:
        raise BadImage(
            "bad_url",
            f"has {name_character(unsafe[0])} at character {unsafe.start()}; remove it, or write "
            f"it as {quote(unsafe[0])}",
        )
    fault = find_unstorable(text)
    if fault:
        raise BadImage("unstorable", fault)
    try:
        parts = urlsplit(text)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise BadImage("bad_url", f"is no URL: {error}") from None
    if not is_whole:
        raise BadImage("bad_url", "is a URL without a host")
    behind = parts.netloc.rpartition("]")[2]
    if "]" in parts.netloc and behind and not behind.startswith(":"):  # Told by some Pythons only.
        raise BadImage("bad_url", "is no URL: only a port may stand behind the brackets of a host")
    if "@" in parts.netloc:
        raise BadImage("bad_url", "has a user name in it; use a signed URL or upload the file")
    return UrlImage(_lower_scheme_and_host(text, parts.netloc))


def find_before_scheme(text: str) -> str | None:
    """What stands where an address should begin, such as a quotation mark; or None."""
    found = _BEFORE_SCHEME.match(text)
    return (
        None if found is None else f"has {name_character(found[1])} before {found[2]}; remove it"
    )


def name_character(character: str) -> str:
    """`U+200B ZERO WIDTH SPACE`; control characters have no name."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".strip()


def _lower_scheme_and_host(text: str, netloc: str) -> str:
    """The upstream knows small letters only. A path keeps its letters: they may matter."""
    scheme, _, rest = text.partition("://")
    host = netloc.lower() if netloc.isascii() else netloc
    return f"{scheme.lower()}://{host}{rest[len(netloc) :]}"
