"""Samples: what a format finds in a channel, and the set of films that a part of the run works on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from thorax.errors import ThoraxError
from thorax.labels import LabelSpace


@dataclass(frozen=True)
class Listing:
    """What a format reads from one channel.

    Attributes:
        names: label names found, in the format's order.
        ids: one per film; its path below the channel.
        paths: where each film is.
        targets: (N, len(names)) float32: 1 has the label, 0 has it not, NaN unknown.
        patients: one id per film.
        exclusive: every film has exactly one of the names (classes), rather than any number (labels).
    """

    names: tuple[str, ...]
    ids: list[str]
    paths: list[Path]
    targets: np.ndarray
    patients: list[str]
    exclusive: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """One film: id, image source, label vector (L,) float32 with NaN for unknown, and patient."""

    id: str
    source: Path
    labels: np.ndarray
    patient: str


@dataclass
class SampleSet:
    """The films of one part (train, validation or test).

    Attributes:
        part: the part's name.
        samples: in a fixed order; a film's index in this list names it everywhere.
        space: label names and task; the columns of `targets` are space.outputs.
    """

    part: str
    samples: list[Sample]
    space: LabelSpace
    targets: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        width = len(self.space.outputs)
        self.targets = np.stack([s.labels for s in self.samples]) if self.samples else np.zeros((0, width), np.float32)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def ids(self) -> list[str]:
        return [s.id for s in self.samples]

    @property
    def patients(self) -> list[str]:
        return [s.patient for s in self.samples]

    def subset(self, indices: Sequence[int], part: str) -> SampleSet:
        return SampleSet(part, [self.samples[i] for i in indices], self.space)

    def class_targets(self) -> np.ndarray:
        """(N, len(space.classes)): like `targets`, with the negative class of a binary task as a column of its own."""
        return np.concatenate([1 - self.targets, self.targets], axis=1) if self.space.task == "binary" else self.targets

    def class_counts(self) -> dict[str, int]:
        """Films of each class (label); a film with several labels counts for each."""
        counts = np.nansum(self.class_targets(), axis=0).astype(int)
        return dict(zip(self.space.classes, counts.tolist(), strict=True))

    def digest(self) -> str:
        """Hash of ids, patients and labels: the same films give the same text on any machine."""
        lines = sorted(f"{s.id}\t{s.patient}\t{','.join('?' if np.isnan(v) else f'{v:g}' for v in s.labels)}" for s in self.samples)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def label_space(listing: Listing, order: Sequence[str], multi_label: bool | None) -> LabelSpace:
    """The run's label space, from the training channel and what the user said.

    Raises:
        ThoraxError: the user's labels are not those of the data, or multi_label does not fit the data.
    """
    if multi_label is False and not listing.exclusive:
        raise ThoraxError("multi_label=false but films of the train channel have several labels or none; leave multi_label out or set it to true")
    if multi_label or not listing.exclusive:
        unknown = [name for name in order if name not in listing.names]
        if unknown:
            raise ThoraxError(f"labels={','.join(order)}: {', '.join(unknown)} not in the data, which has {', '.join(listing.names)}")
        names = tuple(order) or listing.names
        if not names:
            raise ThoraxError("no film of the train channel has a label; a classifier needs at least one")
        return LabelSpace(names, "multilabel")
    return LabelSpace.of_classes(listing.names, order)


def sample_set(part: str, listing: Listing, space: LabelSpace) -> SampleSet:
    """The listing's films with label vectors in the space's order.

    Raises:
        ThoraxError: the listing has a class that the space has not, or a film that is not of exactly one class.
    """
    if space.task != "multilabel":
        if not listing.exclusive:
            raise ThoraxError(f"channel {part} has films with several labels, unknown ones or none, but training has the classes "
                              f"{', '.join(space.classes)}; give each film one of them, or set multi_label=true")  # fmt: skip
        others = [name for name in listing.names if name not in space.classes]
        if others:
            raise ThoraxError(f"channel {part} has the classes {', '.join(listing.names)}, but training knows {', '.join(space.classes)}")
    columns = np.zeros((len(listing.ids), len(space.outputs)), np.float32)
    for k, name in enumerate(space.outputs):
        if name in listing.names:
            columns[:, k] = listing.targets[:, listing.names.index(name)]
    samples = [Sample(i, path, row, patient) for i, path, row, patient in zip(listing.ids, listing.paths, columns, listing.patients, strict=True)]
    return SampleSet(part, samples, space)
