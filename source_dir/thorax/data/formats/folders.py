"""Folder per class: CHANNEL/NORMAL/*.jpeg, CHANNEL/PNEUMONIA/*.jpeg. Patients are read from the file names.

Also the root of a set with a folder per part: CHANNEL/train/NORMAL, CHANNEL/test/NORMAL, as in Kaggle's chest_xray.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thorax.data.columns import FileColumn
from thorax.data.decoders import kinds
from thorax.data.formats.channel import Channel, shortened
from thorax.data.formats.folder_layout import Layout, lay_out, parts_of
from thorax.data.formats.registry import FORMATS, DataFormat
from thorax.data.formats.words import part_of_folder
from thorax.data.patients import patients_of
from thorax.data.samples import Listing
from thorax.errors import ThoraxError
from thorax.text import counted

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
        if not any("/" in image for image in channel.images):
            return f"class folders ({shortened(channel.folders, 4)})" if len(channel.folders) > 1 and not tables else ""
        parts = parts_of(name for name in channel.images if "/" in name)
        if tables and parts and not any(name.count("/") > 1 for name in channel.images):
            return ""  # train/, test/ and a table that tells their labels
        if parts:
            return f"folders of parts ({', '.join(parts)})"
        return f"class folders ({shortened(channel.folders, 4)})"

    def read(self, channel: Channel) -> Listing:
        """Images of every class folder, sorted by class and name; sub-folders of a class belong to it.

        Raises:
            ThoraxError: one class only, a class without images, or a folder that is none of what its neighbours are.
        """
        layout = lay_out(channel.folder, channel.images)
        channel.explained.update(channel.images)
        notes, names = layout.notes, tuple(sorted(set(layout.classes)))
        notes += _without_images(channel, layout)
        if len(names) < 2:
            raise ThoraxError(
                f"{channel.folder} has one class folder only ({', '.join(names) or 'none'}); a classifier needs two or"
                f" more{_below(channel, names, layout)}"
            )
        index = {name: k for k, name in enumerate(names)}
        targets = np.eye(len(names), dtype=np.float32)[[index[name] for name in layout.classes]]
        parts, few = _large_enough(layout.parts)
        paths = channel.paths(layout.ids)
        patients = patients_of(layout.ids, paths)
        said = layout.label_notes
        notes = [*few, *said, *notes]
        return Listing(
            names, layout.ids, FileColumn(paths), targets, patients, True, parts, tuple(notes), label_notes=said
        )


def _without_images(channel: Channel, layout: Layout) -> list[str]:
    """Notes on folders without images.

    Raises:
        ThoraxError: it is a class folder, of train or of a channel without parts.
    """
    used = {name.split("/")[0] for name in channel.images if "/" in name}
    empty = [name for name in channel.folders if name not in used]
    if layout.parts is None:
        masked = sorted({name.split("/")[0] for name in channel.images if "/" in name} - set(map(_first, layout.ids)))
        masked = [name for name in masked if not any(note.startswith(f"{name} is a copy") for note in layout.notes)]
        if empty or masked:
            first = (empty or masked)[0]
            if first in channel.passed:
                raise ThoraxError(
                    f"{channel.folder / first} is a link to a folder that is read already; remove it, its images count"
                    " once"
                )
            raise ThoraxError(f"class folder {channel.folder / first} has no images ({kinds()}); fill it or remove it")
        return []
    notes = [f"{', '.join(empty)} beside the folders of parts: no images, passed over"] if empty else []
    filled = {"/".join(name.split("/")[:2]) for name in layout.ids}
    for part in sorted({_first(name) for name in layout.ids}):
        for name in Channel(channel.folder / part, channel.options).folders:
            if f"{part}/{name}" in filled:
                continue
            if part_of_folder(part) == "train":
                place = channel.folder / part / name
                raise ThoraxError(f"class folder {place} has no images ({kinds()}); fill it or remove it")
            notes.append(f"class folder {part}/{name} has no images")
    return notes


def _first(name: str) -> str:
    return name.partition("/")[0]


def _below(channel: Channel, names: Sequence[str], layout: Layout) -> str:
    """A hint where the set is one folder further down."""
    inner = {name.split("/")[1] for name in layout.ids if name.count("/") > 1}
    if layout.parts is None and len(names) == 1 and (len(inner) > 1 or any(map(part_of_folder, inner))):
        return f"; did you mean {channel.folder / names[0]}, which has {shortened(sorted(inner))}?"
    return ""


def _large_enough(parts: list[str] | None) -> tuple[list[str] | None, tuple[str, ...]]:
    """(part of every image, notes): a validation part that is too small joins train."""
    few = parts.count("validation") if parts else 0
    if parts is None or not 0 < few < FEWEST or "train" not in parts:
        return parts, ()
    note = (
        f"the validation folder has {counted(few, 'image')}, too few to choose an epoch or a threshold on: they join"
        " train, and validation is cut from it by patient"
    )
    return ["train" if part == "validation" else part for part in parts], (note,)
