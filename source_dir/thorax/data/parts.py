"""The parts of a run: channels are read, cut by patient and checked; images that cannot be used are found early."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from thorax.config import TrainingConfig
from thorax.data.folds import check_channels, fold_parts, pooled
from thorax.data.formats import read_channel
from thorax.data.formats.channel import ReadOptions
from thorax.data.formats.folders import FEWEST
from thorax.data.formats.table_options import choices
from thorax.data.held_out import HeldOut
from thorax.data.images import Preprocessing
from thorax.data.loading import check_headers
from thorax.data.preprocessing import Levels, imagenet
from thorax.data.samples import Listing, SampleSet, label_space, sample_set
from thorax.data.splits import check_parts, cut_by_patient, split_table
from thorax.data.uncertain import labels_asked, settled, with_uncertain_classes
from thorax.errors import ThoraxError
from thorax.job import Job
from thorax.labels import LabelSpace
from thorax.text import are, counted

#: Training images that a refit scores after each epoch, at most.
WATCHED = 500
_CUT = "validation cut from train by patient, "


@dataclass(frozen=True)
class Parts:
    """Train, validation and perhaps test, with the split written down.

    Attributes:
        split: CSV of id, patient and part of every image; split_hash: its sha256.
        label_notes: what became of blank, uncertain and soft labels and of several rows of an image, with counts.
        held_out: of a refit, whose validation are its training images: the answers of the folds on them.
    """

    train: SampleSet
    validation: SampleSet
    test: SampleSet | None
    space: LabelSpace
    split: str
    split_hash: str
    label_notes: tuple[str, ...] = ()
    held_out: HeldOut | None = None

    @property
    def scored(self) -> list[SampleSet]:
        """Validation and, if there is one, test."""
        return [p for p in (self.validation, self.test) if p is not None]

    @property
    def watched(self) -> SampleSet:
        """What is scored after each epoch: validation; in a refit some of the training images."""
        if self.held_out is None:
            return self.validation
        rows = np.linspace(0, len(self.validation) - 1, min(WATCHED, len(self.validation))).astype(int)
        return self.validation.subset(rows, "validation")

    @property
    def all(self) -> list[SampleSet]:
        """All images, each once."""
        validation = self.validation if self.held_out is None else None
        return [p for p in (self.train, validation, self.test) if p is not None]


def read_parts(job: Job, config: TrainingConfig, say: Callable[[str], None], headers: bool = True) -> Parts:
    """Reads the job's channels.

    Args:
        job: where the channels are.
        config: format, labels, split and what to do with corrupt images.
        say: takes lines for the log.
        headers: look into every image's header too; False: listings alone are read.

    Raises:
        ThoraxError: a channel is missing or empty, labels do not fit, a patient is in two parts, a class is empty, an
            image cannot be used.
    """
    for name in ("train", "validation", "test"):
        if f"{name}_lst" in job.channels and name not in job.channels:
            raise ThoraxError(
                f"channel {name}_lst is given without channel {name}: a list needs its images; give --{name} DIR"
            )
    check_channels(config, job.channels)
    held_out = HeldOut.read(job.channel("held_out")) if "held_out" in job.channels else None
    names = ("train", *(name for name in ("validation", "test") if name in job.channels))
    listings = {name: _read(job, config, name, say) for name in names}
    listing = listings["train"]
    if listing.parts is not None and (config.folds or held_out):
        listing = dataclasses.replace(listing, parts=pooled(list(listing.parts)))
    space = label_space(listing, labels_asked(config.labels, listing, choices(config.uncertain)), config.multi_label)
    say(f"task: {space.described()}")
    images = _marked(sample_set("train", listing, space), listing.parts)
    if "train" not in images:
        raise ThoraxError(f"channel train: its images are marked {' and '.join(images)}, none train")
    for name in ("validation", "test"):
        if name in listings:
            if name in images:
                n = len(images[name])
                marked = f"{counted(n, 'image')} {are(n)} marked {name}"
                say(f"train: {marked} and {are(n)} left out, since there is a {name} channel")
            images[name] = _channel(listings[name], name, space, say)
    images = {name: _labelled(part, config, say) for name, part in images.items()}
    _compare_counts(config, images["train"], say)
    if held_out is not None:
        cut = False
        images["validation"] = images["train"].subset(range(len(images["train"])), "validation")
    elif config.folds:
        cut, images = True, fold_parts(images, config, say)
    elif cut := "validation" not in images:
        images["train"], images["validation"] = cut_by_patient(images["train"], config.validation_fraction, config.seed)
    elif len(images["validation"]) < FEWEST:
        say(
            f"warning: validation has {counted(len(images['validation']), 'image')}, too few to choose an epoch or a"
            " threshold on; without a validation channel it is cut from train by patient"
        )
    images, chosen = settled(images, choices(config.uncertain), config.seed)
    for line in chosen:
        say(line)
    parts = [images[name] for name in ("train", "validation", "test") if name in images]
    if headers:
        parts = [_usable(part, config, say) for part in parts]
    own = parts if held_out is None else [part for part in parts if part.part != "validation"]
    for warning in check_parts(own, config.patient_scope, cut):
        say(f"warning: {warning}")
    for part in own:
        counts = ", ".join(f"{name} {n}" for name, n in part.class_counts().items())
        people = counted(len(set(part.patients)), "patient")
        say(f"{part.part}: {counted(len(part), 'image')} of {people} ({counts})")
    split, digest = split_table(own)
    how = f"fold {config.fold} of {config.folds} held out by patient, " if config.folds else _CUT if cut else ""
    say(f"split: {how}sha256 {digest[:16]}")
    if held_out is not None:
        held_out = held_out.of(parts[1])
        say(
            f"refit: all images are trained on and the last epoch is kept; thresholds and calibration come from the"
            f" out-of-fold answers of {held_out.count} folds; validation after each epoch are training images"
        )
    notes = (*(f"channel {name}: {note}" for name in names for note in listings[name].label_notes), *chosen)
    test = parts[2] if len(parts) > 2 else None
    return Parts(parts[0], parts[1], test, space, split, digest, notes, held_out)


def _read(job: Job, config: TrainingConfig, name: str, say: Callable[[str], None]) -> Listing:
    """The images of a channel and of its list; says what was left out."""
    lists = job.channel(f"{name}_lst") if f"{name}_lst" in job.channels else None
    listing = read_channel(name, job.channel(name), config.data_format, ReadOptions.of(config), lists)
    for note in listing.notes:
        say(f"warning: {name}: {note}")
    listing = with_uncertain_classes(listing, choices(config.uncertain))
    return listing if config.own_split else dataclasses.replace(listing, parts=None)


def _marked(images: SampleSet, marks: Sequence[str] | None) -> dict[str, SampleSet]:
    """The images by the part that the channel itself marks them with; without marks all are in the set's own part."""
    if marks is None:
        return {images.part: images}
    array = np.array(marks)
    return {
        part: images.subset(np.flatnonzero(array == part), part)
        for part in ("train", "validation", "test")
        if part in marks
    }


