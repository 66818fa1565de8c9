"""A bundle scored on labelled images, or on a table of predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thorax.data.decoders import RGB
from thorax.errors import ThoraxError
from thorax.evaluation import formatting, mistakes
from thorax.evaluation.comparison import compare
from thorax.evaluation.metrics import score
from thorax.evaluation.population import describe, shifts
from thorax.evaluation.predictions import Predictions, read_predictions
from thorax.evaluation.report import Report
from thorax.evaluation.sample_grid import samples_of
from thorax.evaluation.studies import by_study
from thorax.evaluation.studies import title as study_title
from thorax.evaluation.subgroups import subgroups
from thorax.evaluation.thresholds import ThresholdRule
from thorax.files import write_whole
from thorax.labels import LabelSpace
from thorax.scoring.labelled_images import LabelledImages, check_answers, read_labelled, with_labels
from thorax.scoring.options import EvaluationOptions
from thorax.scoring.served import exact, served_difference, views_note
from thorax.scoring.subgroup_columns import columns_of, table_of
from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier
from thorax.shown import visible_lines
from thorax.tracking.progress import Progress, busy, say

BATCH = 32


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`; a notebook shows it as its report.

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

    def table(self, width: int | None = None) -> str:
        """Scores, comparison and subgroups as plain text; `width` as for `formatting.table`."""
        blocks = [formatting.table(self.report.scores, self.report.labels, width)]
        if self.comparison:
            first, second = self.report.compared
            table = formatting.comparison_table(self.comparison)
            blocks.append(f"A is {first}\nB is {second}\n{table}")
        if any(row["training"] is not None for row in self.report.shifts):
            blocks.append(formatting.shift_table(self.report.shifts))
        if self.subgroups:
            blocks.append(formatting.subgroup_table(self.subgroups))
        return "\n\n".join(blocks)

    def write_json(self, file: str | Path) -> None:
        """Writes all numbers of the report; raises ThoraxError where the file cannot be written."""
        write_whole(self.report.json().encode(), Path(file), "report")

    def write_report(self, file: str | Path) -> None:
        """Writes the report, one HTML page that needs no network; raises as write_json does."""
        with busy("drawing the report"):
            write_whole(visible_lines(self._illustrated().html()).encode(), Path(file), "report")

    def _repr_html_(self) -> str:
        return self._illustrated().inline()

    def _illustrated(self) -> Report:
        """The report with pictures of each class, and of its mistakes and right answers with heat maps."""
        if self.images is None:
            return self.report
        sources = dict(zip(self.images.ids, self.images.sources, strict=True))
        drawn_by = self.bundle.members[0] if self.bundle.members else self.bundle
        net, prepared, cpu = drawn_by.build_network(), drawn_by.preprocessing, torch.device("cpu")

        def drawn(shown: Sequence[tuple[str, mistakes.Mistake]]) -> list[tuple[str, mistakes.Mistake]]:
            made = [(name, mistakes.draw(m, sources[name], net, prepared, cpu)) for name, m in shown]
            return mistakes.distinct(made)

        space, y = self.bundle.space, self.images.targets
        by_class = np.concatenate([1 - y, y], axis=1) if space.task == "binary" else y
        samples = samples_of(space.classes, by_class, self.images.sources, self.images.ids, space.task != "multilabel")
        return replace(
            self.report, mistakes=drawn(self.report.mistakes), right=drawn(self.report.right), samples=samples
        )


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
        data_format: format of `data`; auto looks at it.
        labels: names of its numbered labels, in order.
        by: columns of its table whose groups are scored, too, such as sex and age.
        compare_with: another bundle, scored on the same images.
        resamples: of the bootstrap over patients; 0: no intervals. EvaluationOptions has more.

    Raises:
        ThoraxError: no bundle, no images, labels that are not the bundle's, images of one class only, or an option
            that does not fit.
    """
    options = EvaluationOptions(
        data_format=data_format, labels=labels, by=by, compare_with=compare_with, resamples=resamples
    )
    return run_evaluation(bundle, data, options)


