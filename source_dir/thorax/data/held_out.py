"""Answers on images that a network was not trained on: what a fold leaves, and what all folds together give a refit."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from thorax.data.samples import SampleSet
from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax.labels import LabelSpace
from thorax.text import are, counted

#: The file, in output/data of a fold's job and in the channel `held_out` of a refit.
FILE = "held_out.npz"
_TEXTS = ("ids", "patients", "space")


@dataclass(frozen=True)
class HeldOut:
    """Logits of N images by networks that were not trained on them.

    Attributes:
        space: labels.
        ids, patients: one for each image.
        folds: (N,) the fold of each image, from 0.
        targets: (N, L) in {0, 1, NaN}.
        logits: (N, L) float32 of the images as served; a row of NaN is an image that could not be read.
        augmented: (V, N, L) of augmented views, which the thresholds are fitted on too.
        count: folds in all.
        best_epochs: fold -> its best epoch, from 1.
        prior: (L,) how far class weights and balanced drawing move the logits up, the mean over the folds.
    """

    space: LabelSpace
    ids: list[str]
    patients: list[str]
    folds: np.ndarray
    targets: np.ndarray
    logits: np.ndarray
    augmented: np.ndarray
    count: int
    best_epochs: dict[int, int]
    prior: np.ndarray

    @property
    def epochs(self) -> int:
        """Epochs of a refit: the median of the folds' best, a half rounded up."""
        return int(np.floor(np.median([*self.best_epochs.values()]) + 0.5))

    def of(self, images: SampleSet) -> HeldOut:
        """The answers on these images, in their order.

        Raises:
            ThoraxError: other images than the folds had.
        """
        places = {name: k for k, name in enumerate(self.ids)}
        unknown = [name for name in images.ids if name not in places]
        lost = sorted(places.keys() - set(images.ids))
        if unknown or lost:
            some = f"{counted(len(unknown), 'image')} of train {are(len(unknown))} in no fold" if unknown else ""
            more = f"{counted(len(lost), 'image')} of the folds {are(len(lost))} not in train" if lost else ""
            raise ThoraxError(
                f"channel held_out: {' and '.join(filter(None, (some, more)))}, e.g. {[*unknown, *lost][0]}; give the"
                " images that the folds were trained on, or train the folds anew"
            )
        rows = np.array([places[name] for name in images.ids])
        return replace(
            self,
            ids=images.ids,
            patients=[self.patients[k] for k in rows],
            folds=self.folds[rows],
            targets=self.targets[rows],
            logits=self.logits[rows],
            augmented=self.augmented[:, rows],
        )

    def write(self, folder: Path) -> None:
        """Raises ThoraxError: the folder cannot be written."""
        texts: dict[str, Any] = {"ids": self.ids, "patients": self.patients, "space": self.space.to_dict()}
        arrays: dict[str, Any] = {
            **{name: np.frombuffer(json.dumps(value).encode(), np.uint8) for name, value in texts.items()},
            **{name: getattr(self, name) for name in ("folds", "targets", "logits", "augmented", "prior")},
            "count": np.array(self.count),
            "best_epochs": np.array(sorted(self.best_epochs.items())),
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_whole(buffer.getbuffer(), folder / FILE, "held-out answers")

    @classmethod
    def read(cls, place: Path) -> HeldOut:
        """Those in a file, or in the file FILE of a folder.

        Raises:
            ThoraxError: there is none, or it is damaged.
        """
        file = place / FILE if place.is_dir() else place
        try:
            with np.load(file, allow_pickle=False) as stored:
                texts = {name: json.loads(stored[name].tobytes()) for name in _TEXTS}
                arrays = {name: stored[name] for name in ("folds", "targets", "logits", "augmented", "prior")}
                count, epochs = int(stored["count"]), stored["best_epochs"].tolist()
            found = cls(
                space=LabelSpace.from_dict(texts["space"]),
                ids=[str(name) for name in texts["ids"]],
                patients=[str(name) for name in texts["patients"]],
                count=count,
                best_epochs={int(fold): int(epoch) for fold, epoch in epochs},
                **arrays,
            )
            rows, labels = len(found.ids), len(found.space.outputs)
            shapes = (found.targets.shape, found.logits.shape, found.augmented.shape[1:])
            if set(shapes) != {(rows, labels)} or found.folds.shape != (rows,) or len(found.patients) != rows:
                raise ValueError("its arrays have other lengths than its images")
            if found.prior.shape != (labels,) or not found.best_epochs:
                raise ValueError("an entry has another form")
        except FileNotFoundError:
            raise ThoraxError(f"{file} does not exist; it is what the job of a fold leaves in output/data") from None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile, EOFError) as error:
            raise ThoraxError(f"{file} is damaged ({error}); take it from the job again") from None
        return found


def joined(parts: list[HeldOut]) -> HeldOut:
    """All folds together, sorted by fold.

    Raises:
        ThoraxError: a fold is missing or twice, an image is in two folds, or the labels differ.
    """
    parts = sorted(parts, key=lambda part: min(part.best_epochs))
    first = parts[0]
    numbers = [fold for part in parts for fold in part.best_epochs]
    if numbers != [*range(first.count)]:
        shown = ", ".join(map(str, numbers))
        raise ThoraxError(f"the folds are {shown}, not 0 to {first.count - 1}, each once; finish or give the others")
    for part in parts:
        if part.space != first.space or part.count != first.count or len(part.augmented) != len(first.augmented):
            raise ThoraxError("the folds have different labels or settings; train them with the same command")
    ids = [name for part in parts for name in part.ids]
    if len(set(ids)) != len(ids):
        twice = next(name for k, name in enumerate(ids) if name in ids[:k])
        raise ThoraxError(f"image {twice} is held out in two folds: they were cut from different images; train anew")
    return HeldOut(
        space=first.space,
        ids=ids,
        patients=[name for part in parts for name in part.patients],
        folds=np.concatenate([part.folds for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        logits=np.concatenate([part.logits for part in parts]),
        augmented=np.concatenate([part.augmented for part in parts], axis=1),
        count=first.count,
        best_epochs={fold: epoch for part in parts for fold, epoch in part.best_epochs.items()},
        prior=np.mean([part.prior for part in parts], axis=0),
    )
