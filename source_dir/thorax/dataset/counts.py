"""A part of so many images: whole patients only, in all or of every class."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from thorax.data.samples import SampleSet
from thorax.errors import ThoraxError
from thorax.text import counted


@dataclass(frozen=True)
class PartSize:
    """How large a part is: a share of all images, so many images, or so many of every class.

    Attributes:
        share: 0..1; of the images that are to be split.
        count: images; 0: the share counts.
        per_class: the count is of every class (of several labels: positives of every label).
    """

    share: float = 0.0
    count: int = 0
    per_class: bool = False

    @classmethod
    def read(cls, flag: str, text: str) -> PartSize:
        """0.15 (a share), 60 (images) or 60/class (images of every class).

        Raises:
            ThoraxError: none of these.
        """
        found = re.fullmatch(r"(\d+)(?:\s*(?:/|per)\s*(class|label))?", text.strip())
        if found and (found[2] or int(found[1]) >= 1):
            return cls(count=int(found[1]), per_class=bool(found[2]))
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 0.5:
            raise ThoraxError(
                f"{flag} {text} is out of range; choose 0 to 0.5 (a share), or a number of images such as 60, or"
                " 60/class for so many of every class"
            )
        return cls(share=share)

    def __bool__(self) -> bool:
        return bool(self.share or self.count)


def cut_by_count(images: SampleSet, size: PartSize, part: str, seed: int) -> tuple[SampleSet, SampleSet]:
    """(the rest as train, the part): whole patients, drawn at random, until the count is reached and never beyond it.

    Args:
        part: its name.
        seed: the same images and seed give the same part, whatever their order.

    Raises:
        ThoraxError: there are not so many images, or none would be left for training; or patients have too many images
            each for the count to be reached.
    """
    patients = sorted(set(images.patients))
    index = {patient: k for k, patient in enumerate(patients)}
    row = np.array([index[p] for p in images.patients])
    classes = np.nan_to_num(images.class_targets()) > 0.5
    columns = classes if size.per_class else np.ones((len(images), 1), bool)
    names = images.space.classes if size.per_class else ("images",)
    total = columns.sum(axis=0)
    if short := [k for k in range(len(names)) if total[k] <= size.count]:
        what = f"of {names[short[0]]}" if size.per_class else "in all"
        raise ThoraxError(
            f"{part}: {counted(size.count, 'image')} {what} are asked for, of {total[short[0]]} that there are; some"
            " must be left for training"
        )
    counts = np.zeros((len(patients), len(names)), int)
    np.add.at(counts, row, columns)
    chosen, need = np.zeros(len(patients), bool), np.full(len(names), size.count)
    order = np.random.default_rng(seed).permutation(len(patients))
    for label in np.argsort(total, kind="stable"):  # the rarest class first: it has the fewest patients to choose from
        for patient in order:
            if need[label] and not chosen[patient] and counts[patient, label] and (counts[patient] <= need).all():
                chosen[patient] = True
                need -= counts[patient]
    if need.any():
        lacking = ", ".join(f"{name} {size.count - n}" for name, n in zip(names, need, strict=True) if n)
        raise ThoraxError(
            f"{part}: {size.count}{' of every class' if size.per_class else ' images'} cannot be made of whole"
            f" patients: reached are {lacking}; choose another number or another --seed, or a share such as 0.15"
        )
    taken = chosen[row]
    return images.subset(np.flatnonzero(~taken), "train"), images.subset(np.flatnonzero(taken), part)
