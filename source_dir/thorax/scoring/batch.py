"""A folder of images, or the answers of a batch transform, to one table of predictions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from thorax.console import columns as terminal_columns
from thorax.data.patients import patient_of
from thorax.errors import ThoraxError
from thorax.evaluation import formatting
from thorax.evaluation.metrics import score
from thorax.evaluation.predictions import Predictions, columns
from thorax.labels import LabelSpace, Task
from thorax.machine import free_cpus
from thorax.scoring.folder_images import folder_targets, images_to_score
from thorax.scoring.options import BatchOptions
from thorax.scoring.reading import reading_as_trained
from thorax.scoring.resumable import score_all
from thorax.scoring.served import COMPARED, served_difference, views_note
from thorax.scoring.transform_outputs import read_out_files
from thorax.serving.bundle import Bundle
from thorax.serving.bundle_place import DESCRIPTION
from thorax.serving.classifier import Classifier
from thorax.serving.engines.devices import SCORED, default_batch
from thorax.tables import check_table, write_table
from thorax.text import are, counted
from thorax.tracking.progress import busy

EXAMPLES = 5


def predict_folder(
    bundle: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    data_format: str = "auto",
    options: BatchOptions | None = None,
) -> Predictions:
    """Scores the images in a folder and writes the table. A call that was killed goes on where it was when repeated.

    Args:
        bundle: the model folder of a finished job.
        data: a plain folder of images, or any format that training reads.
        out: the table, .csv or .parquet; images that cannot be read are listed in OUT.unreadable.csv.
        data_format: of `data`; auto looks at the files.
        options: see there.

    Returns:
        The predictions in the table; targets are NaN where labels are unknown.

    Raises:
        ThoraxError: wrong input, not one image could be read, or another run writes the same table.
    """
    data, out, options = Path(data), Path(out), options or BatchOptions()
    check_table(out, "--out")
    batch = options.batch or default_batch(SCORED)
    with busy("loading the bundle"):
        how: dict[str, Any] = {"engine": options.engine, "precision": options.precision, "tta": options.tta}
        classifier = Classifier.load(bundle, threads=1, batch=batch, **how)
    if note := views_note(classifier):
        print(f"note: {note}", flush=True)
    space = classifier.bundle.space
    images = images_to_score(data, space, data_format, reading_as_trained(classifier.bundle, options.settings))
    cpus = free_cpus()
    identity = {
        "bundle": _fingerprint(classifier.bundle),
        "images": images.digest(),
        "data": str(data.resolve()),
        "batch": batch,
        "precision": classifier.precision,
        "engine": classifier.engine,
        **({"tta": classifier.views.count} if classifier.views.count > 1 else {}),
    }
    network, device = classifier.bundle.network, classifier.device
    print(f"{counted(len(images), 'image')}, {network}; {classifier.choice}", flush=True)
    partial = out.with_name(f"{out.name}.partial")
    default = max(1, cpus - 1) if device == "cuda" else cpus // 4  # fewer than 4 CPUs: the threads take turns
    workers = default if options.workers is None else options.workers
    sizes = replace(options, batch=batch, workers=workers, threads=1 if device == "cuda" else options.threads or cpus)
    probabilities, unreadable = score_all(classifier, images, partial, identity, sizes)
    if line := served_difference(classifier, [sample.source for sample in images.samples[:COMPARED]]):
        print(f"note: {line}; --precision float32 gives the digits of `thorax evaluate`", flush=True)
    kept = np.flatnonzero(~np.isnan(probabilities).any(axis=1))
    ids, patients = images.ids, images.patients
    _list_unreadable({ids[place]: reason for place, reason in sorted(unreadable.items())}, out)
    if not len(kept):
        partial.unlink()
        raise ThoraxError(f"none of {counted(len(images), 'image')} could be read")
    scored = Predictions([ids[k] for k in kept], [patients[k] for k in kept], images.targets[kept], probabilities[kept])
    _write(scored, space, _thresholds(classifier.bundle), out)
    partial.unlink()
    return scored


def read_outputs(
    outputs: str | Path,
    out: str | Path,
    *,
    bundle: str | Path | None = None,
    labels: Sequence[str] | None = None,
    multi_label: bool = False,
    data: str | Path | None = None,
    data_format: str = "auto",
    unanswered: Mapping[str, str] | None = None,
) -> Predictions:
    """Reads a batch transform's `.out` files into the same table.

    Args:
        outputs: folder of FILE.out files.
        out: the table.
        bundle: the folder with labels and thresholds; or
        labels: names in the order of the numbers; thresholds are then 0.5.
        multi_label: of `labels`, any number may hold at once.
        data: folder of the images, for their labels; default: the folders in `outputs`, where they are named so.
        data_format: of `data`.
        unanswered: images that have no file -> why; listed with those that could not be read.

    Returns:
        The predictions in the table.

    Raises:
        ThoraxError: wrong input.
    """
    outputs, out = Path(outputs), Path(out)
    check_table(out, "--out")
    described = None
    if bundle is not None:
        described = Bundle.load(Path(bundle))
        space, thresholds = described.space, _thresholds(described)
    else:
        names = tuple(labels or ())
        exclusive: Task = "binary" if len(names) == 2 else "multiclass"
        space = LabelSpace(names, "multilabel" if multi_label or len(names) < 2 else exclusive)
        thresholds = np.full(len(space.outputs), 0.5)
    ids, probabilities, failed = read_out_files(outputs, space)
    failed |= unanswered or {}
    _list_unreadable(failed, out)
    if not ids:
        raise ThoraxError(f"not one of the {len(failed)} answers in {outputs} is a prediction")
    patients, targets = [patient_of(name) for name in ids], folder_targets(ids, space)
    if data is not None:
        reading = None if described is None else reading_as_trained(described)
        images = images_to_score(Path(data), space, data_format, reading)
        place = {name: k for k, name in enumerate(images.ids)}
        if missing := [name for name in ids if name not in place]:
            raise ThoraxError(
                f"{len(missing)} answers belong to no image in {data}, e.g. {missing[0]}; --outputs and --data must be"
                " laid out alike"
            )
        order = [place[name] for name in ids]
        known = images.patients
        patients, targets = [known[k] for k in order], images.targets[order]
    predictions = Predictions(ids, patients, targets, probabilities)
    _write(predictions, space, thresholds, out)
    return predictions


def _thresholds(bundle: Bundle) -> np.ndarray:
    return np.array([bundle.thresholds[name] for name in bundle.space.outputs])


def _write(images: Predictions, space: LabelSpace, thresholds: np.ndarray, out: Path) -> None:
    """Writes the table and, where labels are known, prints the scores."""
    write_table(columns({"": images}, space, thresholds), out, "table of predictions")
    print(f"{out}: {counted(len(images.ids), 'image')}")
    if not np.isnan(images.targets).all():
        scores = score(images.targets, images.probabilities, space, thresholds, images.patients)
        print(f"\n{formatting.table({'images': scores}, space, terminal_columns())}")


def _list_unreadable(reasons: dict[str, str], out: Path) -> None:
    """Lists the images that could not be read in OUT.unreadable.csv, and prints the first of them."""
    listed = out.with_name(f"{out.stem}.unreadable.csv")
    if not reasons:
        listed.unlink(missing_ok=True)
        return
    write_table({"id": [*reasons], "reason": [*reasons.values()]}, listed, "list of unreadable images")
    some = ", ".join(list(reasons)[:EXAMPLES])
    print(
        f"warning: {counted(len(reasons), 'image')} could not be read and {are(len(reasons))} left out, e.g. {some};"
        f" all of them are in {listed}",
        flush=True,
    )


def _fingerprint(bundle: Bundle) -> str:
    digest = hashlib.sha256((bundle.folder / DESCRIPTION).read_bytes())
    digest.update(bundle.version.encode())
    return digest.hexdigest()[:16]
