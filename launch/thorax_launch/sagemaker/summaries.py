"""What a command would do on AWS, in words: one form for every --dry-run, and for the question before anything is sent.

makes:    training job pneumonia-resnet18-261121-101500
          its bundle and report go below s3://BUCKET/thorax
machines: 1 x ml.g5.xlarge, at most 4 h
cost:     at most $5.64 = 4 machine hours x $1.41 (prices of 2026-11-01)
reads:    train: 4,694 images, 1.2 GB
upload:   4,695 files (4,694 images), 1.2 GB
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thorax.data.images import EXTENSIONS
from thorax.text import counted, size
from thorax_launch.sagemaker.cost import EXAMPLE
from thorax_launch.sagemaker.package import Upload

#: Files that a summary names; --full names all.
SHOWN = 5
#: Width of what a line begins with.
HEAD = 9


@dataclass(frozen=True)
class Summary:
    """What a command would do.

    Attributes:
        does: what it makes (see `verb`), a line each.
        costs: machines and the most dollars, as `cost.job_cost` and `cost.hosting_cost` write them.
        reads: the images, a line each.
        uploads: what goes to S3 first; None: it is no matter of uploads.
        notes: further lines, each with its own head.
        verb: heads the first line: makes, changes, deletes, asks.
    """

    does: tuple[str, ...]
    costs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    uploads: tuple[Upload, ...] | None = None
    notes: tuple[str, ...] = ()
    verb: str = "makes"

    def noted(self, *notes: str) -> Summary:
        """With these notes at its end."""
        return replace(self, notes=(*self.notes, *notes))

    def text(self, full: bool = False) -> str:
        """All of it, as lines.

        Args:
            full: name every file, not only the first few.
        """
        lines = [*rows(self.verb, self.does), *self.costs, *rows("reads", self.reads)]
        if self.uploads is not None:
            lines += file_lines(self.uploads, len(self.uploads) if full else SHOWN)
        if EXAMPLE in "\n".join(self.costs):
            lines += rows("note", [f"{EXAMPLE} are rounded, of one region and day: give yours by --prices FILE"])
        return "\n".join([*lines, *self.notes])


def rows(head: str, texts: Sequence[str]) -> list[str]:
    """Lines of one kind: the first with its head, the others below it."""
    return [f"{f'{head}:' if k == 0 else '':{HEAD}} {text}" for k, text in enumerate(texts)]


def file_lines(uploads: Sequence[Upload], shown: int = SHOWN) -> list[str]:
    """How much is uploaded, and the first `shown` files by name."""
    if not uploads:
        return rows("upload", ["nothing; all of it is in S3"])
    lines = [f"{file.size:>14,}  {file.uri}" for file in uploads[:shown]]
    if len(uploads) > shown:
        rest = counted(len(uploads) - shown, "more file")
        lines.append(f"{sum(file.size for file in uploads[shown:]):>14,}  in {rest}")
    images = sum(map(_is_image, uploads))
    of_them = f" ({counted(images, 'image')})" if images else ""
    total = size(sum(file.size for file in uploads))
    return [*rows("upload", [f"{counted(len(uploads), 'file')}{of_them}, {total}"]), *lines]


def channels(
    definition: Mapping[str, Any], uploads: Sequence[Upload], parameters: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """What a training job reads: a line for each channel, with its images where they are uploaded, else its address.

    Args:
        definition: has InputDataConfig, as CreateTrainingJob.
        uploads: what goes to S3 first.
        parameters: of a pipeline, name -> value: addresses of channels may be {"Get": "Parameters.NAME"}.
    """
    lines = []
    for channel in definition.get("InputDataConfig", []):
        source = channel["DataSource"].get("S3DataSource", {}).get("S3Uri", "")
        if isinstance(source, Mapping):
            source = (parameters or {}).get(str(source.get("Get", "")).removeprefix("Parameters."), "a step's output")
        files = [file for file in uploads if file.uri.startswith(source)]
        images = sum(map(_is_image, files))
        what = counted(images, "image") if images else counted(len(files), "file")
        told = f"{what}, {size(sum(file.size for file in files))}" if files else f"what is in {source}"
        lines.append(f"{channel['ChannelName']}: {told}")
    return tuple(lines)


def _is_image(file: Upload) -> bool:
    return Path(file.uri).suffix.lower() in EXTENSIONS
