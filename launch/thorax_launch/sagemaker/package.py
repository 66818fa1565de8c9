"""What is uploaded before a job starts: the code as a tarball with the same bytes for the same files, and images."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thorax.data.formats import reading
from thorax.data.formats.registry import IMAGES
from thorax.errors import ThoraxError
from thorax.tracking.progress import BYTE, Progress
from thorax_launch import job_requirements, locks
from thorax_launch.hyperparameters import meaning
from thorax_launch.invocation import command
from thorax_launch.job_requirements import Requirement
from thorax_launch.sagemaker.s3 import files_to_upload
from thorax_launch.sagemaker.transfers import Transfer

_LEFT_OUT = {"__pycache__", ".DS_Store", ".ipynb_checkpoints", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".git"}
REQUIREMENTS = "requirements.txt"
#: The bundle, as a training job leaves it in S3.
ARCHIVE = "model.tar.gz"


@dataclass(frozen=True)
class Upload:
    """One object to put into S3.

    Attributes:
        uri: where.
        content: a file, or bytes.
        once: address of a folder that is named after its content: what is there already is not sent again.
    """

    uri: str
    content: Path | bytes
    once: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def bucket_and_key(uri: str) -> tuple[str, str]:
    """The two parts of s3://BUCKET/KEY."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def source_files(source_dir: Path) -> dict[str, bytes]:
    """Path in the archive -> content, sorted; without caches, so that only the code decides the bytes.

    Raises:
        ThoraxError: source_dir has a link or cannot be read.
    """
    found: dict[str, bytes] = {}
    for path in sorted(source_dir.rglob("*")):
        name = path.relative_to(source_dir)
        if _LEFT_OUT & set(name.parts) or path.suffix in (".pyc", ".pyo") or ".egg-info" in str(name):
            continue
        if path.is_symlink():
            raise ThoraxError(f"{path} is a link; the container would not have its target; put the file itself there")
        if path.is_file():
            found[name.as_posix()] = path.read_bytes()
    return found


def job_files(source_dir: Path, extra: Sequence[Requirement]) -> dict[str, bytes]:
    """As source_files, with requirements.txt made for one job."""
    files = source_files(source_dir)
    stored = files.get(REQUIREMENTS, b"").decode("utf-8")
    if extra:
        files[REQUIREMENTS] = job_requirements.text(stored, extra).encode("utf-8")
    return files


def tarball(source_dir: Path, wheels: Path | None = None, extra: Sequence[Requirement] = (), locked: str = "") -> bytes:
    """sourcedir.tar.gz: sorted, no times, no owners; the same bytes for the same files on every machine.

    Args:
        source_dir: its content becomes the archive's top.
        wheels: folder of wheels to take along; requirements.txt then installs from them and from nowhere else.
        extra: what requirements.txt gets besides its own lines.
        locked: Python whose lock file gives exact versions and hashes; "": requirements.txt as it is.

    Raises:
        ThoraxError: see source_files and locks.locked; or there are no wheels in `wheels`.
    """
    files = job_files(source_dir, extra)
    if locked:
        files[REQUIREMENTS] = locks.locked(files.get(REQUIREMENTS, b"").decode(), locked).encode()
    if wheels is not None:
        found = sorted(wheels.glob("*.whl"))
        if not found:
            raise ThoraxError(f"--wheels {wheels} holds no .whl files; fill it: {how_to_get_wheels()}")
        files |= {f"wheels/{wheel.name}": wheel.read_bytes() for wheel in found}
        files[REQUIREMENTS] = b"--no-index\n--find-links wheels\n" + files.get(REQUIREMENTS, b"")
    return packed(files)


