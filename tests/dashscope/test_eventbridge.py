"""Events and their signatures: what is taken for EventBridge's word, and what is not."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from app.dashscope.eventbridge import (
    CERTIFICATE_HEADER,
    HASH_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    TOKEN_HEADER,
    VERSION_HEADER,
    EventRejected,
    Push,
    check_claim,
    find_finished_task,
    is_official_certificate,
    make_string_to_sign,
    read_certificate,
    sign_push,
    verify_push,
)
from app.kit.errors import InvalidRequest
from tests.dashscope.events import make_certificate, make_event

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
TOKEN = "a-token-of-the-target"
OFFICIAL = "https://cn-beijing-eventbridge.oss-accelerate.aliyuncs.com"
HEADERS = {
    TIMESTAMP_HEADER: str(round(NOW.timestamp() * 1000)),
    HASH_HEADER: "SHA256",
    VERSION_HEADER: "1.0",
    CERTIFICATE_HEADER: f"{OFFICIAL}/x509_public_certificate_1.pem",
    TOKEN_HEADER: TOKEN,
}
PUSH = Push("https://gate.example/hooks/eventbridge?a=b", HEADERS, b'{"id":1}')
KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def test_string_to_sign_is_the_documented_one() -> None:
    assert make_string_to_sign(PUSH).decode() == (
        "https://gate.example/hooks/eventbridge?a=b\n"
        "x-eventbridge-signature-timestamp: 1795406400000\n"
        "x-eventbridge-hash-method: SHA256\n"
        "x-eventbridge-signature-version: 1.0\n"
        f"x-eventbridge-signature-url: {OFFICIAL}/x509_public_certificate_1.pem\n"
        f"x-eventbridge-signature-token: {TOKEN}\n"
        '{"id":1}'
    )


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_signature_is_taken_with_and_without_a_line_feed_behind_the_body(end: bytes) -> None:
    signature = KEY.sign(make_string_to_sign(PUSH) + end, PKCS1v15(), SHA256())

    verify_push(_signed(base64.b64encode(signature).decode()), KEY.public_key())


@pytest.mark.parametrize("signature", ["\xe9", "a", "====", "\0"])
def test_text_that_is_no_base64_is_no_signature(signature: str) -> None:
    with pytest.raises(EventRejected):
        verify_push(_signed(signature), KEY.public_key())


def test_own_signature_is_taken() -> None:
    verify_push(_signed(sign_push(PUSH, KEY)), KEY.public_key())


@pytest.mark.parametrize(
    "change",
    [
        {"url": "https://other.example/hooks/eventbridge"},
        {"body": b'{"id":2}'},
        {TIMESTAMP_HEADER: "1795406400001"},
        {CERTIFICATE_HEADER: f"{OFFICIAL}/another.pem"},
        {TOKEN_HEADER: "another-token-of-mine"},
    ],
)
def test_whatever_is_signed_cannot_be_changed(change: dict[str, Any]) -> None:
    push = _signed(sign_push(PUSH, KEY))
    fields = {name: change.pop(name) for name in ("url", "body") if name in change}
    forged = replace(push, headers={**push.headers, **change}, **fields)

    with pytest.raises(EventRejected, match="does not fit a request to"):
        verify_push(forged, KEY.public_key())


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "no base64!",
        sign_push(PUSH, OTHER_KEY),
        base64.b64encode(KEY.sign(make_string_to_sign(PUSH), PKCS1v15(), SHA1())).decode(),
    ],
)
def test_wrong_signature_is_rejected(signature: str) -> None:
    with pytest.raises(EventRejected):
        verify_push(_signed(signature), KEY.public_key())


@pytest.mark.parametrize("off_seconds", [-60, 0, 60])
def test_fresh_claim_with_the_token_is_admitted(off_seconds: int) -> None:
    check_claim(HEADERS, token=TOKEN, now=NOW + timedelta(seconds=off_seconds))


@pytest.mark.parametrize("off_seconds", [-61, 61])
def test_claim_of_another_time_is_rejected(off_seconds: int) -> None:
    with pytest.raises(EventRejected, match="at most 60 seconds off"):
        check_claim(HEADERS, token=TOKEN, now=NOW + timedelta(seconds=off_seconds))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (TOKEN_HEADER, "", "the token is not the one"),
        (TOKEN_HEADER, "a-token-of-the-targe", "the token is not the one"),
        (TOKEN_HEADER, "für-niemanden", "the token is not the one"),
        (TIMESTAMP_HEADER, "", "must be the time"),
        (TIMESTAMP_HEADER, "1795406400", "must be the time"),
        (TIMESTAMP_HEADER, "9" * 400, "must be the time"),
        (TIMESTAMP_HEADER, "²", "must be the time"),
        (HASH_HEADER, "SHA1", "only SHA256"),
        (VERSION_HEADER, "2.0", "only SHA256 in version 1.0"),
    ],
)
def test_odd_claim_is_rejected_with_the_reason(name: str, value: str, reason: str) -> None:
    with pytest.raises(EventRejected, match=reason) as rejected:
        check_claim({**HEADERS, name: value}, token=TOKEN, now=NOW)

    assert TOKEN not in str(rejected.value)
    assert len(str(rejected.value)) < 200


@pytest.mark.parametrize(
    ("url", "is_official"),
    [
        (f"{OFFICIAL}/x509_public_certificate_2021012501.pem", True),
        ("https://ap-southeast-1-eventbridge.oss-accelerate.aliyuncs.com/a.pem", True),
        ("http://cn-beijing-eventbridge.oss-accelerate.aliyuncs.com/a.pem", False),
        ("https://evil-eventbridge.oss-accelerate.aliyuncs.com/a.pem", False),
        ("https://evil-cn-beijing-eventbridge.oss-accelerate.aliyuncs.com/a.pem", False),
        ("https://cn-beijing-eventbridge.oss-accelerate.aliyuncs.com.evil.example/a.pem", False),
        ("https://cn-beijing-eventbridge.oss-accelerate.aliyuncs.com@evil.example/a.pem", False),
        (f"{OFFICIAL}:8443/a.pem", False),
        (f"{OFFICIAL}/a.pem?b=c", False),
        (f"{OFFICIAL}/a.pem\n", False),
        ("https://169.254.169.254/a.pem", False),
        ("", False),
    ],
)
def test_only_alibabas_own_certificates_are_official(url: str, is_official: bool) -> None:
    assert is_official_certificate(url) is is_official


def test_key_is_read_from_a_certificate() -> None:
    assert read_certificate(make_certificate(KEY)) == KEY.public_key()


def test_certificate_without_an_rsa_key_is_refused() -> None:
    elliptic = make_certificate(ec.generate_private_key(ec.SECP256R1()))

    with pytest.raises(ValueError, match="not RSA"):
        read_certificate(elliptic)
    with pytest.raises(ValueError, match="PEM"):
        read_certificate(b"<html></html>")


def test_event_names_its_task() -> None:
    assert find_finished_task(make_event("0385dc79-5ff8-4d82-bcb6-3f0a3a8b4c5d")) == (
        "0385dc79-5ff8-4d82-bcb6-3f0a3a8b4c5d"
    )


@pytest.mark.parametrize(
    "change", [{"source": "acs.oss"}, {"type": "dashscope:System:Other", "data": {}}]
)
def test_event_about_other_things_names_none(change: dict[str, Any]) -> None:
    assert find_finished_task(make_event("t-1", **change)) is None


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "body"),
        (b"\xff\xfe", "body"),
        (b"[" * 10_000, "body"),
        (b"[]", "body"),
        (b"{}", "source"),
        (make_event("t-1", data="t-1"), "data"),
        (make_event("t-1", data={}), "data.task_id"),
        (make_event("a\x00b"), "data.task_id"),
        (make_event("t" * 129), "data.task_id"),
        (json.dumps({"task_id": "t-1"}).encode(), "source"),
    ],
)
def test_unreadable_event_is_refused_by_field(body: bytes, place: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{place}: .*complete event") as refused:
        find_finished_task(body)

    assert refused.value.code == "invalid_event"


def _signed(signature: str) -> Push:
    return replace(PUSH, headers={**HEADERS, SIGNATURE_HEADER: signature})
