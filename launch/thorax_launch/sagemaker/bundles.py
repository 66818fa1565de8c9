"""A bundle on its way to AWS: a folder, a model.tar.gz or an s3:// address becomes the address of a model's data."""

from __future__ import annotations

import hashlib
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.job import environment
from thorax.models.bundle_weights import OLD_WEIGHTS, WEIGHTS
from thorax.serving import bundle_verify
from thorax.serving.bundle import CODE, RAY, Bundle
from thorax.serving.bundle_place import DESCRIPTION, bundle_place
from thorax.serving.bundle_schema import MEMBERS_FOLDER
from thorax.serving.bundle_signature import KEY, checked_key
from thorax.text import counted
from thorax.tracking.progress import busy
from thorax_launch.names import job_of
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.package import ARCHIVE, Upload, bucket_and_key, packed, source_files
from thorax_launch.sagemaker.requests import commit, tags
from thorax_launch.sagemaker.transfers import download
from thorax_launch.settings import AwsSettings

#: What AWS's images need at the top of /opt/ml/model: Ray Serve reads config.yaml, both put code/ on the path.
_NEEDED = (RAY, f"{CODE}/deployment.py", f"{CODE}/inference.py")
_HOW = "name the model folder of a finished job, its model.tar.gz, or s3://.../model.tar.gz"


@dataclass(frozen=True)
class S3Bundle:
    """A bundle in S3, or about to be.

    Attributes:
        uri: s3:// address of its model.tar.gz.
        uploads: what must be put there first; empty where it is there already.
        where: what the user named.
        name: of the job that made it, as far as its place shows it.
        sha256: of its bundle.json, which has that of every other file; "" where it has none, or was not read.
        checked: whether its files were compared with their hashes.
    """

    uri: str
    uploads: tuple[Upload, ...]
    where: str
    name: str
    sha256: str = ""
    checked: bool = True

    @property
    def digest(self) -> str:
        """Of its content where that is on this machine, else of its address."""
        return self.uri.split("/")[-2] if self.uploads else hashlib.sha256(self.uri.encode()).hexdigest()[:16]

    def hash_line(self) -> str:
        """A line about its hash."""
        if not self.checked:
            return "sha256:   unknown; the bundle is in S3, where it is fetched and checked before anything is made"
        return f"sha256:   {self.sha256 or 'none; the bundle is of an earlier version, so nothing tells damage'}"


def in_s3(where: str, settings: AwsSettings, offline: bool = False) -> S3Bundle:
    """Checks and packs what the user named: the same bytes, and so the same address, for the same bundle.

    Every file is compared with its hash and, where THORAX_BUNDLE_KEY is set, the bundle with its signature.

    Args:
        offline: nothing may be asked of AWS: a bundle in S3 is not fetched and checked.

    Raises:
        ThoraxError: it is no bundle, lacks what AWS's images start, or is not as it was written.
    """
    if where.startswith("s3://"):
        if not where.endswith(".tar.gz"):
            raise ThoraxError(f"{where} does not end with .tar.gz; {_HOW}")
        sha256 = "" if offline else _of_archive_in_s3(where, settings)
        return S3Bundle(where, (), where, job_of(where), sha256, checked=not offline)
    path = bundle_place(where)
    if path.is_dir():
        sha256 = as_written(path, where)
        with busy("packing the bundle", sys.stdout.isatty()):
            content: bytes | Path = packed(_complete(source_files(path), where), level=1)  # weights do not get smaller
        assert isinstance(content, bytes)
        digest = hashlib.sha256(content).hexdigest()[:16]
    elif path.is_file():
        sha256 = _of_archive(path, where)
        content = path
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    else:
        raise ThoraxError(f"{where} does not exist; {_HOW}")
    prefix = f"{settings.root}/bundles/{digest}/"
    upload = Upload(prefix + ARCHIVE, content, once=prefix)
    return S3Bundle(prefix + ARCHIVE, (upload,), where, job_of(str(path.resolve())), sha256)


