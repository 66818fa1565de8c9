"""Tar shards in the channel, as `prepare.py pack --to shards` or webdataset writes them.

Members that share a name up to the first dot are one image: its picture, and a .json with `id`, `patient` and `label`
(classes) or `labels` ({name: 1, 0, or null for unknown}), or a .cls with its class. Without an id the name is the id;
without a patient the id or the DICOM header is read for one.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from thorax.data.columns import ByteRangeColumn
from thorax.data.formats.channel import Channel, shortened
from thorax.data.formats.label_values import Labels
from thorax.data.formats.registry import IMAGES, DataFormat
from thorax.data.images import EXTENSIONS
from thorax.data.packed import WITHOUT, check_small_files
from thorax.data.patients import fill_patients, patient_column
from thorax.data.samples import Listing
from thorax.data.shards import INDEX, Member, members, read_index
from thorax.data.source import ByteRange
from thorax.errors import ThoraxError
from thorax.text import counted

#: Bytes that a .json or .cls may have; an image is never read while the shards are listed.
LARGEST_TEXT = 1 << 20


class Shards(DataFormat):
    """Tar files, with or without their index."""

    name = "shards"
    help = "tar shards, as `prepare.py pack` or webdataset writes them"
    endings: ClassVar = {".tar": IMAGES}

    def detect(self, channel: Channel) -> str:
        tars = self.files(channel)
        return f"{len(tars)} tar shards ({shortened(tars, 2)})" if tars else ""

    def read(self, channel: Channel) -> Listing:
        """Images of all shards, in the order of names and of places in them.

        Raises:
            ThoraxError: a shard is damaged or holds what it must not (see data.shards), an image has no label, or an
                id comes twice.
        """
        if not (channel.folder / INDEX).is_file():
            return _scan([channel.folder / name for name in self.files(channel)])
        check_small_files(channel.folder, [INDEX])
        index = read_index(channel.folder)
        files = [channel.folder / name for name in index.shards]
        sources = ByteRangeColumn(files, index.which, index.offsets, index.sizes, crcs=index.crcs)
        notes = () if index.crcs is not None else (WITHOUT,)
        return Listing(index.names, index.ids, sources, index.targets, index.patients, index.exclusive, notes=notes)


def _scan(shards: list[Path]) -> Listing:
    ids, patients, labels, places = [], [], [], []
    seen: dict[str, Path] = {}
    unused: dict[str, None] = {}
    without: list[str] = []
    for k, shard in enumerate(shards):
        for key, group in groupby(members(shard), key=_key):
            image, about = _image(shard, key, list(group))
            if image is None:
                without.append(f"{shard.name}: {key}")
                continue
            name = str(about.get("id", key))
            if name in seen:
                raise ThoraxError(f"{shard}: the image {name} is in the shards a second time, after {seen[name].name}")
            seen[name] = shard
            ids.append(name)
            person = patient_column(about)
            patients.append("" if about.get(person) is None else str(about[person]).strip())
            unused.update(dict.fromkeys(key for key in about if key not in {"id", "label", "labels", person}))
            labels.append(about["label"] if "label" in about else about["labels"])
            places.append((k, image.offset, image.size, -1 if image.crc32 is None else image.crc32))
    names, targets, exclusive = _labels(shards, ids, labels)
    which, offsets, sizes, crcs = np.array(places, np.int64).reshape(-1, 4).T
    sources = ByteRangeColumn(shards, which, offsets, sizes, crcs=crcs if (crcs >= 0).any() else None)
    notes = []
    if without:
        notes.append(f"{counted(len(without), 'name')} without a picture, left out: {shortened(without, 3)}")
    if unused:
        notes.append(f"keys of the .json that are not used: {shortened(list(unused), 8)}")
    patients = fill_patients(patients, ids, list(sources))
    return Listing(names, ids, sources, targets, patients, exclusive, notes=tuple(notes))


def _key(member: Member) -> str:
    path = PurePosixPath(member.name)
    return str(path.with_name(path.name.split(".", 1)[0] or path.name))


def _image(shard: Path, key: str, group: list[Member]) -> tuple[Member | None, dict[str, Any]]:
    """(the image's picture, what its .json or .cls says); None where the group has no picture."""
    by_suffix = {PurePosixPath(m.name).suffix.lower(): m for m in group}
    images = [m for suffix, m in by_suffix.items() if suffix in EXTENSIONS]
    if not images:
        return None, {}
    if len(images) > 1:
        raise ThoraxError(
            f"{shard}: {key} has {len(images)} pictures ({', '.join(m.name for m in images)}); an image has one"
        )
    if ".json" in by_suffix:
        about = _about(shard, by_suffix[".json"])
        if ("label" in about) != (isinstance(about.get("labels"), dict)):
            return images[0], about
    elif ".cls" in by_suffix:
        return images[0], {"label": _text(shard, by_suffix[".cls"]).strip()}
    raise ThoraxError(
        f"{shard}: the image {key} has no label; it needs a .json with `label` or `labels`, or a .cls beside it"
    )


def _about(shard: Path, member: Member) -> dict[str, Any]:
    try:
        about = json.loads(_text(shard, member))
    except (ValueError, RecursionError) as error:
        raise ThoraxError(f"{shard}: {member.name} is not JSON: {error}") from None
    if not isinstance(about, dict):
        raise ThoraxError(f"{shard}: {member.name} is not a JSON object")
    return about


def _text(shard: Path, member: Member) -> str:
    if member.size > LARGEST_TEXT:
        raise ThoraxError(f"{shard}: {member.name} has {member.size} bytes, too many for a label")
    try:
        return ByteRange(shard, member.offset, member.size, member.crc32).read().decode()
    except UnicodeDecodeError:
        raise ThoraxError(f"{shard}: {member.name} is not UTF-8") from None


def _labels(shards: list[Path], ids: list[str], labels: list[Any]) -> Labels:
    """Of one class an image, or a value of every label; `shards` and `ids` are for errors."""
    exclusive = all(not isinstance(label, dict) for label in labels)
    if not exclusive and not all(isinstance(label, dict) for label in labels):
        other = next(name for name, label in zip(ids, labels, strict=True) if not isinstance(label, dict))
        raise ThoraxError(
            f"{shards[0].parent}: some images have `labels`, but {other} has one `label`; write all alike"
        )
    if exclusive:
        names = tuple(sorted({str(label) for label in labels}))
        place = {name: k for k, name in enumerate(names)}
        return Labels(names, np.eye(len(names), dtype=np.float32)[[place[str(label)] for label in labels]], True)
    names = tuple(dict.fromkeys(str(name) for label in labels for name in label))
    values = {1: 1.0, 0: 0.0, None: np.nan}
    targets = np.zeros((len(ids), len(names)), np.float32)
    for n, label in enumerate(labels):
        for k, name in enumerate(names):
            try:
                targets[n, k] = values[label.get(name, 0)]
            except (KeyError, TypeError):
                raise ThoraxError(
                    f"{shards[0].parent}: the image {ids[n]} has {name}={label[name]!r}; write 1, 0, or null for"
                    " unknown"
                ) from None
    return Labels(names, targets, False)
