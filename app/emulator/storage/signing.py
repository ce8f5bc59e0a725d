"""How the object store signs and refuses (pure)."""

import base64
import hmac
from xml.sax.saxutils import escape

SIGNATURE_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your key and signing method."
)


class StorageRefused(Exception):
    """The object store answers with an error of its own kind."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def sign(secret: bytes, text: str) -> str:
    """HMAC-SHA1 in base64, as the object store's first signature version."""
    return base64.b64encode(hmac.digest(secret, text.encode(), "sha1")).decode()


def storage_error_xml(refusal: StorageRefused, request_id: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n'
        f"  <Code>{refusal.code}</Code>\n"
        f"  <Message>{escape(refusal.message)}</Message>\n"
        f"  <RequestId>{request_id}</RequestId>\n"
        "</Error>\n"
    )
