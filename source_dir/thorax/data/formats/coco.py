"""MS-COCO: boxes in annotations/instances_*.json become labels; an image has those categories that it has a box of."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from thorax.data.columns import FileColumn
from thorax.data.formats.channel import Channel, shortened
from thorax.data.formats.names import check_spellings
from thorax.data.formats.registry import DataFormat
from thorax.data.formats.words import PARTS, nearest_file
from thorax.data.patients import fill_patients, patient_column
from thorax.data.samples import Listing
from thorax.errors import ThoraxError
from thorax.text import are, counted

#: Files of COCO's annotations that hold no boxes, or not those of all categories.
_OTHERS = re.compile(r"(captions|person_keypoints|stuff|panoptic|image_info)_.*", re.IGNORECASE)
#: Keys of an image that COCO has, and that say nothing of what it shows.
_KEYS = frozenset(["id", "file_name", "width", "height", "license", "coco_url", "flickr_url", "date_captured"])
#: Bytes read at both ends of a JSON file to find out whether it holds annotations.
_ENDS = 1 << 16


class Coco(DataFormat):
    """Annotations of boxes beside the images."""

    name = "coco"
    help = "MS-COCO: annotations/instances_*.json beside the images"
    what = "COCO annotations"
    endings: ClassVar = {".json": "application/json"}
    owns_folders = True

    def files(self, channel: Channel) -> list[str]:
        """Annotation files in the folder or its folder annotations/, below the channel."""
        listed = channel.ending(*self.endings)
        if "annotations" in channel.folders:
            below = (channel.folder / "annotations").glob("*.json")
            listed += sorted(f"annotations/{path.name}" for path in below if not path.name.startswith("."))
        listed = [name for name in listed if not _OTHERS.fullmatch(posixpath.basename(name))]
        return [name for name in listed if _has_boxes(channel.folder / name)]

    def read(self, channel: Channel) -> Listing:
        """Images of all annotation files; of several (instances_train2017, instances_val2017) each is a part.

        Raises:
            ThoraxError: a file is not COCO's, ids do not fit together, categories differ, or no image is there.
        """
        files = self.files(channel)
        if len(files) == 1:
            listing, _ = _read(channel, files[0])
            return replace(listing, patients=fill_patients(listing.patients, listing.ids, channel.paths(listing.ids)))
        listings, parts = [], []
        for name in files:
            words = re.findall("[a-z]+", posixpath.basename(name).lower())
            part = next((PARTS[word] for word in words if word in PARTS), None)
            if part is None or part in parts:
                raise ThoraxError(
                    f"{channel.folder} holds {len(files)} annotation files ({', '.join(files)}); leave one, or one each"
                    " named train, val and test"
                )
            listings.append(_read(channel, name))
            parts.append(part)
        (first, names), *others = listings
        for (_, other), name in zip(others, files[1:], strict=True):
            if other != names:
                raise ThoraxError(f"{channel.folder}: {files[0]} and {name} have other categories")
        ids = [i for listing, _ in listings for i in listing.ids]
        if len(set(ids)) != len(ids):
            of = [name for (listing, _), name in zip(listings, files, strict=True) for _ in listing.ids]
            twice = next(name for name in ids if ids.count(name) > 1)
            both = " and ".join(file for name, file in zip(ids, of, strict=True) if name == twice)
            raise ThoraxError(f"{channel.folder}: the image {twice} is in several files, {both}; leave it in one")
        paths = channel.paths(ids)
        given = [patient for listing, _ in listings for patient in listing.patients]
        return replace(
            first,
            ids=ids,
            sources=FileColumn(paths),
            targets=np.concatenate([listing.targets for listing, _ in listings]),
            patients=fill_patients(given, ids, paths),
            parts=[part for part, (listing, _) in zip(parts, listings, strict=True) for _ in listing.ids],
            notes=tuple(note for listing, _ in listings for note in listing.notes),
        )


def _has_boxes(file: Path) -> bool:
    """Whether a JSON file looks like annotations, by two or more of their keys."""
    with file.open("rb") as stream:
        head = stream.read(_ENDS)
        stream.seek(max(0, file.stat().st_size - _ENDS))
        ends = head + stream.read()
    return sum(key in ends for key in (b'"images"', b'"annotations"', b'"categories"', b'"info"', b'"licenses"')) >= 2


def _read(channel: Channel, name: str) -> tuple[Listing, dict[int, str]]:
    """(images of one annotation file, category id -> name); patients are "" where the file names none."""
    file = channel.folder / name
    try:
        stored = json.loads(file.read_bytes())
        images, boxes, categories = stored["images"], stored["annotations"], stored["categories"]
        names = {int(c["id"]): str(c["name"]) for c in categories}
        row = {image["id"]: n for n, image in enumerate(images)}
        files = [str(image["file_name"]) for image in images]
        pairs = _pairs(boxes, channel.options.count_crowds)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ThoraxError(f"{file} is no COCO annotation file of boxes: {type(error).__name__} {error}") from None
    if len(row) != len(images) or len(set(names.values())) != len(categories):
        raise ThoraxError(f"{file}: an image id or a category comes twice")
    check_spellings(names.values(), str(file))
    column = {category: k for k, category in enumerate(sorted(names))}
    targets = np.zeros((len(images), len(names)), np.float32)
    try:
        targets[[row[image] for image, _ in pairs], [column[category] for _, category in pairs]] = 1
    except KeyError:
        image, category = next((i, c) for i, c in pairs if i not in row or c not in column)
        what = (
            f"image id {image}, which it has no image of"
            if category in column
            else f"category id {category}, which is none of its {len(names)}"
        )
        raise ThoraxError(f"{file}: a box has the {what}") from None
    places, notes = _places(channel, file, files)
    _check_twice(file, images, places)
    there = np.array([n for n, place in enumerate(places) if place], np.int64)
    if not len(there):
        hint = nearest_file(files[0], channel.everything) if files else ""
        raise ThoraxError(
            f"none of the {counted(len(files), 'image')} of {file} is below {channel.folder}, e.g."
            f" {', '.join(files[:2])}{hint}"
        )
    if lacking := [name for name, place in zip(files, places, strict=True) if not place]:
        notes.append(
            f"{len(lacking):,} of the {counted(len(files), 'image')} of {file.name} {are(len(lacking))} not there and"
            f" {are(len(lacking))} left out, e.g."
            f" {lacking[0]}" + (nearest_file(lacking[0], channel.everything) if "\\" in lacking[0] else "")
        )
    keys = list(dict.fromkeys(key for image in images for key in image))
    person = patient_column(keys)
    if unused := [key for key in keys if key not in {*_KEYS, person}]:
        notes.append(f"keys of the images of {file.name} that are not used: {shortened(unused, 8)}")
    given = ["" if images[n].get(person) is None else str(images[n][person]).strip() for n in there]
    ids = [places[n] for n in there]
    labels = tuple(names[c] for c in sorted(names))
    sources = FileColumn(channel.paths(ids))
    return Listing(labels, ids, sources, targets[there], given, False, notes=tuple(notes), unnamed=np.nan), names


def _check_twice(file: Path, images: Sequence[dict[str, Any]], places: Sequence[str]) -> None:
    """Refuses one image under two ids."""
    first: dict[str, int] = {}
    for n, place in enumerate(places):
        if place and first.setdefault(place, n) != n:
            one, two = images[first[place]], images[n]
            raise ThoraxError(
                f"{file}: the images {one['id']} ({one['file_name']}) and {two['id']} ({two['file_name']}) are both"
                f" {place}; make them one"
            )


def _pairs(boxes: list[dict[str, Any]], crowds: bool) -> list[tuple[Any, int]]:
    """(image id, category id) of every box."""
    return [(box["image_id"], int(box["category_id"])) for box in boxes if crowds or not box.get("iscrowd")]


def _places(channel: Channel, file: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """(where each image is, notes): at the channel's top, in images/, in the folder that the file is named after, or
    where the end of a path is the most like its own; "" where it is missing."""
    folder = file.stem.partition("_")[2]
    found, by_end = [], []
    for name in names:
        plain = name if posixpath.isabs(name) else channel.relative(name, str(file))
        candidates = (plain, f"images/{plain}", f"{folder}/{plain}")
        place = next((p for p in candidates if p in channel.everything), "")
        if not place and (place := channel.by_end(plain, str(file))) and not place.endswith(f"/{plain}"):
            by_end.append(f"{name} as {place}")
        found.append(place)
    notes = (
        [f"{counted(len(by_end), 'image')} of {file.name} found by the end of their path, e.g. {by_end[0]}"]
        if by_end
        else []
    )
    return found, notes
