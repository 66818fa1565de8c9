"""A bundle scored on this machine: images or a table of predictions in, scores and report out."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thorax.data.formats import read_channel
from thorax.data.formats.channel import ReadOptions
from thorax.data.images import EXTENSIONS
from thorax.data.samples import sample_set
from thorax.errors import ThoraxError
from thorax.evaluation import formatting, mistakes
from thorax.evaluation.comparison import compare
from thorax.evaluation.metrics import score
from thorax.evaluation.predictions import Predictions, read_predictions
from thorax.evaluation.report import Report
from thorax.evaluation.subgroups import subgroups
from thorax.evaluation.thresholds import Rule
from thorax.files import write_whole
from thorax.labels import NEGATIVE_NAMES
from thorax.serving.bundle import DESCRIPTION, SPLIT, Bundle
from thorax.serving.classifier import Classifier
from thorax.tables import read_table
from thorax.tracking.progress import Progress, say

BATCH = 32
#: Columns that name an image in a table of subgroups.
ID_COLUMNS = ("id", "path", "file", "image", "filename")


@dataclass(frozen=True)
class LabelledImages:
    """The images of --data: N ids, patients and sources, and targets (N, L) in the bundle's order, NaN for unknown."""

    given: Path
    ids: list[str]
    patients: list[str]
    sources: list[Any]
    targets: np.ndarray


def evaluate(
    folder: Path,
    *,
    data: Path | None,
    data_format: str,
    predictions: Path | None,
    compare_with: Path | None,
    by: Sequence[str],
    table: Path | None,
    json_file: Path | None,
    html_file: Path | None,
    resamples: int,
    lists: Path | None = None,
    labels: tuple[str, ...] = (),
) -> None:
    """Scores, prints, writes. Arguments: see launch/evaluate.py.

    Raises:
        ThoraxError: see the errors of what it calls; nothing is written then.
    """
    _check(data, predictions, compare_with, by, table, (json_file, html_file), resamples)
    if lists is not None and not (data is not None and data.is_dir() and lists.exists()):
        raise ThoraxError(
            f"--data-lst {lists} must be a folder with the .lst of images in --data, which must be a folder too"
        )
    bundle = find_bundle(folder)
    space, thresholds = bundle.space, np.array([bundle.thresholds[name] for name in bundle.space.outputs])
    images = _images(data, data_format, bundle, lists, labels)
    if predictions is not None:
        parts = read_predictions(predictions, space, thresholds, say)
        if images is not None:
            parts = {name: _labelled(each, images, predictions) for name, each in parts.items()}
    else:
        assert images is not None
        parts = {images.given.stem: _scored(bundle, images)}
    where = images.given if images is not None else predictions
    assert where is not None
    for each in parts.values():
        _check_answers(each, space.outputs, space.classes, where)
    scores = {
        name: score(each.targets, each.probabilities, space, thresholds, each.patients, resamples=resamples)
        for name, each in parts.items()
    }
    report = Report(
        title=f"{bundle.network} on {where.name or where}",
        labels=space,
        scores=scores,
        temperatures=bundle.temperatures,
        rule=_rule(bundle),
        curves={name: (each.targets, each.probabilities) for name, each in parts.items()},
        facts=_facts(bundle, where),
    )
    shown = parts[report.headline]
    if compare_with is not None:
        assert images is not None
        report = replace(
            report,
            compared=(str(folder), str(compare_with)),
            comparison=_compared(shown, images, bundle, compare_with, resamples),
        )
    if by:
        columns = _columns(by, table or _table_of(images), table, shown.ids)
        found = subgroups(
            shown.targets, shown.probabilities, space, thresholds, shown.patients, columns, resamples=resamples
        )
        report = replace(report, groups=found)
    if html_file is not None and images is not None:
        wrong = mistakes.worst(shown.targets, shown.probabilities, thresholds, space)
        source, net = dict(zip(images.ids, images.sources, strict=True)), bundle.build_network()
        drawn = [
            mistakes.draw(m, source[shown.ids[m.image]], net, bundle.preprocessing, torch.device("cpu")) for m in wrong
        ]
        report = replace(report, mistakes=[(shown.ids[m.image], m) for m in drawn])
    _tell(report, json_file, html_file)


def find_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, or in `folder`/model where a job's folder was named; see Bundle.load."""
    inside = folder / "model"
    return Bundle.load(inside if not (folder / DESCRIPTION).exists() and (inside / DESCRIPTION).exists() else folder)


