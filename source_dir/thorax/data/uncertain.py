"""Uncertain labels: what training makes of them, label by label. Scores never count one: nobody knows the answer.

The choices are those of Irvin et al., "CheXpert" (2019): U-Ignore, U-Zeros, U-Ones, and a class of its own; `soft`
draws uncertain labels from a range (Pham et al., "Interpreting chest X-rays via CNNs that exploit hierarchical disease
dependencies and uncertainty labels", 2021).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from thorax.data.formats.channel import nearest
from thorax.data.formats.names import key, place_of, resolved
from thorax.data.formats.table_options import Choice
from thorax.data.samples import UNCERTAIN, UNKNOWN, Listing, SampleSet
from thorax.errors import ThoraxError

#: What the label of its own (choice `class`) is called beside "Edema": "Edema uncertain".
SUFFIX = " uncertain"
_VALUE = {"zero": 0, "one": 1}


def choice_of(label: str, choices: Mapping[str, Choice]) -> Choice:
    """The choice for this label, else that for all."""
    return next((choice for name, choice in choices.items() if name and key(name) == key(label)), choices[""])


def with_uncertain_classes(listing: Listing, choices: Mapping[str, Choice], strict: bool = True) -> Listing:
    """With a label more for each that has choice `class`: 1 where it is uncertain, 0 where it is known.

    Raises:
        ThoraxError: a choice for a label that the images have not, where `strict`.
    """
    for name in choices if strict else ():
        if name and place_of(name, listing.names, "labels") is None:
            raise ThoraxError(
                f"uncertain={name}:{choices[name]}: the images have no label {name}{nearest(name, listing.names)}; they"
                f" have {', '.join(listing.names[:20])}"
            )
    picked = [k for k, name in enumerate(listing.names) if choice_of(name, choices).kind == "class"]
    if not picked or listing.exclusive:
        return listing
    unsure = np.zeros(listing.targets.shape, bool) if listing.uncertain is None else listing.uncertain
    picked = [k for k in picked if unsure[:, k].any()]
    more = np.where(unsure[:, picked], 1, np.where(np.isnan(listing.targets[:, picked]), np.nan, 0))
    return replace(
        listing,
        names=(*listing.names, *(listing.names[k] + SUFFIX for k in picked)),
        targets=np.concatenate([listing.targets, more.astype(np.float32)], axis=1),
        uncertain=np.concatenate([unsure, np.zeros(more.shape, bool)], axis=1),
    )


def labels_asked(asked: Sequence[str], listing: Listing, choices: Mapping[str, Choice]) -> tuple[str, ...]:
    """The hyperparameter `labels` as the images write them, with the labels of choice `class` after them."""
    names = resolved(asked, listing.names, "labels")
    more = [n + SUFFIX for n in names if choice_of(n, choices).kind == "class" and n + SUFFIX in listing.names]
    return (*names, *(name for name in more if name not in names))


def settled(
    parts: Mapping[str, SampleSet], choices: Mapping[str, Choice], seed: int
) -> tuple[dict[str, SampleSet], list[str]]:
    """The parts as training and scoring take them, and lines that count what became of uncertain and soft labels.

    Of train, uncertain labels become what the choices say. Of validation and test they stay unknown; soft labels there
    (readers=mean) count as the answer that they are nearer to, half as unknown.

    Args:
        parts: train, validation, test.
        choices: see `table_options.choices`.
        seed: of the draws of `soft`; an image's draw follows from seed, id and label alone.
    """
    done: dict[str, SampleSet] = {}
    notes: list[str] = []
    for name, part in parts.items():
        codes = part.table.coded_labels
        if codes.dtype == np.int8:
            labels, lines = _chosen(part, choices, seed) if name == "train" else (codes, _unscored(part))
        else:
            labels, lines = _soft(part)
        done[name] = part if labels is codes else SampleSet(part.part, part.table.with_labels(labels), part.space)
        notes += lines
    return done, notes


def scored(part: SampleSet) -> tuple[SampleSet, list[str]]:
    """Images as they are scored, and lines that count what became of uncertain and soft labels; see `settled`."""
    parts, notes = settled({part.part: part}, {"": Choice()}, 0)
    return parts[part.part], notes


def _chosen(part: SampleSet, choices: Mapping[str, Choice], seed: int) -> tuple[np.ndarray, list[str]]:
    codes = part.table.coded_labels
    counts = (codes == UNCERTAIN).sum(axis=0)
    if not counts.any():
        return codes, []
    kinds = [choice_of(name.removesuffix(SUFFIX), choices) for name in part.space.outputs]
    labels = codes.astype(np.float32) if any(c.kind == "soft" for c in kinds) else codes.copy()
    for k, (name, choice) in enumerate(zip(part.space.outputs, kinds, strict=True)):
        rows = np.flatnonzero(codes[:, k] == UNCERTAIN)
        if choice.kind in _VALUE:
            labels[rows, k] = _VALUE[choice.kind]
        elif choice.kind == "soft":
            ids = part.table.ids.take(rows)
            labels[rows, k] = [choice.low + _uniform(seed, image, name) * (choice.high - choice.low) for image in ids]
    if labels.dtype == np.float32:
        labels[labels < 0] = np.nan
    said = ", ".join(f"{name} {n} {c}" for name, n, c in zip(part.space.outputs, counts, kinds, strict=True) if n)
    return labels, [f"train: uncertain labels: {said}"]


def _unscored(part: SampleSet) -> list[str]:
    counts = (part.table.coded_labels == UNCERTAIN).sum(axis=0)
    said = ", ".join(f"{name} {n}" for name, n in zip(part.space.outputs, counts, strict=True) if n)
    return [f"{part.part}: uncertain labels, which are not scored: {said}"] if said else []


def _soft(part: SampleSet) -> tuple[np.ndarray, list[str]]:
    targets = part.table.coded_labels
    soft = (targets > 0) & (targets < 1)
    said = ", ".join(f"{name} {n}" for name, n in zip(part.space.outputs, soft.sum(axis=0), strict=True) if n)
    if part.part == "train":
        return targets, [f"train: soft labels between 0 and 1: {said}"] if said else []
    known = np.where(np.isnan(targets) | (targets == 0.5), UNKNOWN, targets > 0.5).astype(np.int8)
    return known, [
        f"{part.part}: soft labels, scored as 1 above a half and 0 below, half not at all: {said}"
    ] if said else []


def _uniform(seed: int, image: str, label: str) -> float:
    """A number in [0, 1) that follows from these alone."""
    digest = hashlib.sha256(f"{seed}\0{image}\0{label}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
