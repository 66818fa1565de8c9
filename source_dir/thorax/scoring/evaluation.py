"""A bundle scored on labelled images, or on a table of predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thorax.errors import ThoraxError
from thorax.evaluation import formatting, mistakes
from thorax.evaluation.comparison import compare
from thorax.evaluation.metrics import score
from thorax.evaluation.predictions import Predictions, read_predictions
from thorax.evaluation.report import Report
from thorax.evaluation.subgroups import subgroups
from thorax.evaluation.thresholds import Rule
from thorax.files import write_whole
from thorax.scoring.labelled_images import LabelledImages, check_answers, read_labelled, with_labels
from thorax.scoring.subgroup_columns import columns_of, table_of
from thorax.serving.bundle import DESCRIPTION, Bundle
from thorax.serving.classifier import Classifier
from thorax.tracking.progress import Progress, say

BATCH = 32


@dataclass(frozen=True)
class EvaluationOptions:
    """How a bundle is evaluated.

    Attributes:
        data_format: of the images; auto looks at the files.
        data_lst: the folder with the .lst of the images (the channel test_lst).
        labels: names of numbered labels of the images (.lst, RecordIO), in order.
        predictions: a table of id and probability:LABEL to score instead of running the network.
        compare_with: another bundle, scored on the same images.
        by: columns of the images' table that make subgroups, such as sex, age, view.
        subgroup_table: the table with these columns and id or path, where that of the images has none.
        resamples: bootstrap resamples of patients for the intervals, 0 to 100,000; 0 gives none.
    """

    data_format: str = "auto"
    data_lst: Path | None = None
    labels: Sequence[str] = ()
    predictions: Path | None = None
    compare_with: str | Path | Bundle | None = None
    by: Sequence[str] = ()
    subgroup_table: Path | None = None
    resamples: int = 1000


@dataclass(frozen=True)
class Evaluation:
    """The result; a notebook shows its report.

    Attributes:
        bundle: what was evaluated.
        parts: {part: predictions}; one part, or those of a table of predictions.
        report: all numbers and plots of the page; its mistakes have no pictures yet.
        images: the images of `parts`, where they were given.
    """

    bundle: Bundle
    parts: Mapping[str, Predictions]
    report: Report
    images: LabelledImages | None = None

    @property
    def scores(self) -> dict[str, Any]:
        """{part: score}, as in metrics.json; see `thorax.evaluation.metrics.score`."""
        return dict(self.report.scores)

    @property
    def predictions(self) -> Predictions:
        """Ids, patients, targets and probabilities of the part that the report begins with."""
        return self.parts[self.report.headline]

    @property
    def subgroups(self) -> list[Mapping[str, Any]]:
        """A row for each group of each column; see `thorax.evaluation.subgroups.subgroups`."""
        return list(self.report.groups)

    @property
    def comparison(self) -> Mapping[str, Any] | None:
        """The difference in AUC to the other bundle; see `thorax.evaluation.comparison.compare`."""
        return self.report.comparison

    def table(self) -> str:
        """Scores, comparison and subgroups as plain text."""
        blocks = [formatting.table(self.report.scores, self.report.labels)]
        if self.comparison:
            first, second = self.report.compared
            table = formatting.comparison_table(self.comparison)
            blocks.append(f"{second} against {first}, difference in AUC:\n{table}")
        if self.subgroups:
            blocks.append(formatting.subgroup_table(self.subgroups))
        return "\n\n".join(blocks)

    def write_json(self, file: str | Path) -> None:
        """Writes all numbers of the report.

        Raises:
            ThoraxError: the file cannot be written.
        """
        write_whole(self.report.json().encode(), Path(file), "report")

    def write_report(self, file: str | Path) -> None:
        """Writes the report, one HTML page that needs no network.

        Raises:
            ThoraxError: the file cannot be written.
        """
        write_whole(self._illustrated().html().encode(), Path(file), "report")

    def _repr_html_(self) -> str:
        return self._illustrated().inline()

    def _illustrated(self) -> Report:
        """The report with pictures and heat maps of its mistakes."""
        if self.images is None:
            return self.report
        sources = dict(zip(self.images.ids, self.images.sources, strict=True))
        net, prepared, cpu = self.bundle.build_network(), self.bundle.preprocessing, torch.device("cpu")
        drawn = [(name, mistakes.draw(m, sources[name], net, prepared, cpu)) for name, m in self.report.mistakes]
        return replace(self.report, mistakes=drawn)


def evaluate(
    bundle: str | Path | Bundle,
    data: str | Path,
    *,
    data_format: str = "auto",
    labels: Sequence[str] = (),
    by: Sequence[str] = (),
    compare_with: str | Path | Bundle | None = None,
    resamples: int = 1000,
) -> Evaluation:
    """Scores a bundle on labelled images, with 95 % intervals by patient.

    Args:
        bundle: the model folder of a finished job, or the job's folder.
        data: labelled images: a folder in any format of training, or one table in it.
        data_format, labels, by, compare_with, resamples: see EvaluationOptions, which has more.

    Raises:
        ThoraxError: no bundle, no images, labels that are not the bundle's, images of one class only, or an option
            that does not fit.
    """
    options = EvaluationOptions(
        data_format=data_format, labels=labels, by=by, compare_with=compare_with, resamples=resamples
    )
    return run_evaluation(bundle, data, options)


def run_evaluation(
    bundle: str | Path | Bundle, data: str | Path | None, options: EvaluationOptions = EvaluationOptions()
) -> Evaluation:
    """`evaluate` with every option.

    Args:
        bundle: as in `evaluate`.
        data: as in `evaluate`; None where options.predictions holds the labels too.
        options: see there.

    Raises:
        ThoraxError: as in `evaluate`.
    """
    data = None if data is None else Path(data)
    _check(data, options)
    loaded = load_bundle(bundle)
    space, thresholds = loaded.space, np.array([loaded.thresholds[name] for name in loaded.space.outputs])
    images = None
    if data is not None:
        images = read_labelled(data, loaded, options.data_format, tuple(options.labels), options.data_lst)
    parts = _parts(loaded, images, options.predictions, thresholds)
    where = data or options.predictions
    assert where is not None  # one of them, says _check
    for part in parts.values():
        check_answers(part, space, where)
    report = Report(
        title=f"{loaded.network} on {where.name or where}",
        labels=space,
        scores={
            name: score(p.targets, p.probabilities, space, thresholds, p.patients, resamples=options.resamples)
            for name, p in parts.items()
        },
        temperatures=loaded.temperatures,
        rule=_rule(loaded),
        curves={name: (part.targets, part.probabilities) for name, part in parts.items()},
        facts=_facts(loaded, where),
    )
    shown = parts[report.headline]
    if options.compare_with is not None:
        assert images is not None  # says _check
        other = load_bundle(options.compare_with)
        names = tuple(str(b.folder if isinstance(b, Bundle) else b) for b in (bundle, options.compare_with))
        comparison = _compared(shown, images, loaded, other, names[1], options.resamples)
        report = replace(report, compared=(names[0], names[1]), comparison=comparison)
    if options.by:
        columns = columns_of(shown.ids, options.by, options.subgroup_table or table_of(data))
        groups = subgroups(
            shown.targets, shown.probabilities, space, thresholds, shown.patients, columns, resamples=options.resamples
        )
        report = replace(report, groups=groups)
    if images is not None:
        wrong = mistakes.worst(shown.targets, shown.probabilities, thresholds, space)
        report = replace(report, mistakes=[(shown.ids[m.image], m) for m in wrong])
    return Evaluation(loaded, parts, report, images)


def load_bundle(bundle: str | Path | Bundle) -> Bundle:
    """The bundle itself, or the one in a folder, or in its folder `model` where a job's folder is named.

    Raises:
        ThoraxError: see Bundle.load.
    """
    if isinstance(bundle, Bundle):
        return bundle
    folder = Path(bundle)
    inside = folder / "model"
    return Bundle.load(inside if not (folder / DESCRIPTION).exists() and (inside / DESCRIPTION).exists() else folder)


def _check(data: Path | None, options: EvaluationOptions) -> None:
    """What can be refused before any image is read."""
    if not 0 <= options.resamples <= 100_000:
        raise ThoraxError(f"--resamples {options.resamples} is out of range: it must be 0 to 100000")
    files = {"--data": data, "--predictions": options.predictions, "--subgroups": options.subgroup_table}
    for flag, path in files.items():
        if path is not None and not path.exists():
            raise ThoraxError(f"{flag} {path} does not exist")
    if data is None and options.predictions is None:
        raise ThoraxError("there is nothing to score: give data, predictions, or both")
    if options.compare_with is not None and data is None:
        raise ThoraxError(f"--compare {options.compare_with} needs the images: give --data DIR_OR_TABLE")
    if options.subgroup_table is not None and not options.by:
        raise ThoraxError(f"--subgroups {options.subgroup_table} without --by: name its columns, such as --by sex age")
    if (lists := options.data_lst) is not None and not (data is not None and data.is_dir() and lists.exists()):
        raise ThoraxError(
            f"--data-lst {lists} must be a folder with the .lst of images in --data, which must be a folder too"
        )


def _parts(
    bundle: Bundle, images: LabelledImages | None, predictions: Path | None, thresholds: np.ndarray
) -> dict[str, Predictions]:
    """{part: predictions} of the table, with the labels of the images where there are any; else the network's."""
    if predictions is not None:
        parts = read_predictions(predictions, bundle.space, thresholds, say)
        if images is None:
            return parts
        return {name: with_labels(part, images, predictions) for name, part in parts.items()}
    assert images is not None
    return {images.given.stem: _scored(bundle, images)}


