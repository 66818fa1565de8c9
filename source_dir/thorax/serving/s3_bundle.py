"""A bundle by its s3:// address: fetched once in a process, into a temporary folder that ends with it."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from thorax.errors import ThoraxError
from thorax.tracking.progress import BYTE, Progress

#: An address, also as pathlib.Path writes it, with one slash.
_ADDRESS = re.compile(r"s3:/{1,2}([^/]+)/(.+)")


def is_address(place: str | Path) -> bool:
    """Whether it begins as an s3:// address does."""
    return str(place).startswith("s3:/")


@cache
def fetched(place: str) -> Path:
    """The model.tar.gz of that address on this machine.

    Raises:
        ThoraxError: it is no address of an archive, boto3 is not installed, or S3 does not give it.
    """
    found = _ADDRESS.fullmatch(place)
    if not found or not place.endswith(".tar.gz"):
        raise ThoraxError(f"{place} is no address of a bundle; write s3://BUCKET/.../model.tar.gz")
    bucket, key = found.groups()
    address = f"s3://{bucket}/{key}"
    try:
        import boto3
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise ThoraxError(f"{address} needs boto3: pip install boto3; or copy it here, and name the copy") from None
    folder = Path(tempfile.mkdtemp(prefix="thorax-s3-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    archive = folder / "model.tar.gz"
    try:
        s3 = boto3.client("s3")
        total = int(s3.head_object(Bucket=bucket, Key=key)["ContentLength"])
        with Progress(f"downloading {address}", total, BYTE) as progress:
            s3.download_file(bucket, key, str(archive), Callback=lambda count: progress.step(count=count))
    except (BotoCoreError, ClientError, Boto3Error, OSError) as error:
        response = getattr(error, "response", {}).get("Error", {})
        why = {"404": "there is no such object", "403": "access is denied"}.get(
            str(response.get("Code")), " ".join(str(error).split())
        )
        raise ThoraxError(f"{address} cannot be fetched: {why}") from None
    return archive
