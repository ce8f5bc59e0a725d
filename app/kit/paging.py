"""Opaque cursors of keyset pages: where the last page ended, signed so that none is made up."""

import base64
import binascii

from app.kit.crypto import Vault
from app.kit.errors import InvalidRequest

_SIGNATURE_DIGITS = 32


def make_cursor(vault: Vault, position: str) -> str:
    signed = vault.sign(f"cursor/{position}") + position
    return base64.urlsafe_b64encode(signed.encode()).decode().rstrip("=")


def parse_cursor(vault: Vault, cursor: str) -> str:
    """The position that the cursor stands for; raises InvalidRequest, never restarts silently."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        signed = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        signed = ""
    signature, position = signed[:_SIGNATURE_DIGITS], signed[_SIGNATURE_DIGITS:]
    if not position or not vault.verifies(f"cursor/{position}", signature):
        raise InvalidRequest(
            "the cursor is not one that this gateway gave: use `next_cursor` of the page before, "
            "unchanged",
            code="bad_cursor",
        )
    return position
