"""Samples: what a format finds in a channel, and the set of images that a part of the run works on."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import overload

import numpy as np

from thorax.data.columns import CategoricalColumn, Sources, StringColumn, pack
from thorax.data.source import Source
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace

#: How an unknown label is kept in int8, and one that the reader was not sure of; everywhere else they are NaN.
UNKNOWN, UNCERTAIN = -1, -2
#: Rows that are coded together.
_AT_ONCE = 4096


@dataclass(frozen=True)
class Listing:
    """What a format reads from one channel.

    Attributes:
        names: label names found, in the format's order.
        ids: one per image; its path below the channel, or what names it in a larger file.
        sources: where each image is.
        targets: (N, len(names)) float32: 1 has the label, 0 has it not, NaN unknown, between 0 and 1 a soft label.
        patients: one id per image.
        exclusive: every image has exactly one of the names (classes), rather than any number (labels).
        parts: train, validation or test for every image, where the channel itself has parts.
        notes: lines for the log: what was left out and why, and the label notes.
        label_notes: those of the notes that say what became of labels (blanks, several rows of an image, names that are
            one), with counts; a bundle keeps them.
        unnamed: an image's value for a label that is not among the names: 0, absent (formats that list an image's
            labels), or NaN, unknown (a column or category per label).
        uncertain: (N, len(names)) bool, which of the unknown labels are there with a question mark (CheXpert's -1, the
            text "Edema?"); None: none is.
        studies: one id per image, of all patients together; "" where it is not known. None: no image has one.
        attributes: what the table says of each image besides, "" where it does not: view (PA, AP, LATERAL ...), sex
            (M, F), age (years).
    """

    names: tuple[str, ...]
    ids: Sequence[str]
    sources: Sources | Sequence[Source]
    targets: np.ndarray
    patients: Sequence[str]
    exclusive: bool
    parts: Sequence[str] | None = None
    notes: tuple[str, ...] = ()
    unnamed: float = 0.0
    uncertain: np.ndarray | None = None
    studies: Sequence[str] | None = None
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    label_notes: tuple[str, ...] = ()

    def take(self, rows: np.ndarray) -> Listing:
        """The images at (n,) `rows`, in their order."""
        places = np.asarray(rows, np.int64).tolist()

        def pick(column: Sequence[str]) -> list[str]:
            return [column[k] for k in places]

        return replace(
            self,
            ids=pick(self.ids),
            sources=pack(self.sources, StringColumn(self.ids)).take(np.asarray(rows, np.int64)),
            targets=self.targets[rows],
            patients=pick(self.patients),
            parts=None if self.parts is None else pick(self.parts),
            uncertain=None if self.uncertain is None else self.uncertain[rows],
            studies=None if self.studies is None else pick(self.studies),
            attributes={name: pick(column) for name, column in self.attributes.items()},
        )

    def with_names(self, columns: Sequence[int]) -> Listing:
        """The images with the labels at these places among `names`, in this order."""
        picked = list(columns)
        return replace(
            self,
            names=tuple(self.names[k] for k in picked),
            targets=self.targets[:, picked],
            uncertain=None if self.uncertain is None else self.uncertain[:, picked],
        )

    def coded(self) -> np.ndarray:
        """The targets as a SampleTable keeps them: (N, L) int8, or float32 where there are soft labels."""
        return coded(self.targets, self.uncertain)


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: id, image source, label vector (L,) float32 with NaN for unknown, patient, study ("" unknown), and
    attributes such as view, sex and age."""

    id: str
    source: Source
    labels: np.ndarray
    patient: str
    study: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


