"""Images to score: any format that training reads, or a plain folder, with or without labels that the bundle knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from thorax.data.formats import read_channel
from thorax.data.images import EXTENSIONS
from thorax.data.patients import patients_of
from thorax.data.samples import Sample, SampleSet, sample_set
from thorax.errors import ThoraxError
from thorax.files import files_below
from thorax.labels import LabelSpace


def images_to_score(folder: Path, space: LabelSpace, data_format: str = "auto") -> SampleSet:
    """The images in `folder`; targets are NaN where labels are unknown.

    A folder with nothing but images (and folders of them) is read as it is: an image's label is the innermost of its
    folders that has the name of one of the bundle's classes. Where an image has none, no image has a label.

    Raises:
        ThoraxError: no images, or as `read_channel` and `sample_set` say.
    """
    if not folder.is_dir():
        raise ThoraxError(f"--data {folder} is not a folder")
    if data_format == "auto" and (images := _only_images(folder)):
        ids = [image.relative_to(folder).as_posix() for image in images]
        patients = patients_of(ids, [str(image) for image in images])
        rows = zip(ids, images, folder_targets(ids, space), patients, strict=True)
        return SampleSet("data", [Sample(*row) for row in rows], space)
    return sample_set("data", read_channel("data", folder, data_format), space)


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


def _only_images(folder: Path) -> list[Path]:
    """The images of a folder in which there is nothing else, sorted; else none.

    Links are followed; hidden files do not count.
    """
    images = []
    for name in files_below(folder, (".", "__")):
        if Path(name).suffix.lower() in EXTENSIONS:
            images.append(folder / name)
        elif "/" not in name:
            return []
    return sorted(images)
