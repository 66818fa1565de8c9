"""The parts of a run: channels read, labelled, cut by patient, checked, and films that cannot be used found early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from thorax.config import TrainingConfig
from thorax.data.formats import read_channel
from thorax.data.images import Preprocessing
from thorax.data.loading import check_headers
from thorax.data.samples import SampleSet, label_space, sample_set
from thorax.data.splits import check_parts, cut_by_patient, split_table
from thorax.errors import ThoraxError
from thorax.job import Job
from thorax.labels import LabelSpace


@dataclass(frozen=True)
class Parts:
    """Train, validation and perhaps test, with the split written down.

    Attributes:
        split: CSV of id, patient and part of every film; split_hash: its sha256.
    """

    train: SampleSet
    validation: SampleSet
    test: SampleSet | None
    space: LabelSpace
    split: str
    split_hash: str

    @property
    def all(self) -> list[SampleSet]:
        return [p for p in (self.train, self.validation, self.test) if p is not None]


def read_parts(job: Job, config: TrainingConfig, say: Callable[[str], None]) -> Parts:
    """Reads the job's channels.

    Args:
        job: where the channels are.
        config: format, labels, split and what to do with corrupt films.
        say: takes lines for the log.

    Raises:
        ThoraxError: a channel is missing or empty, labels do not fit, a patient is in two parts, a class is empty, a film
            cannot be used.
    """
    listing = read_channel("train", job.channel("train"), config.data_format)
    space = label_space(listing, config.labels, config.multi_label)
    films = sample_set("train", listing, space)
    _compare_counts(config, films, say)
    cut = "validation" not in job.channels
    if cut:
        train, validation = cut_by_patient(films, config.validation_fraction, config.seed)
    else:
        train, validation = films, _channel(job, config, "validation", space)
    test = _channel(job, config, "test", space) if "test" in job.channels else None
    parts = [_usable(p, config, say) for p in (train, validation, test) if p is not None]
    for warning in check_parts(parts, config.patient_scope, cut):
        say(f"warning: {warning}")
    for part in parts:
        counts = ", ".join(f"{name} {n}" for name, n in part.class_counts().items())
        say(f"{part.part}: {len(part)} films of {len(set(part.patients))} patients ({counts})")
    split, digest = split_table(parts)
    say(f"split: {'validation cut from train by patient, ' if cut else ''}sha256 {digest[:16]}")
    return Parts(parts[0], parts[1], parts[2] if len(parts) > 2 else None, space, split, digest)


def _channel(job: Job, config: TrainingConfig, name: str, space: LabelSpace) -> SampleSet:
    return sample_set(name, read_channel(name, job.channel(name), config.data_format), space)


def _compare_counts(config: TrainingConfig, films: SampleSet, say: Callable[[str], None]) -> None:
    if config.num_classes and config.num_classes != len(films.space.classes):
        raise ThoraxError(f"num_classes={config.num_classes} but the train channel has {len(films.space.classes)}: {', '.join(films.space.classes)}")
    if config.num_training_samples and config.num_training_samples != len(films):
        say(f"warning: num_training_samples={config.num_training_samples} but the train channel has {len(films)} films")
    if config.top_k and config.top_k >= len(films.space.outputs):
        raise ThoraxError(f"top_k={config.top_k} needs more than {config.top_k} exclusive classes, found {len(films.space.outputs)}")


def _usable(part: SampleSet, config: TrainingConfig, say: Callable[[str], None]) -> SampleSet:
    bad = check_headers(part, preprocessing(config))
    if not bad:
        return part
    first = next(iter(bad.values()))
    if not config.skip_corrupt:
        more = f" (and {len(bad) - 1} more films)" if len(bad) > 1 else ""
        raise ThoraxError(f"{part.part}: {first}{more}; mend or remove it, or set skip_corrupt=true")
    say(f"warning: {part.part}: {len(bad)} films left out (skip_corrupt=true), e.g. {first}")
    return part.subset([i for i in range(len(part)) if i not in bad], part.part)


def preprocessing(config: TrainingConfig) -> Preprocessing:
    """The Preprocessing that the configuration describes; mean and deviation of a data set are measured later."""
    height, width = config.image_size
    return Preprocessing(height, width, config.channels, config.resolved_fit, config.resize, config.normalization)
