"""The images of a batch transform: found in a folder or in S3, checked before they are sent, listed in a manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from thorax.data.decoders import EXTENSIONS, format_of
from thorax.data.decoders.limits import FIRST
from thorax.errors import ThoraxError
from thorax.text import are, counted
from thorax_launch.options import TransformOptions
from thorax_launch.sagemaker.containers import MB
from thorax_launch.sagemaker.hosting import MOST_PAYLOAD_MB
from thorax_launch.sagemaker.package import Upload, bucket_and_key, channel_files
from thorax_launch.sagemaker.s3 import files_to_upload
from thorax_launch.sagemaker.training_jobs import data_uri, uploads_of
from thorax_launch.settings import AwsSettings

#: Names that a line shows.
SHOWN = 5


@dataclass(frozen=True)
class BatchImages:
    """What a batch transform reads.

    Attributes:
        source: s3:// address below which the images are; ends with "/".
        names: paths below it; None: they are in S3 and not listed yet.
        left_out: paths of files that are no images.
        uploads: what must be put there first.
    """

    source: str
    names: tuple[str, ...] | None
    left_out: tuple[str, ...] = ()
    uploads: tuple[Upload, ...] = ()

    def lines(self) -> list[str]:
        """How many images there are, and the files that are left out, by name."""
        if self.names is None:
            return [f"images:   what is in {self.source}, listed when it starts"]
        lines = [f"images:   {counted(len(self.names), 'image')} below {self.source}"]
        if self.left_out:
            count = counted(len(self.left_out), "file that is no image", "files that are no images")
            lines.append(f"left out: {count}: {shortened(self.left_out)}")
        return lines


def shortened(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    known = list(names)
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return ", ".join(known[:SHOWN]) + more


def planned(where: str, options: TransformOptions, settings: AwsSettings) -> BatchImages:
    """The images that the user named; of a folder each file's kind and size is checked.

    Args:
        where: a folder, an image file, or an s3:// address.

    Raises:
        ThoraxError: there is no such folder, no image in it, or an image above --payload-mb.
    """
    if where.startswith("s3://"):
        return BatchImages(where if where.endswith("/") else f"{where}/", None)  # S3 also matches test-2 with test
    path = Path(where)
    if not path.exists():
        raise ThoraxError(f"--data {path} does not exist")
    files = {path.name: path} if path.is_file() else files_to_upload(path)
    images = {name: file for name, file in files.items() if _is_image(file)}
    check_sizes({name: file.stat().st_size for name, file in images.items()}, options, f"--data {path}")
    found = channel_files(images)
    source = data_uri(found, settings)
    left_out = tuple(name for name in files if name not in images)
    return BatchImages(source, tuple(images), left_out, tuple(uploads_of(found, source)))


def listed(images: BatchImages, options: TransformOptions, s3: Any) -> BatchImages:
    """The images in S3, by their names' endings (none: as PACS write DICOM files); sizes are checked.

    Raises:
        ThoraxError: there are none, or one is above --payload-mb.
        botocore's errors: AWS refuses.
    """
    bucket, prefix = bucket_and_key(images.source)
    sizes: dict[str, int] = {}
    left_out = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            name = entry["Key"].removeprefix(prefix)
            ending = PurePosixPath(name).suffix.lower()
            if ending in EXTENSIONS or (name and not ending and not name.endswith("/")) or ending[1:].isdigit():
                sizes[name] = entry["Size"]
            elif name and not name.endswith("/"):
                left_out.append(name)
    check_sizes(sizes, options, images.source)
    return BatchImages(images.source, tuple(sizes), tuple(left_out))


def check_sizes(sizes: Mapping[str, int], options: TransformOptions, where: str) -> None:
    """Raises ThoraxError where there is no image, or one that is larger than a request may be."""
    if not sizes:
        raise ThoraxError(f"{where} holds no images")
    large = [name for name, size in sizes.items() if size > options.payload_mb * MB]
    if not large:
        return
    most = -(-max(sizes.values()) // MB)
    again = f"give --payload-mb {most} --concurrent {min(options.concurrent, max(1, MOST_PAYLOAD_MB // most))}"
    advice = again if most <= MOST_PAYLOAD_MB else f"AWS takes {MOST_PAYLOAD_MB} MB at most: make them smaller"
    raise ThoraxError(
        f"{where}: {counted(len(large), 'image')} {are(len(large))} larger than --payload-mb {options.payload_mb}, the"
        f" largest {most} MB:"
        f" {shortened(large)}; {advice}"
    )


def manifest(source: str, names: Iterable[str]) -> bytes:
    """SageMaker's ManifestFile: the common prefix, then the name of each image below it."""
    return json.dumps([{"prefix": source}, *names], ensure_ascii=False, indent=0).encode()


def name_of(key: str, source: str, names: Mapping[str, Any]) -> str | None:
    """The image to which an answer belongs, by the answer's key below the output's address without .out; None: to none.

    AWS lays answers out as the images are, below their own prefix or a part of it.
    """
    if key in names:
        return key
    parts = bucket_and_key(source)[1].rstrip("/").split("/")
    heads = ("/".join(parts[k:]) + "/" for k in range(len(parts)))
    return next((key[len(head) :] for head in heads if key.startswith(head) and key[len(head) :] in names), None)


def _is_image(path: Path) -> bool:
    """By its first bytes, or its name: a damaged image is sent, and its answer says what is wrong."""
    with path.open("rb") as file:
        return format_of(file.read(FIRST)) is not None or path.suffix.lower() in EXTENSIONS
