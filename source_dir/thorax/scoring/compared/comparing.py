"""Several runs on the same images: scores with intervals, differences to the first, and what each took."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from thorax.errors import ThoraxError
from thorax.evaluation.baselines import baselines
from thorax.evaluation.comparison import compare
from thorax.evaluation.metric_table import METRICS
from thorax.evaluation.metrics import score
from thorax.labels import LabelSpace
from thorax.scoring.compared.file_reading import read_file
from thorax.scoring.compared.matching import Matched, Truth, match
from thorax.scoring.compared.saved import SavedPredictions
from thorax.scoring.compared.sources import RunSource, find_run, named_apart
from thorax.scoring.compared.table_reading import ReadAs, read_truth
from thorax.scoring.evaluation import network_answers
from thorax.scoring.folder_images import images_to_score
from thorax.scoring.labelled_images import LabelledImages, read_labelled
from thorax.scoring.options import EvaluationOptions
from thorax.serving.bundle import Bundle


@dataclass(frozen=True)
class CompareOptions:
    """How runs are compared.

    Attributes:
        truth: a table or .lst with the labels of the images, for predictions that lack them.
        labels: names of numbers without names (.out files, arrays, .lst), in order; of two the second is positive.
        columns: of tables: id, patient, part, truth, predicted, probability or a label -> the column that holds it.
        part: of tables with parts; "": test, where there is one.
        data_format, settings: how the images of `data` are read, as in EvaluationOptions.
        resamples: of the bootstrap over patients, 0 to 100,000; 0: no intervals.
        runs: the folder of jobs that are named by their name.
    """

    truth: Path | None = None
    labels: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    data_format: str = "auto"
    settings: Sequence[str] = ()
    resamples: int = 1000
    runs: Path = Path("runs")

    @property
    def reading(self) -> ReadAs:
        """How files are read."""
        return ReadAs(self.labels, self.columns, self.part)


@dataclass(frozen=True)
class RunComparison:
    """Runs beside each other; a notebook shows them as their page.

    Attributes:
        sources: the runs, in the order given; differences are those to the first.
        matched: the images that all have.
        scores: by run, as `metrics.score` gives them.
        differences: by run but the first, as `comparison.compare` gives them; runs without probabilities have none.
        baselines: of models that never look at an image, see `evaluation.baselines`.
        unranked: runs that have answers and no probabilities.
        scoring: by run, seconds an image of the network on this machine; empty where it was not run.
        notes: what was left out, taken for something or does not agree.
    """

    sources: tuple[RunSource, ...]
    matched: Matched
    scores: Mapping[str, Mapping[str, Any]]
    differences: Mapping[str, Mapping[str, Any]]
    baselines: Mapping[str, Mapping[str, Any]]
    unranked: frozenset[str]
    scoring: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Of the runs."""
        return [source.name for source in self.sources]

    @property
    def labels(self) -> LabelSpace:
        """The labels that all runs have."""
        return self.matched.space

    def table(self, width: int | None = None, metric: str = "auc") -> str:
        """All of it as text for a terminal of `width` columns; None: as wide as needed.

        Args:
            metric: of the rows of the labels.
        """
        from thorax.scoring.compared.as_text import terminal

        return terminal(self, width, metric)

    def markdown(self, metric: str = "auc") -> str:
        """Tables for GitHub, a wiki or a paper."""
        from thorax.scoring.compared.as_text import markdown

        return markdown(self, metric)

    def csv(self) -> str:
        """One row for each number: run, what, label, metric, value, low, high."""
        from thorax.scoring.compared.as_text import csv_rows

        return csv_rows(self)

    def html(self) -> str:
        """One page with bars that needs no network."""
        from thorax.scoring.compared.as_page import page

        return page(self)

    def _repr_html_(self) -> str:
        from thorax.scoring.compared.as_page import inline

        return inline(self)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, as json.dumps takes them."""
        return {
            "labels": self.labels.to_dict(),
            "images": len(self.matched.ids),
            "patients": len(set(self.matched.patients)),
            "first": self.names[0],
            "runs": [
                {
                    "name": source.name,
                    "place": source.place,
                    "training": dict(source.training),
                    "scores": self.scores[source.name],
                    "difference": self.differences.get(source.name),
                    "seconds_per_image_scored": self.scoring.get(source.name),
                }
                for source in self.sources
            ],
            "baselines": self.baselines,
            "notes": list(self.notes),
        }


def compare_runs(
    runs: Sequence[str | Path | RunSource], data: str | Path | None = None, options: CompareOptions | None = None
) -> RunComparison:
    """Compares two runs or more on the images that all of them have.

    Args:
        runs: jobs, bundles, model.tar.gz, or predictions of any model (a table, an array, a folder of .out files), each
            also as NAME=PLACE; the first is what the others are compared with. One alone is shown by itself.
        data: labelled images, which the runs' bundles are scored on; None: what they saved is compared.
        options: see there.

    Raises:
        ThoraxError: a run that is none, that keeps no predictions while there is no `data`, or has no image or label in
            common with the others.
    """
    options = options or CompareOptions()
    if not 0 <= options.resamples <= 100_000:
        raise ThoraxError(f"--resamples {options.resamples} is out of range: it must be 0 to 100000")
    if not runs:
        raise ThoraxError("there is nothing to compare: name jobs, bundles or files of predictions")
    sources = named_apart([_source(run, options) for run in runs])
    labelled, truth = _Labelled(None if data is None else Path(data), options), _listing(options)
    predictions, scoring, notes = {}, {}, []
    for source in sources:
        saved, seconds = _predictions(source, labelled, truth, options)
        predictions[source.name] = saved
        notes += [f"{source.name}: {note}" for note in saved.notes]
        if seconds is not None:
            scoring[source.name] = seconds
    if truth is None and data is not None and not scoring:
        truth = labelled.truth(next(iter(predictions.values())).space)
    matched = match(predictions, truth)
    scores, differences = _scores(matched, predictions, options.resamples)
    first = scores[sources[0].name]
    return RunComparison(
        tuple(sources),
        matched,
        scores,
        differences,
        baselines(first, matched.space),
        frozenset(name for name, saved in predictions.items() if not saved.ranked),
        scoring,
        (*notes, *matched.notes),
    )


def _source(run: str | Path | RunSource, options: CompareOptions) -> RunSource:
    if isinstance(run, RunSource):
        return run
    found = find_run(str(run), options.runs)
    if found is None:
        raise ThoraxError(
            f"{run} is no run: there is no such file or folder, and no job of that name in {options.runs};"
            " `thorax runs` lists the jobs of this machine"
        )
    return found


def _listing(options: CompareOptions) -> Truth | None:
    if options.truth is None:
        return None
    ids, patients, labels = read_truth(options.truth, options.reading)
    return Truth(options.truth.name, ids, patients, labels)


@dataclass
class _Labelled:
    """The images of --data, read once for each set of labels."""

    data: Path | None
    options: CompareOptions

    def of(self, bundle: Bundle) -> LabelledImages:
        assert self.data is not None
        settings = EvaluationOptions(
            data_format=self.options.data_format, labels=self.options.labels, settings=self.options.settings
        )
        return read_labelled(self.data, bundle, settings)

    def truth(self, space: LabelSpace) -> Truth:
        assert self.data is not None
        images = images_to_score(self.data, space, self.options.data_format)
        columns = {name: images.targets[:, k].astype(np.float64) for k, name in enumerate(space.outputs)}
        return Truth(str(self.data), list(images.ids), list(images.patients), columns)


def _predictions(
    source: RunSource, labelled: _Labelled, truth: Truth | None, options: CompareOptions
) -> tuple[SavedPredictions, float | None]:
    """What the run says of the images, and the seconds an image that it took here."""
    if labelled.data is not None and source.bundle is not None:
        bundle = Bundle.load(source.bundle)
        images = labelled.of(bundle)
        began = time.monotonic()
        found = network_answers(bundle, images)
        seconds = (time.monotonic() - began) / max(len(found.ids), 1)
        cuts = np.array([bundle.thresholds[name] for name in bundle.space.outputs])
        decisions = bundle.space.decisions(found.probabilities, cuts)
        p, y = found.probabilities.astype(np.float64), found.targets.astype(np.float64)
        return SavedPredictions(list(found.ids), bundle.space, p, decisions, y, list(found.patients)), seconds
    if source.saved is None:
        what = "keeps no predictions of its own" if source.bundle else "has no predictions"
        raise ThoraxError(
            f"{source.place} {what}: give the job's folder, which has them in output/data, or labelled images to score:"
            " --data DIR"
        )
    how = replace(options.reading, space=source.space)
    return read_file(source.saved, how, truth.ids if truth is not None else ()), None


def _scores(
    matched: Matched, predictions: Mapping[str, SavedPredictions], resamples: int
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """(score of each run, difference of each but the first), all with the same resamples of patients."""
    space, targets, patients = matched.space, matched.targets, matched.patients
    halves = np.full(len(space.outputs), 0.5)
    scores, differences = {}, {}
    first = next(iter(predictions))
    for run, saved in predictions.items():
        p, decisions = matched.probabilities[run], matched.decisions[run]
        found = score(targets, p, space, halves, patients, resamples=resamples, decisions=decisions)
        for entry in (*found["labels"].values(), found["macro"], found["micro"]):
            entry.pop("threshold", None)
            if not saved.ranked:
                entry |= {
                    name: dict.fromkeys(("value", "low", "high"))
                    for name in METRICS
                    if METRICS[name].kind != "decision"
                }
        scores[run] = found
        if run != first and saved.ranked and predictions[first].ranked:
            differences[run] = compare(targets, matched.probabilities[first], p, space, patients, resamples=resamples)
    return scores, differences
