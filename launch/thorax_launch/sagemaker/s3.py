"""Files to S3: the bucket is listed once, and each file's sha256 is kept with the object, so that a change is seen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.files import files_below
from thorax_launch.sagemaker.transfers import Transfer

#: Error codes of S3 and KMS -> message.
_MESSAGES = {
    **dict.fromkeys(("NoSuchBucket", "404"), "there is no bucket {bucket}; create it, or fix the name or --region"),
    **dict.fromkeys(
        ("AccessDenied", "403", "AllAccessDisabled", "AccessDeniedException"),
        "access to bucket {bucket} is denied ({what}); the role needs s3:ListBucket, s3:GetObject and s3:PutObject"
        " there, and kms:GenerateDataKey for the bucket's KMS key",
    ),
    **dict.fromkeys(
        ("ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredTokenException"),
        "AWS does not take the credentials ({code}); sign in again, or choose another --profile",
    ),
    **dict.fromkeys(
        ("KMS.NotFoundException", "KMS.DisabledException", "KMS.InvalidKeyUsageException"),
        "--kms-key cannot be used with bucket {bucket} ({code}); it must be an enabled key of the bucket's region",
    ),
    **dict.fromkeys(("PermanentRedirect", "301"), "bucket {bucket} is in another region; give --region"),
}


@dataclass(frozen=True)
class UploadSummary:
    """What an upload came to: numbers of files, and bytes that were sent."""

    uploaded: int
    unchanged: int
    bytes: int


def files_to_upload(folder: Path, exclude: Sequence[str] = ()) -> dict[str, Path]:
    """Path below the folder -> file, sorted; links are followed, hidden files and folders left out, and paths that fit
    a pattern of `exclude`.

    Raises:
        ThoraxError: a link leads nowhere.
    """
    names = sorted(files_below(folder), key=lambda name: name.split("/"))
    files = {name: folder / name for name in names if not any(fnmatch(name, pattern) for pattern in exclude)}
    for path in files.values():
        if path.is_symlink() and not path.exists():
            raise ThoraxError(f"{path} is a link to {path.readlink()}, which is not there; fix or remove the link")
    return {name: path for name, path in files.items() if path.is_file()}


def client(profile: str | None, region: str | None) -> Any:
    """An S3 client; raises ThoraxError where boto3 or the profile is missing."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise ThoraxError("uploading needs boto3: pip install boto3") from None
    with one_line("", "starting"):
        session = boto3.Session(profile_name=profile, region_name=region)
        return session.client(
            "s3", config=Config(retries={"mode": "standard", "max_attempts": 5}, max_pool_connections=64)
        )


def upload(
    files: dict[str, Path], bucket: str, prefix: str, s3: Any, kms_key: str | None, threads: int
) -> UploadSummary:
    """Uploads the files (key -> file) that are not there or differ.

    Raises:
        ThoraxError: no credentials, no access, no bucket, no connection; what was uploaded by then stays.
    """
    with one_line(bucket, "listing it"):
        present = dict(_listed(s3, bucket, prefix))
    sizes: list[int] = []
    total = sum(path.stat().st_size for path in files.values())
    with Transfer("uploading", len(files), total) as transfer, ThreadPoolExecutor(threads) as pool:
        to = _Target(s3, bucket, kms_key, transfer)
        waiting = [pool.submit(_send, to, key, path, present.get(key)) for key, path in files.items()]
        try:
            for done in as_completed(waiting):
                sizes.append(done.result())
                transfer.file_done()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    uploaded = [size for size in sizes if size >= 0]
    return UploadSummary(len(uploaded), len(sizes) - len(uploaded), sum(uploaded))


def _listed(s3: Any, bucket: str, prefix: str) -> Iterator[tuple[str, tuple[int, str]]]:
    """Key -> size and ETag of every object below the prefix."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/" if prefix else ""):
        for entry in page.get("Contents", []):
            yield entry["Key"], (entry["Size"], entry["ETag"].strip('"'))


@dataclass(frozen=True)
class _Target:
    """Where files go, and what counts them."""

    s3: Any
    bucket: str
    kms_key: str | None
    transfer: Transfer


def _send(to: _Target, key: str, path: Path, present: tuple[int, str] | None) -> int:
    """Uploads one file; returns its bytes, or -1 where it is there already."""
    from boto3.s3.transfer import TransferConfig

    s3, bucket = to.s3, to.bucket
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if present is not None and present[0] == size and _same(s3, bucket, key, path, present[1], digest):
            to.transfer.moved(size)
            return -1
    except OSError as error:
        raise ThoraxError(f"{path} cannot be read: {error.strerror}") from None
    extra: dict[str, Any] = {"Metadata": {"sha256": digest}}
    if to.kms_key:
        extra |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": to.kms_key}
    with one_line(bucket, f"writing {key}"):
        settings = TransferConfig(use_threads=False)
        s3.upload_file(str(path), bucket, key, ExtraArgs=extra, Config=settings, Callback=to.transfer.moved)
    return size


def _same(s3: Any, bucket: str, key: str, path: Path, etag: str, digest: str) -> bool:
    """Whether the object has the file's content. An ETag is an MD5 only of objects in one part, without KMS."""
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == etag:
            return True
    with one_line(bucket, f"looking at {key}"):
        return bool(s3.head_object(Bucket=bucket, Key=key)["Metadata"].get("sha256") == digest)


@contextmanager
def one_line(bucket: str, what: str) -> Iterator[None]:
    """What botocore raises, as a ThoraxError of one line."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        PartialCredentialsError,
        ProfileNotFound,
    )

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error) as error:
        cause = error if not isinstance(error, Boto3Error) else error.__context__ or error
        if isinstance(cause, NoCredentialsError | PartialCredentialsError):
            raise ThoraxError(
                "there are no AWS credentials; sign in (aws configure, aws sso login), set AWS_PROFILE, or give"
                " --profile"
            ) from None
        if isinstance(cause, ProfileNotFound):
            raise ThoraxError(f"{cause}; choose another --profile") from None
        if isinstance(cause, ClientError):
            code = str(cause.response.get("Error", {}).get("Code", ""))
            if code in _MESSAGES:
                raise ThoraxError(_MESSAGES[code].format(bucket=bucket, what=what, code=code)) from None
        raise ThoraxError(
            f"bucket {bucket}: {what} failed: {' '.join(str(cause).split())}; look at the network, then start again to"
            " go on"
        ) from None
