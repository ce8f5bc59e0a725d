"""Signed links to pictures: whoever holds one may fetch that picture until it expires."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from app.kit.crypto import Vault

ROUND_SECONDS = 3_600
"""Expiries fall on full hours, so that a link stays the same for an hour and caches well."""

_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/bmp": "bmp"}


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and checks links below one public address; `base_url` has no trailing slash."""

    vault: Vault
    base_url: str
    ttl_seconds: int

    def picture_url(self, job_id: UUID, index: int, *, content_type: str, now: datetime) -> str:
        """A link that works for at least `ttl_seconds`; its last segment is a file name."""
        name = picture_name(job_id, index, content_type)
        ends = int(now.timestamp()) + self.ttl_seconds
        expires = -(-ends // ROUND_SECONDS) * ROUND_SECONDS
        query = urlencode(
            {"expires": expires, "signature": self.vault.sign(_signed_text(job_id, name, expires))}
        )
        return f"{self.base_url}/v1/jobs/{job_id}/pictures/{name}?{query}"


def picture_name(job_id: UUID, index: int, content_type: str) -> str:
    """`{job id}-{index}.png`: unique, so that downloads of many jobs may share a folder."""
    return f"{job_id}-{index}.{_EXTENSIONS.get(content_type, 'bin')}"


def parse_picture_index(job_id: UUID, name: str) -> int | None:
    """The index that a path segment names, as a number or as a file name; None if neither."""
    stem = name.partition(".")[0].removeprefix(f"{job_id}-")
    return int(stem) if stem.isdecimal() and len(stem) <= 2 else None


def is_signed(
    vault: Vault, job_id: UUID, name: str, *, expires: int, signature: str, now: datetime
) -> bool:
    """Whether the link was made by this deployment and has not expired."""
    if expires <= now.timestamp():
        return False
    return vault.verifies(_signed_text(job_id, name, expires), signature)


def _signed_text(job_id: UUID, name: str, expires: int) -> str:
    return f"picture/{job_id}/{name}/{expires}"
