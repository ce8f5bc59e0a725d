"""Key text: how one is made, and told from a typing error without a database (pure)."""

import re
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from app.kit.errors import NotAuthenticated

KEY_PREFIX = "dg_live_"
KEY_PATTERN = r"dg_live_[0-9a-z]{8}_[0-9A-Za-z]{38}"
"""For secret scanners; the last six characters are a CRC-32 of all before, in base 62."""

KEY_IN_TEXT = re.compile(r"(dg_(?:live|test)_[0-9a-z]{0,8})\w*")

PUBLIC_ID_LENGTH = 8
SECRET_LENGTH = 32
CHECKSUM_LENGTH = 6

_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class MalformedKey(NotAuthenticated):
    """A text that cannot be a key of this gateway; the message never repeats it."""

    code = "malformed_api_key"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at the only moment when its text is known; the public id may be logged."""

    public_id: str
    text: str = field(repr=False)


def hide_keys(text: str) -> str:
    """The text with no more of a key in it than its public id."""
    return KEY_IN_TEXT.sub(r"\1...", text)


def make_key(choose: Callable[[str], str] = secrets.choice) -> NewKey:
    """A key with 190 bits of secret; `choose` picks one character of those it is given."""
    public_id = make_public_id(choose)
    secret = "".join(choose(_BASE62) for _ in range(SECRET_LENGTH))
    body = f"{KEY_PREFIX}{public_id}_{secret}"
    return NewKey(public_id, body + _checksum(body))


def make_public_id(choose: Callable[[str], str] = secrets.choice) -> str:
    return "".join(choose(_BASE36) for _ in range(PUBLIC_ID_LENGTH))


def parse_key(text: str) -> str:
    """The public id of a whole key; raises MalformedKey."""
    if not re.fullmatch(KEY_PATTERN, text):
        raise MalformedKey(
            f"this is not a key of this gateway: keys are {KEY_PREFIX!r} and 47 more characters; "
            "check that it was copied whole"
        )
    if _checksum(text[:-CHECKSUM_LENGTH]) != text[-CHECKSUM_LENGTH:]:
        raise MalformedKey(
            "the key was altered: its checksum does not match; copy it anew from where it is kept"
        )
    return text[len(KEY_PREFIX) : len(KEY_PREFIX) + PUBLIC_ID_LENGTH]


def _checksum(body: str) -> str:
    rest, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits
