"""A bundle on its way to AWS: a folder, a model.tar.gz or an s3:// address becomes the address of a model's data."""

from __future__ import annotations

import hashlib
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.models.bundle_weights import OLD_WEIGHTS, WEIGHTS
from thorax.serving.bundle import CODE, RAY, Bundle
from thorax.serving.bundle_place import DESCRIPTION, bundle_place
from thorax.serving.bundle_schema import MEMBERS_FOLDER
from thorax.tracking.progress import busy
from thorax_launch.names import job_of
from thorax_launch.sagemaker.package import ARCHIVE, Upload, bucket_and_key, packed, source_files
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
    """

    uri: str
    uploads: tuple[Upload, ...]
    where: str
    name: str

    @property
    def digest(self) -> str:
        """Of its content where that is on this machine, else of its address."""
        return self.uri.split("/")[-2] if self.uploads else hashlib.sha256(self.uri.encode()).hexdigest()[:16]


def in_s3(where: str, settings: AwsSettings) -> S3Bundle:
    """Packs what the user named: the same bytes, and so the same address, for the same bundle.

    Raises:
        ThoraxError: it is no bundle, or lacks what AWS's images start.
    """
    if where.startswith("s3://"):
        if not where.endswith(".tar.gz"):
            raise ThoraxError(f"{where} does not end with .tar.gz; {_HOW}")
        return S3Bundle(where, (), where, job_of(where))
    path = bundle_place(where)
    if path.is_dir():
        Bundle.load(path)
        with busy("packing the bundle", sys.stdout.isatty()):
            content: bytes | Path = packed(_complete(source_files(path), where), level=1)  # weights do not get smaller
        assert isinstance(content, bytes)
        digest = hashlib.sha256(content).hexdigest()[:16]
    elif path.is_file():
        with _archive(path) as tar:
            _complete({name.removeprefix("./"): b"" for name in tar.getnames()}, where)
        content = path
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    else:
        raise ThoraxError(f"{where} does not exist; {_HOW}")
    prefix = f"{settings.root}/bundles/{digest}/"
    return S3Bundle(
        prefix + ARCHIVE, (Upload(prefix + ARCHIVE, content, once=prefix),), where, job_of(str(path.resolve()))
    )


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
        with _archive(path) as tar:
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
def _archive(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:gz") as tar:
            yield tar
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ThoraxError(f"{path} is no .tar.gz that can be read: {error}; {_HOW}") from None