def as_written(path: Path, where: str) -> str:
    """The SHA-256 of a bundle's bundle.json, once the bundle is found to be as it was written; "" where it has none.

    Args:
        path: its folder or model.tar.gz.
        where: what the user named.

    Raises:
        ThoraxError: a file is damaged, missing or was added, or the signature that THORAX_BUNDLE_KEY asks for is wrong.
    """
    bundle = Bundle.load(path)
    key = environment().get(KEY, "")
    differences = bundle_verify.wrong(bundle, checked_key(key.strip().encode(), KEY) if key else None)
    if differences:
        more = f" (and {counted(len(differences) - 1, 'more difference')})" if len(differences) > 1 else ""
        raise ThoraxError(
            f"{where} is not as it was written: {differences[0]}{more}; nothing was sent; take the bundle from the job"
            " again"
        )
    return bundle_verify.seal_of(bundle)


def _of_archive(path: Path, where: str) -> str:
    """See as_written; the archive has what AWS's images start."""
    with _archive(path, where) as tar:
        _complete({name.removeprefix("./"): b"" for name in tar.getnames()}, where)
    try:
        return as_written(path, where)
    except ThoraxError as error:
        raise ThoraxError(str(error).replace(str(path), where)) from None


def _of_archive_in_s3(where: str, settings: AwsSettings) -> str:
    """See as_written; it is fetched into a temporary folder, once in a process as long as S3 has the same bytes."""
    from botocore.exceptions import ClientError

    bucket, key = bucket_and_key(where)
    s3 = client(open_session(settings), "s3")
    with tempfile.TemporaryDirectory() as folder, one_line_errors(settings):
        path = Path(folder) / ARCHIVE
        try:
            known = (where, s3.head_object(Bucket=bucket, Key=key)["ETag"], environment().get(KEY, ""))
            if known in _CHECKED:
                return _CHECKED[known]
            download(s3, {(bucket, key): path}, "downloading the bundle")
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
                raise
            raise ThoraxError(f"there is no bundle at {where}") from None
        _CHECKED[known] = _of_archive(path, where)
    return _CHECKED[known]


#: (address, ETag, key of signatures) -> SHA-256 of the bundle.json of bundles in S3 that are as they were written.
_CHECKED: dict[tuple[str, str, str], str] = {}


def bundle_tags(settings: AwsSettings, bundle: S3Bundle) -> list[dict[str, str]]:
    """Project, git commit, bundle and its hash, then the user's own tags, which win."""
    return tags(settings, commit=commit(), bundle=bundle.digest, bundle_sha256=bundle.sha256)


@contextmanager
def description_folder(bundle: S3Bundle, s3: Any = None) -> Iterator[Path]:
    """A folder with the bundle's bundle.json, to read labels, thresholds and metrics from.

    Args:
        s3: boto3's client, where the bundle is in S3 alone; without it such a bundle is refused.

    Raises:
        ThoraxError: it cannot be read.
    """
    path = bundle_place(bundle.where)
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        if bundle.where.startswith("s3://"):
            if s3 is None:
                raise ThoraxError(
                    f"{bundle.where} is not on this machine: give the bundle's folder or its model.tar.gz"
                )
            path = Path(folder) / ARCHIVE
            download(s3, {bucket_and_key(bundle.where): path}, "downloading the bundle")
        with _archive(path, bundle.where) as tar:
            name = next((entry for entry in tar.getnames() if entry.removeprefix("./") == DESCRIPTION), None)
            file = tar.extractfile(name) if name else None
            if file is None:
                raise ThoraxError(f"{bundle.where} is no bundle: it has no {DESCRIPTION}; {_HOW}")
            (Path(folder) / DESCRIPTION).write_bytes(file.read())
        yield Path(folder)


def _complete(files: dict[str, bytes], where: str) -> dict[str, bytes]:
    ensemble = any(name.startswith(f"{MEMBERS_FOLDER}/") for name in files)
    weights = () if ensemble else (OLD_WEIGHTS if OLD_WEIGHTS in files else WEIGHTS,)
    for name in (DESCRIPTION, *weights, *_NEEDED):
        if name not in files:
            raise ThoraxError(f"{where} is no bundle that AWS can serve: it has no {name}; {_HOW}")
    return files


@contextmanager
def _archive(path: Path, where: str) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:gz") as tar:
            yield tar
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ThoraxError(f"{where} is no .tar.gz that can be read: {error}; {_HOW}") from None
