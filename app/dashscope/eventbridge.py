"""Completion events as EventBridge pushes them: their shape, and how they are signed (pure).

Source: Alibaba Cloud EventBridge, "Signature algorithm" (`x-eventbridge-signature-v2`), and Model
Studio, "Asynchronous task API" for the event. The formula there ends with the body, Alibaba's own
verifier puts a line feed behind it: both are taken. A signature tells that EventBridge sent the
push to this address, not for whom, as anybody's rule may push here: only the token of the target
tells that. The older HMAC-SHA1 signature is not taken: whoever received one push knows the secret
that signs any other.
"""

import base64
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate
from pydantic import Field, ValidationError

from app.dashscope.payloads import WireShape
from app.kit.errors import InvalidRequest, NotPermitted

TIMESTAMP_HEADER = "x-eventbridge-signature-timestamp"
HASH_HEADER = "x-eventbridge-hash-method"
VERSION_HEADER = "x-eventbridge-signature-version"
CERTIFICATE_HEADER = "x-eventbridge-signature-url"
TOKEN_HEADER = "x-eventbridge-signature-token"  # noqa: S105
SIGNATURE_HEADER = "x-eventbridge-signature-v2"
SIGNED_HEADERS = (
    TIMESTAMP_HEADER,
    HASH_HEADER,
    VERSION_HEADER,
    CERTIFICATE_HEADER,
    TOKEN_HEADER,
)
"""In the order in which they are signed."""

HASH_METHOD = "SHA256"
VERSION = "1.0"
FRESH_SECONDS = 60
"""A push is good for that long after its time, and no further ahead of it."""

EVENT_SOURCE = "acs.dashscope"
EVENT_TYPE = "dashscope:System:AsyncTaskFinish"

_OFFICIAL_CERTIFICATE = re.compile(
    r"https://(?:cn-beijing|ap-southeast-1)-eventbridge\.oss-accelerate\.aliyuncs\.com"
    r"/[A-Za-z0-9_./-]{1,200}"
)
"""Each region by name: a bucket `anything-eventbridge` is anybody's to make."""


class EventRejected(NotPermitted):
    """A push that EventBridge did not make for us, or not now."""

    code = "event_rejected"


@dataclass(frozen=True, slots=True)
class Push:
    """One request as it came; header names in lower case, `url` as the target is configured."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class _FinishedTask(WireShape):
    task_id: str = Field(pattern=r"^[0-9A-Za-z_-]{1,128}$")


class _FinishedEvent(WireShape):
    data: _FinishedTask


class _Event(WireShape):
    source: str
    type: str
    data: Any = None


def is_official_certificate(url: str) -> bool:
    """Whether Alibaba keeps its certificates there, in a region that runs our models."""
    return _OFFICIAL_CERTIFICATE.fullmatch(url) is not None


def check_claim(headers: Mapping[str, str], *, token: str, now: datetime) -> None:
    """What can be told before the body is read: token, time, method. Raises EventRejected."""
    claimed = headers.get(TOKEN_HEADER, "")
    if not secrets.compare_digest(claimed.encode(), token.encode()):
        raise EventRejected(
            "the token is not the one in DASHGATE_EVENTBRIDGE_TOKEN: give the event target the "
            "same"
        )
    millis = headers.get(TIMESTAMP_HEADER, "")
    is_number = millis.isascii() and millis.isdigit() and len(millis) <= 15
    if not is_number or abs(now.timestamp() - int(millis) / 1000) > FRESH_SECONDS:
        raise EventRejected(
            f"{TIMESTAMP_HEADER} is {millis[:20]!r}: it must be the time in milliseconds, at "
            f"most {FRESH_SECONDS} seconds off"
        )
    method, version = headers.get(HASH_HEADER, ""), headers.get(VERSION_HEADER, "")
    if (method, version) != (HASH_METHOD, VERSION):
        raise EventRejected(
            f"signed by {method[:20]!r} in version {version[:20]!r}: only {HASH_METHOD} in "
            f"version {VERSION} is known"
        )


def verify_push(push: Push, key: RSAPublicKey) -> None:
    """Raises EventRejected unless the key's owner signed address, headers and body."""
    signed = make_string_to_sign(push)
    try:
        signature = base64.b64decode(push.headers.get(SIGNATURE_HEADER, ""), validate=True)
    except ValueError:  # Also for text beyond ASCII, which is not told as binascii.Error.
        signature = b""
    for text in (signed, signed + b"\n"):
        try:
            key.verify(signature, text, PKCS1v15(), SHA256())
        except InvalidSignature:
            continue
        return
    raise EventRejected(
        f"{SIGNATURE_HEADER} does not fit a request to {push.url}: if the event target has "
        "another address, set DASHGATE_PUBLIC_URL"
    )


def sign_push(push: Push, key: RSAPrivateKey) -> str:
    """The value of SIGNATURE_HEADER, as Alibaba's own verifier expects it."""
    text = make_string_to_sign(push) + b"\n"
    return base64.b64encode(key.sign(text, PKCS1v15(), SHA256())).decode()


def make_string_to_sign(push: Push) -> bytes:
    """Address, the signed headers that are there, and the body, a line each."""
    lines = [f"{name}: {push.headers[name]}" for name in SIGNED_HEADERS if push.headers.get(name)]
    return "\n".join((push.url, *lines, "")).encode() + push.body


def read_certificate(pem: bytes) -> RSAPublicKey:
    """The key in an X.509 certificate; ValueError when there is none of RSA in it."""
    key = load_pem_x509_certificate(pem).public_key()
    if not isinstance(key, RSAPublicKey):
        raise ValueError(f"the certificate's key is {type(key).__name__}, not RSA")
    return key


def find_finished_task(body: bytes) -> str | None:
    """The upstream id of the task that the event tells of; None when it is about other things.

    Raises InvalidRequest when it cannot be read.
    """
    try:
        event = _Event.model_validate_json(body)
        if (event.source, event.type) != (EVENT_SOURCE, EVENT_TYPE):
            return None
        return _FinishedEvent.model_validate({"data": event.data}).data.task_id
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise InvalidRequest(
            f"{place}: {first['msg']}; let the event target send the complete event",
            code="invalid_event",
        ) from None
