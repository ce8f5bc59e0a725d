"""Where pictures of customers may be uploaded to: the upstream's own store, nobody else's (pure).

Source: Model Studio, "Upload a local file": the host is of Alibaba Cloud OSS.
"""

import re

import httpx

from app.dashscope.payloads import UploadPolicy

_STORE = re.compile(r"dashscope-[a-z0-9-]+\.oss-[a-z0-9-]+\.aliyuncs\.com")


def is_store(address: str, base_url: str) -> bool:
    """Whether the address is of such a store by HTTPS, or of the account's own host."""
    try:
        url, own = httpx.URL(address), httpx.URL(base_url)
        # A name that is no name, in IDNA, is found out only when it is asked for.
        if (url.scheme, url.host, url.port) == (own.scheme, own.host, own.port):
            return True
        return url.scheme == "https" and url.port is None and bool(_STORE.fullmatch(url.host))
    except (httpx.InvalidURL, ValueError):
        return False


def to_form(policy: UploadPolicy, key: str) -> dict[str, str]:
    """The fields that go in front of the file."""
    return {
        "OSSAccessKeyId": policy.oss_access_key_id,
        "Signature": policy.signature,
        "policy": policy.policy,
        "key": key,
        "x-oss-object-acl": policy.x_oss_object_acl,
        "x-oss-forbid-overwrite": policy.x_oss_forbid_overwrite,
        "success_action_status": "200",
    }
