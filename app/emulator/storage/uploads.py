"""Local files on their way in: signed upload policies and the shelf they fill."""

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.dashscope.payloads import UPSTREAM_ZONE
from app.emulator.options import EmulatorOptions
from app.emulator.storage.signing import SIGNATURE_MISMATCH, StorageRefused, sign
from app.emulator.tasks import Lane
from app.kit.clock import Clock

ACCESS_KEY_ID = "LTAI5tEmulatorUploads"
_MAX_UPLOAD_MB = 1024
_POLICY_EXPIRED = "Invalid according to Policy: Policy expired."


@dataclass(frozen=True, slots=True)
class _Upload:
    content: bytes
    lane: Lane
    stored_at: datetime


class UploadShelf:
    """Uploaded objects: each for one account and model, for 48 hours."""

    def __init__(self, options: EmulatorOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._folders: dict[str, Lane] = {}
        self._uploads: dict[str, _Upload] = {}

    def issue_policy(self, lane: Lane, request_id: str, host: str) -> dict[str, Any]:
        """The `data` of a policy answer: where to post a file and the signed leave to."""
        now = self._clock()
        folder = "/".join(
            (
                "dashscope-instant",
                hashlib.md5("|".join(lane).encode(), usedforsecurity=False).hexdigest(),
                now.astimezone(UPSTREAM_ZONE).strftime("%Y-%m-%d"),
                request_id,
            )
        )
        self._folders[folder] = lane
        policy = _make_policy(folder, now + timedelta(seconds=self._options.policy_ttl_seconds))
        return {
            "policy": policy,
            "signature": sign(self._secret, policy),
            "upload_dir": folder,
            "upload_host": host,
            "expire_in_seconds": round(self._options.policy_ttl_seconds),
            "max_file_size_mb": _MAX_UPLOAD_MB,
            "capacity_limit_mb": 999_999_999,
            "oss_access_key_id": ACCESS_KEY_ID,
            "x_oss_object_acl": "private",
            "x_oss_forbid_overwrite": "true",
        }

    def store(self, fields: Mapping[str, str], content: bytes) -> None:
        """Keep a posted file; StorageRefused as OSS refuses."""
        policy, key = fields.get("policy", ""), fields.get("key", "")
        folder = key.rpartition("/")[0]
        self._check_policy(policy, fields.get("Signature", ""), folder)
        self._forget_old()
        if key in self._uploads:
            message = "The object you specified already exists and can not be overwritten."
            raise StorageRefused(409, "FileAlreadyExists", message)
        if len(content) > _MAX_UPLOAD_MB * 1024 * 1024:
            message = "Your proposed upload exceeds the maximum allowed size"
            raise StorageRefused(400, "EntityTooLarge", message)
        self._uploads[key] = _Upload(content, self._folders[folder], self._clock())

    def find(self, url: str, lane: Lane) -> bytes | None:
        """The bytes behind `oss://key`, for the account and model they were posted for."""
        self._forget_old()
        upload = self._uploads.get(url.removeprefix("oss://"))
        return None if upload is None or upload.lane != lane else upload.content

    def _check_policy(self, policy: str, signature: str, folder: str) -> None:
        if not secrets.compare_digest(sign(self._secret, policy), signature):
            raise StorageRefused(403, "SignatureDoesNotMatch", SIGNATURE_MISMATCH)
        try:
            terms = json.loads(base64.b64decode(policy))
        except (binascii.Error, ValueError) as broken:
            raise StorageRefused(400, "InvalidPolicyDocument", "Invalid Policy.") from broken
        if datetime.fromisoformat(terms["expiration"]) <= self._clock():
            raise StorageRefused(403, "AccessDenied", _POLICY_EXPIRED)
        if (
            folder not in self._folders
            or ["starts-with", "$key", folder] not in (terms["conditions"])
        ):
            message = "Invalid according to Policy: Policy Condition failed: starts-with, $key."
            raise StorageRefused(403, "AccessDenied", message)

    def _forget_old(self) -> None:
        oldest = self._clock() - timedelta(seconds=self._options.upload_ttl_seconds)
        for key in list(self._uploads):
            if self._uploads[key].stored_at > oldest:
                break
            del self._uploads[key]


def _make_policy(folder: str, expires_at: datetime) -> str:
    terms = {
        "expiration": expires_at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        "conditions": [
            ["content-length-range", 0, _MAX_UPLOAD_MB * 1024 * 1024],
            ["starts-with", "$key", folder],
            {"bucket": "dashscope-file-mgr"},
            {"x-oss-object-acl": "private"},
            {"x-oss-forbid-overwrite": "true"},
        ],
    }
    return base64.b64encode(json.dumps(terms, separators=(",", ":")).encode()).decode()
