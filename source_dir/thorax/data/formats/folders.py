"""Folder per class: CHANNEL/NORMAL/*.jpeg, CHANNEL/PNEUMONIA/*.jpeg. Patients are read from the file names.

Also the root of a set with a folder per part: CHANNEL/train/NORMAL, CHANNEL/test/NORMAL, as in Kaggle's chest_xray.
"""

from __future__ import annotations

import numpy as np

from thorax.data.columns import FileColumn
from thorax.data.formats.channel import KINDS, PARTS, Channel, shortened
from thorax.data.formats.registry import FORMATS, DataFormat
from thorax.data.patients import patients_of
from thorax.data.samples import Listing
from thorax.errors import ThoraxError

#: A validation folder with fewer images than this cannot choose an epoch or a threshold: it joins train.
FEWEST = 50


class Folders(DataFormat):
    """A folder per class, perhaps in a folder per part."""

    name = "folder"
    help = "a folder of images per class, perhaps in a folder per part (train, val, test)"

    def detect(self, channel: Channel) -> str:
        """A sub-folder with an image, or several sub-folders and no table.

        One sub-folder beside a table holds the table's images: one class would be none. So do those of NIH and COCO.
        """
        formats = [FORMATS[name] for name in FORMATS]
        tables = channel.ending(*(ending for entry in formats for ending in entry.endings))
        if len(channel.folders) == 1 and tables:
            return ""
        if any(entry.owns_folders and entry.detect(channel) for entry in formats):
            return ""
        if (len(channel.folders) > 1 and not tables) or any("/" in image for image in channel.images):
            if _is_root(channel):
                return f"folders of parts ({', '.join(channel.folders)})"
            return f"class folders ({shortened(channel.folders, 4)})"
        return ""

    def read(self, channel: Channel) -> Listing:
        """Images of every class folder, sorted by class and name; sub-folders of a class belong to it.

        Raises:
            ThoraxError: one class only, or a class without images.
        """
        root = _is_root(channel)
        ids = [name for name in channel.images if name.count("/") > root]
        classes = [name.split("/")[root] for name in ids]
        names = tuple(sorted(set(classes) if root else channel.folders))
        if empty := sorted(set(names) - set(classes)):
            raise ThoraxError(f"class folder {channel.folder / empty[0]} has no images ({KINDS}); fill it or remove it")
        if len(names) < 2:
            raise ThoraxError(
                f"{channel.folder} has one class folder only ({', '.join(names)}); a classifier needs two or more"
            )
        index = {name: k for k, name in enumerate(names)}
        targets = np.eye(len(names), dtype=np.float32)[[index[name] for name in classes]]
        parts, notes = _parts(ids) if root else (None, ())
        paths = channel.paths(ids)
        return Listing(names, ids, FileColumn(paths), targets, patients_of(ids, paths), True, parts, notes)


def _is_root(channel: Channel) -> bool:
    parts = {PARTS.get(name.lower()) for name in channel.folders}
    return None not in parts and len(parts) > 1 and "train" in parts


def _parts(ids: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """(part of every image, notes)."""
    parts = [PARTS[name.split("/")[0].lower()] for name in ids]
    few = parts.count("validation")
    if not 0 < few < FEWEST:
        return parts, ()
    note = (
        f"the validation folder has {few} images, too few to choose an epoch or a threshold on: they join train, and"
        " validation is cut from it by patient"
    )
    return ["train" if part == "validation" else part for part in parts], (note,)
