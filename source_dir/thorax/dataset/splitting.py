"""Split images into train, validation and test: whole patients only, every label's share kept."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

from thorax.data.samples import Listing, SampleSet
from thorax.data.splits import cut_by_patient
from thorax.dataset.counts import PartSize, cut_by_count
from thorax.dataset.reading import whole_set
from thorax.errors import ThoraxError
from thorax.text import are, counted
from thorax.unpacking import gunzipped


def split(
    listing: Listing, validation: float | PartSize = 0.15, test: float | PartSize = 0.15, seed: int = 0
) -> list[SampleSet]:
    """Train, and validation and test where they have images.

    Parts that the set itself has (a split column, folders of parts, the NIH lists) are kept; then only validation is
    cut, from train, where there is none.

    Args:
        listing: the images; parts=None splits everything.
        validation, test: share of all images that are to be split, or a number of images, see PartSize; 0: none.
        seed: the same images and seed give the same split.

    Raises:
        ThoraxError: fewer than two patients, or a number of images that there are not.
    """
    images, marks = whole_set(listing), listing.parts
    names = set(marks or ())
    parts = {name: images.subset([k for k, p in enumerate(marks or ()) if p == name], name) for name in names}
    train = parts.get("train", images)
    sizes = [size if isinstance(size, PartSize) else PartSize(size) for size in (validation, test)]
    if marks is None and sizes[1]:
        train, parts["test"] = _cut(train, sizes[1], "test", seed, sizes[1].share)
    if "validation" not in names and sizes[0]:
        share = sizes[0].share if marks is not None else sizes[0].share / (1 - sizes[1].share)
        train, parts["validation"] = _cut(train, sizes[0], "validation", seed, share)
    train.part = "train"
    return [part for part in (train, parts.get("validation"), parts.get("test")) if part is not None]


def _cut(train: SampleSet, size: PartSize, part: str, seed: int, share: float) -> tuple[SampleSet, SampleSet]:
    if size.count:
        return cut_by_count(train, size, part, seed)
    train, held_out = cut_by_patient(train, share, seed)
    held_out.part = part
    return train, held_out


def parts_by_test_list(listing: Listing, file: Path, say: Callable[[str], None] = print) -> list[str]:
    """test for the images of a list (names or ids, one a line, perhaps packed with gzip), train for all others.

    Raises:
        ThoraxError: it cannot be read, or none of its images is in the set.
    """
    try:
        data = file.read_bytes()
        lines = gunzipped(data, f"--test-list {file}").decode("utf-8-sig").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ThoraxError(f"--test-list {file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    names = {line.strip() for line in lines} - {""}
    ends = {name: name.rpartition("/")[2] for name in listing.ids}
    unknown = names - set(ends) - set(ends.values())
    if len(unknown) == len(names):
        some = ", ".join(sorted(names)[:3])
        raise ThoraxError(f"--test-list {file}: none of its {counted(len(names), 'image')} is in the set, e.g. {some}")
    if unknown:
        images = f"{len(unknown):,} of the {counted(len(names), 'image')} of {file}"
        say(f"note: {images} {are(len(unknown))} not in the set")
    return ["test" if name in names or ends[name] in names else "train" for name in listing.ids]