def _tell(report: Report, json_file: Path | None, html_file: Path | None) -> None:
    say(formatting.table(report.scores, report.labels))
    if report.comparison:
        say(
            f"\n{report.compared[1]} against {report.compared[0]}, difference in"
            f" AUC:\n{formatting.comparison_table(report.comparison)}"
        )
    if report.groups:
        say(f"\n{formatting.subgroup_table(report.groups)}")
    for file, text in ((json_file, report.json), (html_file, report.html)):
        if file is not None:
            write_whole(text().encode(), file, "report")
            say(f"wrote {file}")


def _check(
    data: Path | None,
    predictions: Path | None,
    other: Path | None,
    by: Sequence[str],
    table: Path | None,
    outputs: Sequence[Path | None],
    resamples: int,
) -> None:
    """What can be refused before any image is read."""
    if not 0 <= resamples <= 100_000:
        raise ThoraxError(f"--resamples {resamples} is out of range: it must be 0 to 100000")
    for flag, path in (("--data", data), ("--predictions", predictions), ("--subgroups", table)):
        if path is not None and not path.exists():
            raise ThoraxError(f"{flag} {path} does not exist")
    if other is not None and data is None:
        raise ThoraxError(f"--compare {other} needs the images: give --data DIR_OR_TABLE")
    if table is not None and not by:
        raise ThoraxError(f"--subgroups {table} without --by: name its columns, such as --by sex age")
    for path in outputs:
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise ThoraxError(
                f"{path} cannot be written:"
                f" {'it is a folder' if path.is_dir() else f'there is no folder {path.parent}'}; name a file"
            )


def _images(
    given: Path | None, data_format: str, bundle: Bundle, lists: Path | None, labels: tuple[str, ...]
) -> LabelledImages | None:
    """The images of --data, a folder or a table in one, with targets in the bundle's order, NaN where the data says
    nothing of a label.
    """
    if given is None:
        return None
    if given.is_file() and given.suffix.lower() in EXTENSIONS:
        raise ThoraxError(f"--data {given} is one image; give a folder per class, or the table that tells its labels")
    folder, table = (given.parent, given.name) if given.is_file() else (given, "")
    try:
        listing = read_channel("data", folder, data_format, ReadOptions(labels=labels), lists, table)
    except ThoraxError as error:
        raise ThoraxError(
            str(error).replace("channel data: ", "--data: ").replace("data_format=", "--data-format ")
        ) from None
    space = bundle.space
    unknown = [name for name in listing.names if name not in space.classes and name.lower() not in NEGATIVE_NAMES]
    missing = [name for name in space.outputs if name not in listing.names]
    exclusive = space.task != "multilabel"
    if (unknown or not listing.exclusive) if exclusive else (unknown and len(missing) == len(space.outputs)):
        told = ", ".join(listing.names) + (
            "" if listing.exclusive or not exclusive else " (several on an image, or none)"
        )
        raise ThoraxError(
            f"--data {given} has the labels {told}, but the bundle tells apart {', '.join(space.classes)}"
        )
    samples = sample_set("data", listing, space)
    images = LabelledImages(
        given,
        list(samples.ids),
        list(samples.patients),
        [sample.source for sample in samples.samples],
        samples.targets.copy(),
    )
    if not exclusive:
        for name in missing:
            say(f"warning: {given} says nothing of {name}: it is not scored")
            images.targets[:, space.outputs.index(name)] = np.nan
        if unknown:
            say(f"note: the bundle does not know {', '.join(unknown)}, which {given} has too")
    _warn_of_training_images(bundle, images.ids)
    return images


def _warn_of_training_images(bundle: Bundle, ids: Sequence[str]) -> None:
    """Says how many of the images the bundle was trained on, as its split.csv remembers them."""
    try:
        with (bundle.folder / SPLIT).open(newline="", encoding="utf-8") as file:
            seen = {row["id"] for row in csv.DictReader(file) if row["part"] in ("train", "validation")}
    except (OSError, KeyError):
        return
    known = sum(name in seen for name in ids)
    if known:
        say(
            f"warning: {known} of {len(ids)} images have the ids of images that the bundle was trained on or chosen by;"
            " their scores say little of new images"
        )


