"""The signed permission to post files for a few minutes: OSS's post policy, ours (pure).

Source: Alibaba Cloud OSS, "PostObject", and Model Studio, "Upload a local file". The policy is
the credential: whoever holds it may post below its folder, and nothing else.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from app.kit.crypto import Vault

POLICY_TTL_SECONDS = 300
ACCESS_KEY_ID = "dashgate"
ROOT = "dashscope-instant"
KEY_BYTES_LIMIT = 1023

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class PolicyRefused(Exception):
    """A form that its policy does not cover; says why in OSS's words."""


@dataclass(frozen=True, slots=True)
class Permission:
    """What a verified policy allows: one team, one folder."""

    team_id: UUID
    folder: str


def make_policy(vault: Vault, *, team_id: UUID, request_id: str, now: datetime) -> dict[str, Any]:
    """The fields of the policy answer that depend on the caller."""
    folder = f"{ROOT}/{team_id.hex}/{now:%Y-%m-%d}/{request_id}"
    terms = {
        "expiration": (now + timedelta(seconds=POLICY_TTL_SECONDS)).isoformat(),
        "conditions": [["starts-with", "$key", folder]],
        "team": str(team_id),
    }
    policy = base64.b64encode(orjson.dumps(terms)).decode()
    return {"policy": policy, "signature": vault.sign(f"policy/{policy}"), "upload_dir": folder}


def check_policy(
    vault: Vault, *, policy: str, signature: str, key: str, now: datetime
) -> Permission:
    """What the form may do; raises PolicyRefused."""
    if not vault.verifies(f"policy/{policy}", signature):
        raise PolicyRefused("The request signature does not match.")
    try:
        terms = orjson.loads(base64.b64decode(policy, validate=True))
    except (binascii.Error, orjson.JSONDecodeError):
        raise PolicyRefused("Invalid Policy: not base64 of JSON.") from None
    if datetime.fromisoformat(terms["expiration"]) <= now:
        raise PolicyRefused("Invalid according to Policy: Policy expired.")
    folder: str = terms["conditions"][0][2]
    if _CONTROL.search(key) or len(key.encode()) > KEY_BYTES_LIMIT:
        raise PolicyRefused(
            f"Invalid key: it must have {KEY_BYTES_LIMIT} bytes at most and no control characters."
        )
    name = key.removeprefix(f"{folder}/")
    if name == key or not name or "/" in name:
        raise PolicyRefused('Invalid according to Policy: ["starts-with", "$key", ...]')
    return Permission(UUID(terms["team"]), folder)
