"""What the folders of a channel are: classes, parts with classes, a copy of the set, masks. By their names alone.

A folder that is none of what its neighbours are is refused: it must not become a class in silence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from thorax.data.formats.words import PARTS, part_of_folder, plain_name, shortened
from thorax.errors import ThoraxError
from thorax.labels import NEGATIVE_NAMES
from thorax.text import are, counted

#: Folders of segmentations, which are no X-rays, and of other pictures made of X-rays.
_MASKS = re.compile(r"(.* )?(masks?|segmentations?|ground ?truths?|gt)")
_MADE = re.compile(r"(.* )?(annotations?|overlays?|heat ?maps?|thumbs?|thumbnails?|previews?|contours?|bbox(es)?)")
_IMAGES = re.compile(r"((all )?(images?|imgs?|cxrs?|x ?rays?|pictures?))( (png|jpe?g|dicom|dcm))?")
#: A segmentation beside its image, as in "a.png" and "a_mask_1.png".
_MASK_FILE = re.compile(r"(.+?)[ _-]masks?([ _-]?\d+)?", re.IGNORECASE)
_PART_FIRST = re.compile(rf"({'|'.join(sorted(PARTS, key=len, reverse=True))})[ _-]+(?!set\b|data\b|images\b)", re.I)


@dataclass(frozen=True)
class Layout:
    """The images of class folders.

    Attributes:
        ids: paths below the channel, in the order of their folders' names.
        classes: the class of each.
        parts: the part of each; None: the channel has no folders of parts.
        notes: what is left out, and why.
        label_notes: names that are one class.
    """

    ids: list[str]
    classes: list[str]
    parts: list[str] | None
    notes: list[str]
    label_notes: tuple[str, ...]


def lay_out(folder: Path, images: Sequence[str]) -> Layout:
    """The layout of a folder with these images.

    Args:
        folder: for errors.
        images: paths below it.

    Raises:
        ThoraxError: a folder is none of what its neighbours are, or they cannot be told apart.
    """
    notes: list[str] = []
    kept = [name for name in images if "/" in name]
    kept = _without_copy(folder, kept, notes)
    parts = parts_of(kept)
    if parts:
        _check_parts(folder, kept, parts)
    depth = 1 if parts else 0
    kept = _without_masks(folder, kept, depth, notes)
    kept = _without_repetition(kept, depth, notes)
    places = {"", *(parts or [])}
    loose = [name for name in images if name.count("/") <= depth and (not parts or _top_or_none(name) in places)]
    if loose:
        notes.append(f"{counted(len(loose), 'image')} in no class folder, left out: {shortened(loose, 3)}")
    ids = [name for name in kept if name.count("/") > depth]
    if kept and not ids:
        raise ThoraxError(f"{folder}: {', '.join(parts)} hold images but no class folders; expected train/CLASS/IMAGE")
    found = [name.split("/")[depth] for name in ids]
    if parts and (twice := [name for name in dict.fromkeys(found) if part_of_folder(name)]):
        first = next(name for name in ids if name.split("/")[1] == twice[0])
        raise ThoraxError(
            f"{folder}: {'/'.join(first.split('/')[:2])} is called after a part of a set, where a folder per class is"
            " expected (train/CLASS/IMAGE); move what it holds one folder up"
        )
    if not parts:
        _check_classes(folder, ids)
    of_image = [parts[_top(name)] for name in ids] if parts else None
    spelled, label_notes = _spellings(found, of_image or [])
    return Layout(ids, [spelled[name] for name in found], of_image, notes, label_notes)


def parts_of(images: Iterable[str]) -> dict[str, str]:
    """Top folder of the images -> its part, for those that are called after one."""
    return {name: part for name in dict.fromkeys(map(_top, images)) if (part := part_of_folder(name))}


def _top(name: str) -> str:
    return name.partition("/")[0]


def _top_or_none(name: str) -> str:
    return _top(name) if "/" in name else ""


def _check_parts(folder: Path, images: list[str], parts: dict[str, str]) -> None:
    others = sorted({_top(name) for name in images} - set(parts))
    if others:
        raise ThoraxError(
            f"{folder} has images in {shortened(others)} beside {', '.join(parts)}; a folder holds either parts (train,"
            f" val, test) with classes in them, or classes: name one of the folders, or move {others[0]} away"
        )
    for part in dict.fromkeys(parts.values()):
        same = [name for name in parts if parts[name] == part]
        if len(same) > 1:
            raise ThoraxError(f"{folder}: {' and '.join(same)} both mean {part}; leave one, or make them one")


def _without_copy(folder: Path, images: list[str], notes: list[str]) -> list[str]:
    """Without a copy of the set inside itself, as archives that were packed twice have it."""
    by_top: dict[str, set[str]] = {}
    for name in images:
        top, _, rest = name.partition("/")
        by_top.setdefault(top, set()).add(rest)
    if len(by_top) < 2:
        return images
    for top, inner in by_top.items():
        others = set(by_top) - {top}
        if not others <= {_top(name) for name in inner if "/" in name}:
            continue
        outer = {f"{other}/{name}" for other in others for name in by_top[other]}
        if more := sorted(inner - outer):
            raise ThoraxError(
                f"{folder} holds a set ({', '.join(sorted(others))}) and another one in {top}, which has"
                f" {counted(len(more), 'image')} that the first has not, e.g. {top}/{more[0]}; name one of them, such"
                f" as {folder / top}, or remove the other"
            )
        notes.append(f"{top} is a copy of the set inside itself ({counted(len(inner), 'image')}) and is passed over")
        return [name for name in images if _top(name) != top]
    return images


def _without_masks(folder: Path, images: list[str], depth: int, notes: list[str]) -> list[str]:
    """Without segmentations: folders of them in a class folder, and files beside their images."""
    tops = {name.split("/")[depth] for name in images if name.count("/") > depth}
    masks, made, pictures = (sorted(t for t in tops if kind.fullmatch(_words(t))) for kind in (_MASKS, _MADE, _IMAGES))
    if made:
        raise ThoraxError(
            f"{folder}: {' and '.join(made)} would be a class, but is called after pictures that are made of X-rays;"
            " move it away, or name the folder of the classes"
        )
    if masks and pictures:
        raise ThoraxError(
            f"{folder}: {' and '.join(pictures + masks)} are images and their masks, no classes; name the folder that"
            " has a folder per class"
        )

    def is_mask(name: str) -> bool:
        return any(kind.fullmatch(_words(word)) for word in name.split("/")[depth + 1 : -1] for kind in (_MASKS, _MADE))

    stems = {name.rpartition(".")[0] for name in images}

    def beside(name: str) -> bool:
        above, _, last = name.rpartition("/")
        match = _MASK_FILE.fullmatch(last.rpartition(".")[0])
        return match is not None and f"{above}/{match[1]}" in stems

    left = [name for name in images if is_mask(name)]
    if left:
        places = sorted({name.rpartition("/")[0] for name in left})
        where = f"in folders of masks, annotations or thumbnails, {are(len(left))} left out"
        notes.append(f"{counted(len(left), 'image')} {where}: {shortened(places, 3)}")
    files = [name for name in images if name not in set(left) and beside(name)]
    if files:
        notes.append(f"{counted(len(files), 'mask')} beside their images, left out: {shortened(files, 3)}")
    gone = {*left, *files}
    return [name for name in images if name not in gone]


def _words(name: str) -> str:
    """The plain name of a folder, also of one like "leftMask"."""
    return plain_name(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))


def _without_repetition(images: list[str], depth: int, notes: list[str]) -> list[str]:
    """Without a copy of a class folder inside itself: NORMAL/NORMAL/a.png, where NORMAL/a.png is there."""
    everything = set(images)
    gone: dict[str, int] = {}
    kept = []
    for name in images:
        words = name.split("/")
        twice = len(words) > depth + 2 and words[depth] == words[depth + 1]
        if twice and "/".join(words[: depth + 1] + words[depth + 2 :]) in everything:
            place = "/".join(words[: depth + 2])
            gone[place] = gone.get(place, 0) + 1
        else:
            kept.append(name)
    for place, count in gone.items():
        notes.append(f"{place} is a copy of its folder inside itself ({counted(count, 'image')}) and is passed over")
    return kept


def _check_classes(folder: Path, images: list[str]) -> None:
    """Refuses top folders that are something else than classes: parts of one name each, folds, sites."""
    tops = sorted({_top(name) for name in images})
    firsts = {part_of_folder(match[1]) for name in tops if (match := _PART_FIRST.match(name))}
    if len(firsts) > 1:
        raise ThoraxError(
            f"{folder} has the class folders {shortened(tops)}, which look like parts and classes in one name; expected"
            " folders of parts with classes in them, such as train/NORMAL"
        )
    second = {part_of_folder(w[1]): name for name in images if len(w := name.split("/")) > 2}
    if len(tops) > 1 and "train" in second:
        place = "/".join(second["train"].split("/")[:2])
        raise ThoraxError(
            f"{folder} has folders of parts in its folders, such as {place}; name {folder / tops[0]} if that is the"
            " set, or turn them round (train/CLASS/IMAGE)"
        )
    inner = [{w[1] for name in images if (w := name.split("/"))[0] == top and len(w) > 2} for top in tops]
    direct = any(name.count("/") == 1 for name in images)
    same = set.intersection(*inner) if inner and not direct else set()
    if len(tops) > 1 and len(same) > 1 and any(name.lower() in NEGATIVE_NAMES for name in same):
        raise ThoraxError(
            f"{folder}: {shortened(tops)} each hold the folders {shortened(sorted(same))}, which look like the classes;"
            f" name one of them, such as {folder / tops[0]}, or put the images of a class into one folder"
        )


def _spellings(found: Sequence[str], parts: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """(class folder -> class, lines): spellings of one name are one class, written as in train, or as on most
    images."""
    counts, in_train = Counter(found), {name for name, part in zip(found, parts, strict=False) if part == "train"}
    groups: dict[str, list[str]] = {}
    for name in sorted(counts, key=lambda name: (name not in in_train, -counts[name], name)):
        groups.setdefault(plain_name(name) or name, []).append(name)
    notes = tuple(
        f"the class folders {', '.join(group)} are taken for one class, {group[0]}"
        for group in groups.values()
        if len(group) > 1
    )
    return {name: group[0] for group in groups.values() for name in group}, notes