def _scored(bundle: Bundle, images: LabelledImages) -> Predictions:
    """The network's probabilities of all images."""
    classifier = Classifier(bundle)
    progress = Progress("images", -(-len(images.ids) // BATCH), 0, True, 30.0)
    rows = []
    for start in range(0, len(images.ids), BATCH):
        rows.append(classifier.predict(images.sources[start : start + BATCH]))
        progress.step()
    progress.close()
    return Predictions(images.ids, images.patients, images.targets, np.concatenate(rows))


def _compared(
    shown: Predictions, images: LabelledImages, bundle: Bundle, other: Bundle, name: str, resamples: int
) -> dict[str, Any]:
    """The difference in AUC of the other bundle, called `name`, on the images shown."""
    if set(other.space.outputs) != set(bundle.space.outputs):
        raise ThoraxError(
            f"--compare {name} has the labels {', '.join(other.space.classes)}, the first bundle"
            f" {', '.join(bundle.space.classes)}"
        )
    found = _scored(other, images)
    order = [other.space.outputs.index(output) for output in bundle.space.outputs]
    place = {image: k for k, image in enumerate(found.ids)}
    second = found.probabilities[[place[image] for image in shown.ids]][:, order]
    return compare(shown.targets, shown.probabilities, second, bundle.space, shown.patients, resamples=resamples)


def _rule(bundle: Bundle) -> str:
    stored = bundle.about["configuration"]
    return str(
        Rule(stored.get("threshold_rule", "balanced"), stored.get("target_sensitivity"), stored.get("cost_ratio"))
    )


def _facts(bundle: Bundle, where: Path) -> dict[str, dict[str, str]]:
    prepared = bundle.preprocessing
    return {
        "What was scored": {
            "bundle": str(bundle.folder.absolute()),
            "images": str(where),
            "network": bundle.network,
            "image": f"{prepared.height} x {prepared.width}, {prepared.fit}",
            "trained with torch": str(bundle.about["versions"].get("torch", "")),
            "split sha256 of its training": str(bundle.about["split"].get("sha256", ""))[:16],
        },
        "Configuration of its training": {
            k: v if isinstance(v, str) else json.dumps(v) for k, v in bundle.about["configuration"].items()
        },
    }