def _channel(listing: Listing, name: str, space: LabelSpace, say: Callable[[str], None]) -> SampleSet:
    """The images of the channel validation or test, of which those marked as another part are left out."""
    images = sample_set(name, listing, space)
    missing = [label for label in space.outputs if label not in listing.names]
    if missing and np.isnan(listing.unnamed) and space.task == "multilabel":
        lacking = f"no value for {', '.join(missing)}, which {are(len(missing))} not scored on them"
        say(f"warning: {name}: its images have {lacking}")
    marked = _marked(images, listing.parts)
    if name not in marked:
        say(f"warning: {name}: its images are marked {' and '.join(marked)}, none {name}; all {len(images)} are taken")
        return images
    if len(marked) > 1:
        others = " and ".join(part for part in marked if part != name)
        left = len(images) - len(marked[name])
        say(f"{name}: {counted(left, 'image')} of its channel {are(left)} marked {others} and {are(left)} left out")
    return marked[name]


def _labelled(part: SampleSet, config: TrainingConfig, say: Callable[[str], None]) -> SampleSet:
    """With keep_unlabelled=false only the images that have a label, or may have one."""
    if config.keep_unlabelled or part.space.task != "multilabel":
        return part
    kept = np.flatnonzero((part.targets != 0).any(axis=1))
    if len(kept) == len(part):
        return part
    left = len(part) - len(kept)
    without = f"{counted(left, 'image')} without any of the labels {are(left)} left out"
    say(f"{part.part}: {without} (keep_unlabelled=false)")
    if not len(kept):
        raise ThoraxError(
            f"channel {part.part}: no image has any of {', '.join(part.space.classes)}; check labels, or set"
            " keep_unlabelled=true"
        )
    return part.subset(kept, part.part)


def _compare_counts(config: TrainingConfig, images: SampleSet, say: Callable[[str], None]) -> None:
    if config.num_classes and config.num_classes != len(images.space.classes):
        classes = images.space.classes
        raise ThoraxError(
            f"num_classes={config.num_classes} but the train channel has {len(classes)}: {', '.join(classes)}"
        )
    if config.num_training_samples and config.num_training_samples != len(images):
        given = f"num_training_samples={config.num_training_samples}"
        say(f"warning: {given} but the train channel has {counted(len(images), 'image')}")
    if config.top_k and (config.top_k >= len(images.space.classes) or images.space.task != "multiclass"):
        found = len(images.space.classes)
        kind = "labels that exclude nothing" if images.space.task == "multilabel" else "exclusive classes"
        say(
            f"warning: top_k={config.top_k} has no effect: it needs more than {config.top_k} exclusive classes, found"
            f" {found} {kind}"
        )


def _usable(part: SampleSet, config: TrainingConfig, say: Callable[[str], None]) -> SampleSet:
    bad = check_headers(part, preprocessing(config))
    if not bad:
        return part
    first = next(iter(bad.values()))
    if not config.skip_corrupt:
        more = f" (and {counted(len(bad) - 1, 'more image')})" if len(bad) > 1 else ""
        raise ThoraxError(f"{part.part}: {first}{more}; fix or remove it, or set skip_corrupt=true")
    say(f"warning: {part.part}: {counted(len(bad), 'image')} left out (skip_corrupt=true), e.g. {first}")
    return part.subset([i for i in range(len(part)) if i not in bad], part.part)


def preprocessing(config: TrainingConfig) -> Preprocessing:
    """The Preprocessing that the configuration describes, of grey images; color=auto is settled, and mean and std of a
    data set are measured, later."""
    height, width = config.image_size
    fit = config.resolved_fit
    prepared = Preprocessing(
        height, width, config.channels, fit, config.resize if fit == "crop" else None, config.normalization
    )
    if config.normalization == "imagenet":
        mean, std = imagenet(config.channels)
        return dataclasses.replace(prepared, mean=mean, std=std)
    mean = _levels(config.normalization_mean, prepared.mean)
    return dataclasses.replace(prepared, mean=mean, std=_levels(config.normalization_std, prepared.std))


def _levels(given: tuple[float, ...], default: Levels) -> Levels:
    return default if not given else given[0] if len(given) == 1 else given