class SampleTable(Sequence[Sample]):
    """Samples kept by columns: a million images with 14 labels take less than 100 MB. A row is made on access.

    Args:
        ids, sources, patients: one per image.
        labels: (N, L) float: 1, 0, NaN for unknown, between 0 and 1 soft; or coded int8: 1, 0, UNKNOWN, UNCERTAIN.
        studies: one per image, "" where unknown; None: all unknown.
        attributes: name -> a text for each image, "" where unknown.
    """

    def __init__(
        self,
        ids: Sequence[str] | StringColumn,
        sources: Sources | Sequence[Source],
        labels: np.ndarray,
        patients: Sequence[str] | CategoricalColumn,
        studies: Sequence[str] | CategoricalColumn | None = None,
        attributes: Mapping[str, Sequence[str] | CategoricalColumn] | None = None,
    ) -> None:
        self.ids = ids if isinstance(ids, StringColumn) else StringColumn(ids)
        self.sources = pack(sources, self.ids)
        self.patients = _categories(patients)
        #: (N, L): int8 1, 0, UNKNOWN or UNCERTAIN; float32 with NaN where there are soft labels.
        self.coded_labels = labels if labels.dtype == np.int8 else coded(labels)
        self.studies = None if studies is None else _categories(studies)
        self.attributes = {name: _categories(column) for name, column in (attributes or {}).items()}

    @classmethod
    def of(cls, samples: Sequence[Sample], width: int) -> SampleTable:
        labels = np.stack([s.labels for s in samples]) if samples else np.zeros((0, width), np.float32)
        names = dict.fromkeys(name for s in samples for name in s.attributes)
        return cls(
            [s.id for s in samples],
            [s.source for s in samples],
            labels,
            [s.patient for s in samples],
            [s.study for s in samples] if any(s.study for s in samples) else None,
            {name: [s.attributes.get(name, "") for s in samples] for name in names},
        )

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> SampleTable: ...
    def __getitem__(self, index: int | slice) -> Sample | SampleTable:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return Sample(
            self.ids[index],
            self.sources[index],
            _float(self.coded_labels[index]),
            self.patients[index],
            "" if self.studies is None else self.studies[index],
            {name: column[index] for name, column in self.attributes.items()},
        )

    def __iter__(self) -> Iterator[Sample]:
        studies = repeat("", len(self)) if self.studies is None else iter(self.studies)
        about = zip(*self.attributes.values(), strict=True) if self.attributes else repeat((), len(self))
        rows = zip(self.ids, self.sources, self.targets, self.patients, studies, about, strict=True)
        return (
            Sample(image, source, labels, patient, study, dict(zip(self.attributes, values, strict=True)))
            for image, source, labels, patient, study, values in rows
        )

    def take(self, places: np.ndarray) -> SampleTable:
        """The samples at (n,) `places`, in their order."""
        return SampleTable(
            self.ids.take(places),
            self.sources.take(places),
            self.coded_labels[places],
            self.patients.take(places),
            None if self.studies is None else self.studies.take(places),
            {name: column.take(places) for name, column in self.attributes.items()},
        )

    def with_labels(self, labels: np.ndarray) -> SampleTable:
        """The same images with other (N, L) labels, coded or not."""
        return SampleTable(self.ids, self.sources, labels, self.patients, self.studies, self.attributes)

    @property
    def targets(self) -> np.ndarray:
        """(N, L) float32 with NaN for unknown; made anew at each call."""
        return _float(self.coded_labels)

    @property
    def nbytes(self) -> int:
        """Bytes that the columns take."""
        more = [c.nbytes for c in (self.studies, *self.attributes.values()) if c is not None]
        return self.ids.nbytes + self.sources.nbytes + self.coded_labels.nbytes + self.patients.nbytes + sum(more)


def coded(targets: np.ndarray, uncertain: np.ndarray | None = None) -> np.ndarray:
    """(N, L) int8 of 1, 0, UNKNOWN and UNCERTAIN; the float32 targets themselves where some lie between 0 and 1.

    Args:
        targets: (N, L): 1, 0, NaN for unknown, between 0 and 1 soft.
        uncertain: (N, L) bool, which of the unknown ones are uncertain.
    """
    codes = np.empty(targets.shape, np.int8)
    for start in range(0, len(targets), _AT_ONCE):  # in pieces that a CPU's cache holds
        rows = slice(start, start + _AT_ONCE)
        unknown = np.isnan(targets[rows])
        whole = np.where(unknown, np.float32(UNKNOWN), targets[rows])
        if ((whole > 0) & (whole < 1)).any():
            return targets.astype(np.float32)
        codes[rows] = whole
        if uncertain is not None:
            codes[rows][uncertain[rows] & unknown] = UNCERTAIN
    return codes


def _categories(column: Sequence[str] | CategoricalColumn) -> CategoricalColumn:
    return column if isinstance(column, CategoricalColumn) else CategoricalColumn(column)


def _float(labels: np.ndarray) -> np.ndarray:
    if labels.dtype == np.float32:
        return labels.copy()
    return np.where(labels < 0, np.float32(np.nan), labels.astype(np.float32))