def packed(files: Mapping[str, bytes], level: int = 9) -> bytes:
    """A .tar.gz of path -> content: sorted, no times, no owners; gzip's level is 1 (fast) to 9 (small)."""
    out = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", level, out, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), 0o644, 0
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def how_to_get_wheels(hyperparameters: Mapping[str, str] | None = None, extra: Sequence[Requirement] = ()) -> str:
    """The command that fetches them for the default image, with what a job of these hyperparameters needs besides."""
    names = {one.reason.partition("=")[0] for one in extra}
    more = [f" --set {name}={value}" for name, value in (hyperparameters or {}).items() if meaning(name) in names]
    packages = [f" --package '{one.line}'" for one in extra if "=" not in one.reason]
    return f"{command('wheels')} wheels{''.join(more)}{''.join(packages)}"


@dataclass(frozen=True)
class ChannelFiles:
    """A folder (or one file) that becomes a channel: its files and what they are."""

    files: Mapping[str, Path]
    digest: str
    content_type: str


def images(flag: str, path: Path, contents: bool = True) -> ChannelFiles:
    """Reads a folder: names sorted, a SHA-256 over names and contents, and SageMaker's content type.

    Args:
        contents: False: over names alone, at once.

    Raises:
        ThoraxError: it does not exist or is empty, or a link in it leads nowhere.
    """
    if not path.exists():
        raise ThoraxError(f"{flag} {path} does not exist")
    files = {path.name: path} if path.is_file() else files_to_upload(path)
    if not files:
        raise ThoraxError(f"{flag} {path} is empty")
    return channel_files(files, contents)


def channel_files(files: Mapping[str, Path], contents: bool = True) -> ChannelFiles:
    """These files (name -> path) as a channel; see `images`."""
    digest = hashlib.sha256()
    total = sum(file.stat().st_size for file in files.values())
    # a dry run's JSON may be on standard output: nothing is shown where that is no terminal
    with Progress("reading what is to be uploaded", total, BYTE, shown=sys.stdout.isatty()) as progress:
        for name, file in files.items():
            digest.update(f"{name}\0".encode("utf-8", "surrogateescape"))
            if not contents:
                continue
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
            progress.step(count=file.stat().st_size)
    return ChannelFiles(files, digest.hexdigest(), content_type(files))


def content_type(names: Any) -> str:
    """SageMaker's content type of a channel with these files: that of its data format, or of weights."""
    endings = {Path(name).suffix.lower() for name in names}
    weights = {".pt": "application/x-pytorch", ".pth": "application/x-pytorch", ".gz": "application/x-tar"}
    weights |= dict.fromkeys((".safetensors", ".ckpt", ".bin"), "application/octet-stream")
    if (found := reading.content_type(endings)) != IMAGES:
        return found
    return next((kind for ending, kind in weights.items() if ending in endings), IMAGES)


def upload(client: Any, uploads: Sequence[Upload], kms_key: str = "") -> None:
    """Puts objects into S3, sixteen at a time, under a bar on a terminal.

    Args:
        client: boto3's for S3.
        uploads: what to put where.
        kms_key: encrypts them; empty: the bucket's default.
    """
    extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
    prefixes = sorted({upload.once for upload in uploads if upload.once})
    present = {prefix: _list(client, prefix) for prefix in prefixes}

    def put(upload: Upload) -> None:
        bucket, key = bucket_and_key(upload.uri)
        if present.get(upload.once, {}).get(key) == upload.size:
            transfer.moved(upload.size)
        elif isinstance(upload.content, bytes):
            client.put_object(Bucket=bucket, Key=key, Body=upload.content, **extra)
            transfer.moved(upload.size)
        else:
            client.upload_file(str(upload.content), bucket, key, ExtraArgs=extra or None, Callback=transfer.moved)
        transfer.file_done()

    total = sum(upload.size for upload in uploads)
    with Transfer("uploading", len(uploads), total) as transfer, ThreadPoolExecutor(16) as pool:
        for _ in pool.map(put, uploads):
            pass


def _list(client: Any, uri: str) -> dict[str, int]:
    """Key -> bytes of everything below an address."""
    bucket, prefix = bucket_and_key(uri)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", [])}
