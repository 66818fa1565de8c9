"""The images of an evaluation, with their labels in the bundle's order."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from thorax.data.formats import read_channel
from thorax.data.formats.table_options import choices
from thorax.data.images import EXTENSIONS
from thorax.data.label_names import COMMON, LabelMap, any_of
from thorax.data.samples import Listing, SampleSet, SampleTable, coded, sample_set
from thorax.data.uncertain import scored, with_uncertain_classes
from thorax.errors import ThoraxError
from thorax.evaluation.predictions import Predictions
from thorax.labels import NEGATIVE_NAMES, LabelSpace
from thorax.scoring.options import EvaluationOptions
from thorax.scoring.reading import reading_as_trained
from thorax.serving.bundle import SPLIT, Bundle
from thorax.shown import read_cell
from thorax.text import are, counted, has
from thorax.tracking.progress import say


@dataclass(frozen=True)
class LabelledImages:
    """N images.

    Attributes:
        given: the folder or table that they were read from.
        ids, patients, sources: one for each image.
        targets: (N, L) in the bundle's order, NaN for unknown.
        studies: one for each image, "" where unknown; empty: none is known.
        attributes: view, sex and age: (N,) texts, "" where unknown.
        label_notes: what became of their labels, see Listing, and of which labels they are made.
    """

    given: Path
    ids: list[str]
    patients: list[str]
    sources: list[Any]
    targets: np.ndarray
    studies: Sequence[str] = ()
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    label_notes: tuple[str, ...] = ()


def read_labelled(given: Path, bundle: Bundle, options: EvaluationOptions) -> LabelledImages:
    """The images in a folder, or of a table in one; targets are NaN for labels that the data does not have.

    Raises:
        ThoraxError: an image instead of a table, or labels that are not the bundle's; or as `read_channel` says.
    """
    if given.is_file() and given.suffix.lower() in EXTENSIONS:
        raise ThoraxError(f"--data {given} is one image; give a folder per class, or the table that tells its labels")
    folder, table = (given.parent, given.name) if given.is_file() else (given, "")
    try:
        said = reading_as_trained(bundle, options.settings, options.labels, options.label_map is not None)
        listing = read_channel("data", folder, options.data_format, said, options.data_lst, table)
    except ThoraxError as error:
        message = str(error).replace("channel data: ", "--data: ").replace("data_format=", "--data-format ")
        raise ThoraxError(message) from None
    for note in listing.notes:
        say(f"note: {given}: {note}")
    if options.label_map is None:
        listing = with_uncertain_classes(listing, choices(bundle.configuration.get("uncertain", ())), strict=False)
    space = bundle.space
    if options.label_map is not None:
        images = _mapped(given, listing, space, options.label_map)
        warn_of_training_images(bundle, images.ids)
        return images
    unknown = [name for name in listing.names if name not in space.classes and name.lower() not in NEGATIVE_NAMES]
    missing = [name for name in space.outputs if name not in listing.names]
    exclusive = space.task != "multilabel"
    if (unknown or not listing.exclusive) if exclusive else (unknown and len(missing) == len(space.outputs)):
        several = " (several on an image, or none)" if exclusive and not listing.exclusive else ""
        raise ThoraxError(
            f"--data {given} has the labels {', '.join(listing.names)}{several}, but the bundle tells apart"
            f" {', '.join(space.classes)}; --map {COMMON}, or --map FILE, says which are the same"
        )
    images = _images(given, sample_set("data", listing, space), listing.label_notes)
    if not exclusive:
        for name in missing:
            say(f"warning: {given} says nothing of {name}: it is not scored")
            images.targets[:, space.outputs.index(name)] = np.nan
        if unknown:
            say(f"note: the bundle does not know {', '.join(unknown)}, which {given} has too")
    warn_of_training_images(bundle, images.ids)
    return images


def _mapped(given: Path, listing: Listing, space: LabelSpace, named: str | Path) -> LabelledImages:
    """The images with labels made of others; what is made of what, and what is made of nothing, is printed."""
    told = LabelMap({}) if str(named) == COMMON else LabelMap.read(Path(named))
    made = told.sources(space.outputs, listing.names)
    notes = [
        f"map: {label} = " + (" or ".join(made[label]) if label in made else "nothing: it is not scored")
        for label in space.outputs
    ]
    used = {name for names in made.values() for name in names}
    if left := [name for name in listing.names if name not in used]:
        notes.append(f"map: {counted(len(left), 'label')} of {given} {are(len(left))} not used: {', '.join(left)}")
    for note in notes:
        say(note)
    if not made:
        raise ThoraxError(
            f"--map {named}: none of the bundle's labels ({', '.join(space.outputs)}) is made of those of {given}"
            f" ({', '.join(listing.names)})"
        )
    targets = np.full((len(listing.ids), len(space.outputs)), np.nan)
    unsure = np.zeros(targets.shape, bool)
    for k, label in enumerate(space.outputs):
        if label in made:
            targets[:, k] = any_of(listing, made[label])
            if listing.uncertain is not None:
                columns = [listing.names.index(name) for name in made[label]]
                unsure[:, k] = listing.uncertain[:, columns].any(axis=1) & np.isnan(targets[:, k])
    if space.task == "multiclass":
        one = (targets == 1).sum(axis=1) == 1
        targets = np.where(one[:, None], np.nan_to_num(targets), np.nan)
        if not one.all():
            none = int((~one).sum())
            notes.append(
                f"map: {none:,} of {counted(len(one), 'image')} {has(none)} none or several of the classes: not scored"
            )
            say(notes[-1])
    labels = coded(targets.astype(np.float32), unsure)
    rows = SampleTable(listing.ids, listing.sources, labels, listing.patients, listing.studies, listing.attributes)
    return _images(given, SampleSet("data", rows, space), (*listing.label_notes, *notes))


def _images(given: Path, samples: SampleSet, label_notes: Sequence[str]) -> LabelledImages:
    """The samples as they are scored; what became of uncertain and soft labels is printed."""
    samples, lines = scored(samples)
    for line in lines:
        say(f"note: {given}: {line}")
    sources = [sample.source for sample in samples.samples]
    studies = samples.studies if samples.table.studies is not None else ()
    notes = (*label_notes, *lines)
    return LabelledImages(
        given, samples.ids, samples.patients, sources, samples.targets, studies, samples.attributes, notes
    )


def with_labels(predicted: Predictions, images: LabelledImages, file: Path) -> Predictions:
    """The predictions of a file with the targets and patients of the images.

    Raises:
        ThoraxError: an id that no image has.
    """
    place = {name: k for k, name in enumerate(images.ids)}
    unknown = [name for name in predicted.ids if name not in place]
    if unknown:
        raise ThoraxError(
            f"{len(unknown)} of {len(predicted.ids)} ids of {file} are not in {images.given}: the first is"
            f" {unknown[0]}, there they look like {images.ids[0]}"
        )
    if len(predicted.ids) < len(place):
        say(
            f"warning: {file} has no predictions of {len(place) - len(predicted.ids)} of the {len(place)} images of"
            f" {images.given}; they are left out"
        )
    at = [place[name] for name in predicted.ids]
    return replace(
        predicted,
        targets=images.targets[at],
        patients=[images.patients[k] for k in at],
        studies=[images.studies[k] for k in at] if images.studies else predicted.studies,
    )


def check_answers(images: Predictions, space: LabelSpace, where: Path) -> None:
    """Raises ThoraxError where no label has both positive and negative images: no metric of ranking is defined."""
    outputs, classes = space.outputs, space.classes
    known = ~np.isnan(images.targets)
    if not known.any():
        raise ThoraxError(
            f"{where} has no known labels of {', '.join(outputs)}; a table of predictions needs columns such as"
            f" target:{outputs[0]}, or --data"
        )
    positives, counts = np.nansum(images.targets, axis=0), known.sum(axis=0)
    if ((positives == 0) | (positives == counts)).all():
        none = classes[0] if len(outputs) < len(classes) else "images without a label"
        held = [name for name, n in zip(outputs, positives, strict=True) if n] or [none]
        raise ThoraxError(
            f"{where} has images of one class only ({', '.join(held)}, {counted(len(images.ids), 'image')}); scores"
            " need both answers, add images of the other"
        )


def warn_of_training_images(bundle: Bundle, ids: Sequence[str]) -> None:
    """Prints how many of the images the bundle was trained on or chosen by, as its split.csv lists them."""
    try:
        with (bundle.folder / SPLIT).open(newline="", encoding="utf-8") as file:
            seen = {read_cell(row["id"]) for row in csv.DictReader(file) if row["part"] in ("train", "validation")}
    except (OSError, KeyError):
        return
    known = sum(name in seen for name in ids)
    if known:
        say(
            f"warning: {known:,} of {counted(len(ids), 'image')} {has(known)} the ids of images that the bundle was"
            " trained on or chosen by; their scores say little of new images"
        )
