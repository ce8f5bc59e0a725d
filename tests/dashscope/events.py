"""Completion events and certificates as tests need them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding


def make_event(task_id: str, **changes: Any) -> bytes:
    """The event that the upstream documents, but for what a test puts in."""
    event = {
        "datacontenttype": "application/json;charset=utf-8",
        "aliyunaccountid": "1493478651020171",
        "data": {
            "start_time": "2026-11-23 12:00:00",
            "end_time": "2026-11-23 12:01:00",
            "user_api_unique_key": "apikey:v1:aigc:image2image:image-synthesis:any",
            "task_status": "SUCCEEDED",
            "contain_result": False,
            "task_id": task_id,
            "region": "cn-beijing",
            "request_id": "4909100c-7b5a-9f92-bfe5-000000000000",
            "api_key_id": "42677",
        },
        "specversion": "1.0",
        "id": "45ef4dewdwe1-7c35-447a-bd93-fab****",
        "source": "acs.dashscope",
        "type": "dashscope:System:AsyncTaskFinish",
        **changes,
    }
    return json.dumps(event).encode()


def make_certificate(key: RSAPrivateKey | EllipticCurvePrivateKey) -> bytes:
    """Signed by itself, as PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "events")])
    unsigned = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=datetime(2026, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=900),
    )
    return unsigned.sign(key, SHA256()).public_bytes(Encoding.PEM)
