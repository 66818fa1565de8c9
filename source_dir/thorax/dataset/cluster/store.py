"""Objects in S3, by their s3:// addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError

#: Requests at once.
THREADS = 32


class Store:
    """S3 with the machine's own credentials; lost connections and throttling are tried again, ten times in all."""

    def __init__(self, kms_key: str = "") -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise ThoraxError("several machines read images from S3 by boto3: pip install boto3") from None
        retries: Any = {"mode": "standard", "total_max_attempts": 10}
        self._s3: Any = boto3.client("s3", config=Config(retries=retries, max_pool_connections=THREADS))
        self._extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}

    def read(self, address: str, etag: str = "", first: int = 0) -> bytes:
        """An object, or its first bytes.

        Args:
            etag: the object must still have this mark; "": any.
            first: bytes to read; 0: all.

        Raises:
            ThoraxError: it is gone or was changed, or S3 refuses.
        """
        conditions = {"IfMatch": etag} if etag else {}
        part = {"Range": f"bytes=0-{first - 1}"} if first else {}
        with _one_line(f"reading {address}"):
            found = self._s3.get_object(**_place(address), **conditions, **part)
            return bytes(found["Body"].read())

    def write(self, address: str, content: bytes | Path) -> None:
        """Raises ThoraxError: S3 refuses."""
        with _one_line(f"writing {address}"):
            if isinstance(content, bytes):
                self._s3.put_object(**_place(address), Body=content, **self._extra)
            else:
                self._s3.upload_file(str(content), *_place(address).values(), ExtraArgs=self._extra or None)

    def sizes(self, address: str) -> Mapping[str, int]:
        """Key below the address -> bytes, of all objects there. Raises ThoraxError: S3 refuses."""
        place = _place(address)
        with _one_line(f"listing {address}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=place["Bucket"], Prefix=place["Key"])
            return {
                entry["Key"].removeprefix(place["Key"]): entry["Size"]
                for page in pages
                for entry in page.get("Contents", [])
            }


def _place(address: str) -> dict[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error) as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
        if code in ("NoSuchKey", "404", "PreconditionFailed", "412"):
            raise ThoraxError(
                f"{what}: it is gone or was changed since the job was planned; start a new job, without --resume"
            ) from None
        raise ThoraxError(f"{what} failed: {' '.join(str(error).split())}") from None
