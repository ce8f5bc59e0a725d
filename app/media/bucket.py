"""The way to a bucket of S3 or Alibaba OSS: its address, its times, its tries."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import S3Store

if TYPE_CHECKING:
    from obstore.store import S3Config

CONNECT_SECONDS = 5
REQUEST_SECONDS = 60
RETRY_SECONDS = 30
RETRIES_COUNT = 3

_OSS_SUFFIX = ".aliyuncs.com"
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def open_bucket(bucket: str, prefix: str, environment: Mapping[str, str]) -> S3Store:
    """Behind an Alibaba OSS endpoint the bucket is addressed in the host name, as OSS wants it."""
    endpoint = next(filter(None, map(environment.get, _ENDPOINT_VARIABLES)), "")
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=_address(bucket, endpoint),
        client_options={
            "timeout": timedelta(seconds=REQUEST_SECONDS),
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "allow_http": endpoint.startswith("http://"),
        },
        retry_config={
            "max_retries": RETRIES_COUNT,
            "retry_timeout": timedelta(seconds=RETRY_SECONDS),
        },
    )


def _address(bucket: str, endpoint: str) -> "S3Config":
    """What the environment leaves open; OSS has no bulk deletion and no bucket in the path."""
    scheme, _, host = endpoint.partition("://")
    if not (urlsplit(endpoint).hostname or "").endswith(_OSS_SUFFIX):
        return {"disable_bulk_delete": True}
    with_bucket = host if host.startswith(f"{bucket}.") else f"{bucket}.{host}"
    return {
        "disable_bulk_delete": True,
        "virtual_hosted_style_request": True,
        "aws_endpoint_url_s3": f"{scheme}://{with_bucket}",
    }
