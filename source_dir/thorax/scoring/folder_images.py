"""Images to score: any format that training reads, or a plain folder, with or without labels that the bundle knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from thorax.data.decoders import kinds
from thorax.data.formats import FORMATS, read_channel
from thorax.data.formats.channel import Channel, ReadOptions
from thorax.data.formats.passed_over import notes_of
from thorax.data.patients import patients_of
from thorax.data.samples import Sample, SampleSet, sample_set
from thorax.data.uncertain import scored
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.tracking.progress import say


def images_to_score(
    folder: Path, space: LabelSpace, data_format: str = "auto", options: ReadOptions | None = None
) -> SampleSet:
    """The images in `folder`; targets are NaN where labels are unknown.

    A folder without a table or list of its images is read as it is: an image's label is the innermost of its folders
    that has the name of one of the bundle's classes. Where an image has none, no image has a label. Files that are no
    images are passed over, with a line.

    Raises:
        ThoraxError: no images, or as `read_channel` and `sample_set` say.
    """
    if not folder.is_dir():
        raise ThoraxError(f"--data {folder} is not a folder")
    if data_format == "auto" and _is_plain(folder):
        ids, notes = plain_images(folder)
        for note in notes:
            say(f"note: {folder}: {note}")
        if not ids:
            raise ThoraxError(f"--data {folder} holds no images ({kinds()})")
        images = [folder / name for name in ids]
        patients = patients_of(ids, [str(image) for image in images])
        rows = zip(ids, images, folder_targets(ids, space), patients, strict=True)
        return SampleSet("data", [Sample(*row) for row in rows], space)
    listing = read_channel("data", folder, data_format, options)
    for note in listing.notes:
        say(f"note: {folder}: {note}")
    samples, lines = scored(sample_set("data", listing, space))
    for line in lines:
        say(f"note: {folder}: {line}")
    return samples


def folder_targets(ids: list[str], space: LabelSpace) -> np.ndarray:
    """(N, L) float32 targets, from the folders in the ids in any case; all NaN unless every id has one."""
    known = {name.lower(): k for k, name in enumerate(space.classes)}
    found = [
        next((known[part] for part in reversed(name.lower().split("/")[:-1]) if part in known), None) for name in ids
    ]
    if space.task == "multilabel" or None in found or not ids:
        return np.full((len(ids), len(space.outputs)), np.nan, np.float32)
    rows: np.ndarray = np.eye(len(space.classes), dtype=np.float32)[np.array(found)]
    return rows[:, 1:] if space.task == "binary" else rows


def plain_images(folder: Path) -> tuple[list[str], list[str]]:
    """(paths of the images below a folder, sorted; lines on what is passed over): files that are no images, hidden
    folders and those of systems."""
    channel = Channel(folder, ReadOptions())
    images = sorted(channel.images)
    channel.explained.update(images)
    return images, list(notes_of(channel, all_images=True))


def _is_plain(folder: Path) -> bool:
    """Whether nothing in a folder lists its images: no table, list, manifest, records or shards."""
    channel = Channel(folder, ReadOptions())
    return not any(FORMATS[name].detect(channel) for name in FORMATS if name != "folder")