def run_evaluation(
    bundle: str | Path | Bundle, data: str | Path | None, options: EvaluationOptions | None = None
) -> Evaluation:
    """`evaluate` with every option; `data` may be None where options.predictions holds the labels too."""
    data, options = None if data is None else Path(data), options or EvaluationOptions()
    _check(data, options)
    loaded, resamples = load_bundle(bundle), options.resamples
    space, thresholds = loaded.space, np.array([loaded.thresholds[name] for name in loaded.space.outputs])
    with busy("reading the images' list"):
        images = read_labelled(data, loaded, options) if data is not None else None
    if options.predictions is not None and options.tta is not None:
        raise ThoraxError(f"--tta {options.tta} with --predictions: a table's answers are there already; leave one out")
    if options.predictions is None:
        parts = {images.given.stem: network_answers(loaded, images, options.tta)} if images is not None else {}
    else:
        parts = read_predictions(options.predictions, space, thresholds, say)
        if images is not None:
            parts = {name: with_labels(part, images, options.predictions) for name, part in parts.items()}
    where = data or options.predictions or Path()
    for part in parts.values():
        check_answers(part, space, where)
    with busy("computing intervals"):
        scores = _scores(parts, space, thresholds, options)
    report = Report(
        title=f"{loaded.network} on {where.name or where}",
        labels=space,
        scores=scores,
        calibrator=loaded.calibrator,
        held_out=loaded.metrics.get("calibration") or {},
        rule=_rule(loaded.configuration),
        curves={name: (part.targets, part.probabilities) for name, part in parts.items()},
        facts=_facts(loaded, where, images.label_notes if images is not None else ()),
    )
    shown = parts[report.headline]
    y, p, patients = shown.targets, shown.probabilities, shown.patients
    if options.by:
        columns = columns_of(shown.ids, options.by, options.subgroup_table or table_of(data))
        groups = subgroups(y, p, space, thresholds, patients, columns, resamples=resamples)
        report = replace(report, groups=groups)
    if images is not None:
        here = describe(images.targets, space, images.patients, images.attributes)
        report = replace(report, shifts=shifts(loaded.training_data, here))
    if images is not None and options.compare_with is not None:
        first, second = (str(b.folder if isinstance(b, Bundle) else b) for b in (bundle, options.compare_with))
        other = _probabilities_of_other(options, images, shown.ids, space)
        comparison = compare(y, p, other, space, patients, resamples=resamples)
        report = replace(report, compared=(first, second), comparison=comparison)
    if images is not None:
        wrong, right = (choose(y, p, thresholds, space) for choose in (mistakes.worst, mistakes.surest))
        report = replace(
            report, mistakes=[(shown.ids[m.image], m) for m in wrong], right=[(shown.ids[m.image], m) for m in right]
        )
    return Evaluation(loaded, parts, report, images)


def _scores(
    parts: Mapping[str, Predictions], space: LabelSpace, thresholds: np.ndarray, options: EvaluationOptions
) -> dict[str, dict[str, Any]]:
    """The score of each part, and of its studies where there are several images of one."""
    found = {}
    for name, part in parts.items():
        rows = {name: (part, "image")}
        if (whole := by_study(part, space, options.studies)) is not None:
            rows[study_title(name, options.studies)] = (whole, "study")
        for title, (one, unit) in rows.items():
            known = one.targets, one.probabilities, space, thresholds, one.patients
            found[title] = score(*known, resamples=options.resamples, unit=unit)
    return found


def load_bundle(bundle: str | Path | Bundle) -> Bundle:
    """The bundle itself, or the one that is named; raises ThoraxError as Bundle.load does."""
    return bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)


def _check(data: Path | None, options: EvaluationOptions) -> None:
    """Raises ThoraxError for what can be refused before any image is read."""
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


def network_answers(bundle: Bundle, images: LabelledImages, tta: int | None = None) -> Predictions:
    """The network's probabilities of all images, in float32 whatever serves the bundle, so that machines agree; `tta`
    as Classifier's."""
    with busy("loading the bundle"):
        classifier = exact(bundle, tta)
    if note := views_note(classifier):
        say(f"note: {note}")
    rows = []
    with Progress("scoring", len(images.ids)) as progress:
        for start in range(0, len(images.ids), BATCH):
            rows.append(classifier.predict(images.sources[start : start + BATCH]))
            progress.step(count=len(rows[-1]))
    with busy("measuring how it is served here"):
        line = served_difference(Classifier(bundle, tta=tta), images.sources, classifier)
    if line:
        say(f"note: scores are computed in float32; serving this bundle here, {line}")
    return Predictions(images.ids, images.patients, images.targets, np.concatenate(rows), images.studies)


def _probabilities_of_other(
    options: EvaluationOptions, images: LabelledImages, ids: Sequence[str], space: LabelSpace
) -> np.ndarray:
    """(N, L) probabilities that `compare_with` gives these images, in the order of ids and labels."""
    assert options.compare_with is not None
    other = load_bundle(options.compare_with)
    if set(other.space.outputs) != set(space.outputs):
        raise ThoraxError(
            f"--compare {other.folder} has the labels {', '.join(other.space.classes)}, the first bundle"
            f" {', '.join(space.classes)}"
        )
    probabilities = network_answers(other, images, options.tta).probabilities
    place = {image: k for k, image in enumerate(images.ids)}
    columns = [other.space.outputs.index(output) for output in space.outputs]
    return np.asarray(probabilities[[place[image] for image in ids]][:, columns])


def _rule(stored: Mapping[str, Any]) -> str:
    name = stored.get("threshold_rule", "balanced")
    return str(ThresholdRule(name, stored.get("target_sensitivity"), stored.get("cost_ratio")))


def _facts(bundle: Bundle, where: Path, label_notes: Sequence[str]) -> dict[str, dict[str, str]]:
    prepared = bundle.preprocessing
    notes = {"Labels": label_notes, "Labels of its training": bundle.split.get("labels", ())}
    return {section: {str(n): note for n, note in enumerate(lines, 1)} for section, lines in notes.items() if lines} | {
        "What was scored": {
            "bundle": str(bundle.folder.absolute()),
            "images": str(where),
            "network": bundle.network,
            "image": f"{prepared.height} x {prepared.width}, {prepared.fit}{', in colour' * (prepared.color == RGB)}",
            "trained with torch": str(bundle.versions.get("torch", "")),
            "split sha256 of its training": str(bundle.split.get("sha256", ""))[:16],
        },
        "Configuration of its training": {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in bundle.configuration.items()
        },
    }
