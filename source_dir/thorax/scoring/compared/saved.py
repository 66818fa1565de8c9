"""The predictions of one model, wherever they are from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from thorax.errors import ThoraxError
from thorax.evaluation.arrays import Array
from thorax.labels import LabelSpace, Task, is_negative, positive_of

#: How far the probabilities of exclusive classes may sum to something else than 1: they are printed with few digits.
ROUNDED = 0.02


@dataclass(frozen=True)
class SavedPredictions:
    """What a model says of N images.

    Attributes:
        ids: names of the images, each once.
        space: labels and task.
        probabilities: (N, L) in 0..1; of answers without probabilities 1 and 0.
        decisions: (N, L) bool: which labels are found.
        targets: (N, L) in {0, 1, NaN = unknown}.
        patients: one for each image; empty: not known.
        ranked: whether there are probabilities, and not answers alone: without them there is no AUC.
        notes: lines about how they were read.
    """

    ids: list[str]
    space: LabelSpace
    probabilities: Array
    decisions: Array
    targets: Array
    patients: Sequence[str] = ()
    ranked: bool = True
    notes: list[str] = field(default_factory=list)

    def take(self, rows: Sequence[int]) -> SavedPredictions:
        """Those of some images."""
        at = np.asarray(rows, np.int64)
        return SavedPredictions(
            [self.ids[k] for k in rows],
            self.space,
            self.probabilities[at],
            self.decisions[at],
            self.targets[at],
            [self.patients[k] for k in rows] if self.patients else (),
            self.ranked,
            self.notes,
        )

    def column(self, name: str) -> tuple[Array, Array, Array] | None:
        """(probabilities, decisions, targets) of a label, (N,) each; None where there is none of this name. Of two
        classes also those of the negative one."""
        if name in self.space.outputs:
            k = self.space.outputs.index(name)
            return self.probabilities[:, k], self.decisions[:, k], self.targets[:, k]
        if self.space.task == "binary" and name in self.space.classes:
            return 1 - self.probabilities[:, 0], ~self.decisions[:, 0], 1 - self.targets[:, 0]
        return None


def space_of(names: Sequence[str], probabilities: Array, targets: Array, exclusive: bool | None = None) -> LabelSpace:
    """The labels and task that a table of probabilities shows.

    Args:
        names: of its columns.
        probabilities, targets: (N, L), NaN where unknown.
        exclusive: whether an image has exactly one of them; None: it has where the probabilities of each image sum to
            1, and no image has several labels.
    """
    if len(names) == 1:
        return LabelSpace((f"no {names[0]}", names[0]), "binary")
    if exclusive is None:
        sums, held = np.nansum(probabilities, axis=1), np.nansum(targets, axis=1)
        known = ~np.isnan(targets).any(axis=1)
        exclusive = bool((np.abs(sums - 1) <= ROUNDED).all()) and bool((held[known] == 1).all())
    if not exclusive:
        return LabelSpace(tuple(names), "multilabel")
    if len(names) == 2:
        return LabelSpace(tuple(names) if positive_of(*names) else tuple(reversed(names)), "binary")
    return LabelSpace(tuple(names), "multiclass")


def narrowed(names: Sequence[str], values: Array, space: LabelSpace) -> Array:
    """(N, L) of the space's outputs from the columns `names`, by name."""
    return values[:, [list(names).index(name) for name in space.outputs]]


def exclusive_space(names: Sequence[str], ordered: bool = False) -> LabelSpace:
    """The space of classes of which an image has exactly one.

    Args:
        ordered: of two, the second is positive, as a person ordered them; else the one that does not mean "nothing
            found".
    """
    if len(names) < 2:
        raise ThoraxError(f"a model tells apart two classes or more; there is {', '.join(names) or 'none'} alone")
    if len(names) == 2 and not ordered and not positive_of(*names):
        names = [*reversed(names)]
    task: Task = "binary" if len(names) == 2 else "multiclass"
    return LabelSpace(tuple(names), task)


def nothing_found(text: str) -> bool:
    """Whether a cell of labels says that there is none."""
    return not text or is_negative(text)