def _scored(bundle: Bundle, images: LabelledImages) -> Predictions:
    classifier = Classifier(bundle)
    progress = Progress("images", -(-len(images.ids) // BATCH), 0, True, 30.0)
    rows = []
    for start in range(0, len(images.ids), BATCH):
        rows.append(classifier.predict(images.sources[start : start + BATCH]))
        progress.step()
    progress.close()
    return Predictions(images.ids, images.patients, images.targets, np.concatenate(rows))


def _labelled(predicted: Predictions, images: LabelledImages, file: Path) -> Predictions:
    """The predictions with targets and patients of --data.

    Raises:
        ThoraxError: an id that --data has not.
    """
    place = {name: k for k, name in enumerate(images.ids)}
    unknown = [name for name in predicted.ids if name not in place]
    if unknown:
        example = next(iter(place))
        raise ThoraxError(
            f"{len(unknown)} of {len(predicted.ids)} ids of {file} are not in {images.given}: the first is"
            f" {unknown[0]}, there they look like {example}"
        )
    if len(predicted.ids) < len(place):
        say(
            f"warning: {file} has no predictions of {len(place) - len(predicted.ids)} of the {len(place)} images of"
            f" {images.given}; they are left out"
        )
    at = [place[name] for name in predicted.ids]
    return replace(predicted, targets=images.targets[at], patients=[images.patients[k] for k in at])


def _check_answers(images: Predictions, outputs: Sequence[str], classes: Sequence[str], where: Path) -> None:
    """Raises ThoraxError where no label has both answers: nothing could be told apart."""
    known = ~np.isnan(images.targets)
    if not known.any():
        raise ThoraxError(
            f"{where} has no known labels of {', '.join(outputs)}; a table of predictions needs columns such as"
            f" target:{outputs[0]}, or --data"
        )
    positives, counts = np.nansum(images.targets, axis=0), known.sum(axis=0)
    if ((positives == 0) | (positives == counts)).all():
        held = [name for name, n in zip(outputs, positives, strict=True) if n] or [
            classes[0] if len(outputs) < len(classes) else "images without a label"
        ]
        raise ThoraxError(
            f"{where} has images of one class only ({', '.join(held)}, {len(images.ids)} images); scores need both"
            " answers, add images of the other"
        )


def _compared(
    shown: Predictions, images: LabelledImages, bundle: Bundle, folder: Path, resamples: int
) -> dict[str, Any]:
    other = find_bundle(folder)
    if set(other.space.outputs) != set(bundle.space.outputs):
        raise ThoraxError(
            f"--compare {folder} has the labels {', '.join(other.space.classes)}, the first bundle"
            f" {', '.join(bundle.space.classes)}"
        )
    found = _scored(other, images)
    order = [other.space.outputs.index(name) for name in bundle.space.outputs]
    place = {name: k for k, name in enumerate(found.ids)}
    second = found.probabilities[[place[name] for name in shown.ids]][:, order]
    return compare(shown.targets, shown.probabilities, second, bundle.space, shown.patients, resamples=resamples)


def _table_of(images: LabelledImages | None) -> Path:
    """The one CSV of --data."""
    if images is not None and images.given.is_file():
        return images.given
    tables = sorted(images.given.glob("*.csv")) if images is not None else []
    if len(tables) != 1:
        raise ThoraxError("--by: --data is no table; give the table with these columns by --subgroups TABLE")
    return tables[0]


def _columns(by: Sequence[str], file: Path, given: Path | None, ids: Sequence[str]) -> dict[str, list[str]]:
    """{column: value of each image}, from a table with id or path.

    Raises:
        ThoraxError: a missing column, or an image that is not in the table.
    """
    table = read_table(file).by_name()
    found = {name.lower(): name for name in table}
    key = next((found[name] for name in ID_COLUMNS if name in found and set(ids) & set(table[found[name]])), None)
    if key is None:
        raise ThoraxError(
            f"{file} has no column ({', '.join(ID_COLUMNS)}) with the ids of these images, such as {ids[0]}; it has"
            f" {', '.join(table)}"
        )
    missing = [name for name in by if name.lower() not in found]
    if missing:
        raise ThoraxError(f"--by {missing[0]}: {file} has no such column; it has {', '.join(table)}")
    place = {name.strip(): k for k, name in enumerate(table[key])}
    lost = [name for name in ids if name not in place]
    if lost:
        raise ThoraxError(f"{len(lost)} of {len(ids)} images are not in {given or file}; the first is {lost[0]}")
    values = {name: table[found[name.lower()]] for name in by}
    return {name: [column[place[i]] for i in ids] for name, column in values.items()}


def _rule(bundle: Bundle) -> str:
    stored = bundle.configuration
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
            "trained with torch": str(bundle.versions.get("torch", "")),
            "split sha256 of its training": str(bundle.split.get("sha256", ""))[:16],
        },
        "Configuration of its training": {
            k: v if isinstance(v, str) else json.dumps(v) for k, v in bundle.configuration.items()
        },
    }
