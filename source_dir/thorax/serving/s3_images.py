"""Images that a request names by their place in S3."""

from __future__ import annotations

from typing import Any

from thorax.serving.request import RequestError
from thorax.serving.settings import ServerSettings


def fetch_image(uri: Any, settings: ServerSettings) -> bytes:
    """The image at s3://bucket/key, where the settings allow that place. Only S3 is asked, never another address.

    Raises:
        RequestError: 400, 403 or 413.
    """
    if not isinstance(uri, str) or not uri.startswith("s3://") or "/" not in uri[5:]:
        raise RequestError(400, '"s3_uri" must be s3://bucket/key; other addresses are not read')
    if not any(uri.startswith(prefix.rstrip("/") + "/") for prefix in settings.s3_prefixes):
        raise RequestError(
            403,
            '"s3_uri" names a place that this server may not read; its operator allows places by THORAX_S3_PREFIXES',
        )
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise RequestError(400, '"s3_uri" needs boto3 on the server: pip install boto3') from None
    bucket, _, key = uri[5:].partition("/")
    try:
        config = Config(connect_timeout=5, read_timeout=settings.timeout_s, retries={"max_attempts": 2})
        found = boto3.client("s3", config=config).get_object(Bucket=bucket, Key=key)
        if found["ContentLength"] > settings.max_request_bytes:
            raise RequestError(
                413, f"the image at s3_uri has {found['ContentLength']} bytes, more than {settings.max_request_bytes}"
            )
        return bytes(found["Body"].read(settings.max_request_bytes))
    except RequestError:
        raise
    except Exception as error:  # botocore's errors name buckets, keys and request ids: the code is enough
        code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
        raise RequestError(400, f"the image at s3_uri cannot be read from S3: {code}") from None