@dataclass
class SampleSet:
    """The images of one part (train, validation or test).

    Attributes:
        part: the part's name.
        samples: in a fixed order; an image's index in this list names it everywhere. A list is taken too.
        space: label names and task; the columns of `targets` are space.outputs.
    """

    part: str
    samples: Sequence[Sample]
    space: LabelSpace
    table: SampleTable = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.samples, SampleTable):
            self.samples = SampleTable.of(self.samples, len(self.space.outputs))
        self.table = self.samples

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ids(self) -> list[str]:
        return list(self.table.ids)

    @property
    def patients(self) -> list[str]:
        return list(self.table.patients)

    @property
    def studies(self) -> list[str]:
        """One per image; "" where it is not known."""
        return [""] * len(self) if self.table.studies is None else list(self.table.studies)

    @property
    def attributes(self) -> dict[str, list[str]]:
        """Name (view, sex, age) -> a text for each image, "" where it is not known."""
        return {name: list(column) for name, column in self.table.attributes.items()}

    @property
    def targets(self) -> np.ndarray:
        """(N, len(space.outputs)) float32: 1 has the label, 0 has it not, NaN unknown; made anew at each call."""
        return self.table.targets

    def subset(self, indices: Sequence[int] | np.ndarray, part: str) -> SampleSet:
        return SampleSet(part, self.table.take(np.asarray(indices, np.int64)), self.space)

    def class_targets(self) -> np.ndarray:
        """(N, len(space.classes)): like `targets`, with the negative class of a binary task as a column of its own."""
        targets = self.targets
        return np.concatenate([1 - targets, targets], axis=1) if self.space.task == "binary" else targets

    def class_counts(self) -> dict[str, int]:
        """Images of each class (label); an image with several labels counts for each."""
        counts = np.nansum(self.class_targets(), axis=0).astype(int)
        return dict(zip(self.space.classes, counts.tolist(), strict=True))

    def digest(self) -> str:
        """Hash of ids, patients and labels: the same images give the same text on any machine."""
        sign = {UNKNOWN: "?", UNCERTAIN: "?", 0: "0", 1: "1"}
        rows = zip(self.table.ids, self.table.patients, self.table.coded_labels.tolist(), strict=True)
        lines = sorted(
            f"{name}\t{patient}\t{','.join(sign.get(k) or f'{k:.6f}' for k in labels)}"
            for name, patient, labels in rows
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def label_space(listing: Listing, order: Sequence[str], multi_label: bool | None) -> LabelSpace:
    """The run's label space, from the training channel and the configuration.

    Args:
        listing: the training channel.
        order: the hyperparameter `labels`; empty: the data's.
        multi_label: the hyperparameter; None: as the data says.

    Raises:
        ThoraxError: `order` names other labels than the data has, or multi_label does not fit the data.
    """
    if multi_label is False and not listing.exclusive:
        raise ThoraxError(
            "multi_label=false but images of the train channel have several labels or none; leave multi_label out or"
            " set it to true"
        )
    if multi_label or not listing.exclusive:
        unknown = [name for name in order if name not in listing.names]
        if unknown:
            match = difflib.get_close_matches(unknown[0], listing.names, n=1, cutoff=0.5)
            hint = f"; did you mean {match[0]}?" if match else ""
            more = f" and {len(listing.names) - 20} more" if len(listing.names) > 20 else ""
            known = ", ".join(listing.names[:20]) + more
            raise ThoraxError(
                f"labels={','.join(order)}: {', '.join(unknown)} not in the data, which has {known}{hint}"
            )
        names = tuple(order) or listing.names
        if not names:
            raise ThoraxError("no image of the train channel has a label; a classifier needs at least one")
        return LabelSpace(names, "multilabel")
    if not order and all(name.isdigit() for name in listing.names):  # 10 comes after 9, not after 1
        order = sorted(listing.names, key=int)
    return LabelSpace.of_classes(listing.names, order)


def sample_set(part: str, listing: Listing, space: LabelSpace) -> SampleSet:
    """The listing's images with label vectors in the space's order.

    Raises:
        ThoraxError: the listing has a class that the space has not, an image that is not of exactly one class, or no
            label of the space at all.
    """
    if space.task != "multilabel":
        if not listing.exclusive:
            raise ThoraxError(
                f"channel {part} has images with several labels, unknown ones or none, but training has the classes "
                f"{', '.join(space.classes)}; give each image one of them, or set multi_label=true"
            )
        others = [name for name in listing.names if name not in space.classes]
        if others:
            given, known = ", ".join(listing.names), ", ".join(space.classes)
            raise ThoraxError(f"channel {part} has the classes {given}, but training knows {known}")
    elif np.isnan(listing.unnamed) and not set(listing.names) & set(space.outputs):
        raise ThoraxError(
            f"channel {part} has the labels {', '.join(listing.names)}, none of training's {', '.join(space.outputs)}"
        )
    unnamed = listing.unnamed if space.task == "multilabel" else 0
    codes = listing.coded()
    absent = unnamed if codes.dtype == np.float32 else UNKNOWN if np.isnan(unnamed) else unnamed
    columns = np.full((len(listing.ids), len(space.outputs)), absent, codes.dtype)
    pairs = [(k, listing.names.index(name)) for k, name in enumerate(space.outputs) if name in listing.names]
    if pairs:
        columns[:, [k for k, _ in pairs]] = codes[:, [j for _, j in pairs]]
    table = SampleTable(listing.ids, listing.sources, columns, listing.patients, listing.studies, listing.attributes)
    return SampleSet(part, table, space)
