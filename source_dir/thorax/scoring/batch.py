"""A batch on this machine, from images (or a batch transform's answers) to the table and the scores."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from thorax.data.patients import patient_of
from thorax.errors import ThoraxError
from thorax.evaluation.predictions import Predictions, columns
from thorax.labels import LabelSpace
from thorax.scoring.folder_images import folder_targets, images_to_score
from thorax.scoring.resumable import score_all
from thorax.scoring.transform_outputs import read_out_files
from thorax.serving.bundle import DESCRIPTION, WEIGHTS, Bundle
from thorax.tables import check_table, write_table

EXAMPLES = 5


def score_images(
    folder: Path,
    data: Path,
    out: Path,
    *,
    data_format: str = "auto",
    batch: int = 32,
    workers: int | None = None,
    threads: int | None = None,
    precision: str = "auto",
) -> int:
    """Scores the images in `data` with the bundle in `folder` and writes the table; see launch/batch.py.

    Raises:
        ThoraxError: wrong input, or not one image could be read.
    """
    from thorax.machine import free_cpus
    from thorax.serving.classifier import Classifier

    if batch < 1 or (workers or 0) < 0 or (threads is not None and threads < 1):
        raise ThoraxError(f"--batch {batch} and --threads {threads} must be 1 or more, --workers {workers} 0 or more")
    check_table(out, "--out")
    classifier = Classifier.load(folder, precision=precision, threads=1, batch=batch)
    space = classifier.bundle.space
    images = images_to_score(data, space, data_format)
    cpus = free_cpus()
    identity = {
        "bundle": _fingerprint(folder),
        "images": images.digest(),
        "data": str(data.resolve()),
        "batch": batch,
        "precision": classifier.precision,
    }
    print(
        f"{len(images)} images, {classifier.bundle.network} in {classifier.precision} on {classifier.device.type}",
        flush=True,
    )
    partial = out.with_name(f"{out.name}.partial")
    probabilities, unreadable = score_all(
        classifier.score,
        classifier.bundle.preprocessing,
        images,
        partial,
        identity=identity,
        batch=batch,
        workers=workers if workers is not None else max(1, cpus // 4),
        at_once=1 if classifier.device.type == "cuda" else threads or cpus,
    )
    kept = np.flatnonzero(~np.isnan(probabilities).any(axis=1))
    ids, patients = images.ids, images.patients
    tell_unreadable({ids[place]: reason for place, reason in sorted(unreadable.items())}, out)
    if not len(kept):
        partial.unlink()
        raise ThoraxError(f"not one of the {len(images)} images could be read")
    scored = Predictions([ids[k] for k in kept], [patients[k] for k in kept], images.targets[kept], probabilities[kept])
    finish(scored, space, np.array([classifier.thresholds[name] for name in space.outputs]), out)
    partial.unlink()
    return 0


def read_outputs(
    outputs: Path,
    out: Path,
    *,
    bundle: Path | None = None,
    labels: Sequence[str] | None = None,
    multi_label: bool = False,
    data: Path | None = None,
    data_format: str = "auto",
) -> int:
    """Reads a batch transform's `.out` files into the same table.

    Args:
        outputs: folder of FILE.out files.
        out: the table.
        bundle: whose labels and thresholds; or
        labels: names in the numbers' order; thresholds are then 0.5.
        multi_label: of `labels`, any number may hold at once.
        data: folder of the images, for their labels; default: labels told by the folders in `outputs`, if they are.
        data_format: of `data`.

    Raises:
        ThoraxError: wrong input.
    """
    check_table(out, "--out")
    if bundle is not None:
        described = Bundle.load(bundle)
        space, thresholds = described.space, np.array([described.thresholds[name] for name in described.space.outputs])
    else:
        names = tuple(labels or ())
        space = LabelSpace(
            names, "multilabel" if multi_label or len(names) < 2 else "binary" if len(names) == 2 else "multiclass"
        )
        thresholds = np.full(len(space.outputs), 0.5)
    ids, probabilities, failed = read_out_files(outputs, space)
    tell_unreadable(failed, out)
    if not ids:
        raise ThoraxError(f"not one of the {len(failed)} answers in {outputs} is a prediction")
    patients, targets = [patient_of(name) for name in ids], folder_targets(ids, space)
    if data is not None:
        images = images_to_score(data, space, data_format)
        place = {name: k for k, name in enumerate(images.ids)}
        if missing := [name for name in ids if name not in place]:
            raise ThoraxError(
                f"{len(missing)} answers belong to no image in {data}, e.g. {missing[0]}; --outputs and --data must be"
                " laid out alike"
            )
        order = [place[name] for name in ids]
        known = images.patients
        patients, targets = [known[k] for k in order], images.targets[order]
    finish(Predictions(ids, patients, targets, probabilities), space, thresholds, out)
    return 0


def finish(images: Predictions, space: LabelSpace, thresholds: np.ndarray, out: Path) -> None:
    """Writes the table and, where labels are known, prints the scores."""
    write_table(columns({"": images}, space, thresholds), out, "table of predictions")
    print(f"{out}: {len(images.ids)} images")
    if not np.isnan(images.targets).all():
        from thorax.evaluation import formatting, metrics  # scikit-learn takes a second: only where it is needed

        scores = metrics.score(images.targets, images.probabilities, space, thresholds, images.patients)
        print(f"\n{formatting.table({'images': scores}, space)}")


def tell_unreadable(reasons: dict[str, str], out: Path) -> None:
    """Names the images that could not be read, and lists them all in OUT.unreadable.csv."""
    listed = out.with_name(f"{out.stem}.unreadable.csv")
    if not reasons:
        listed.unlink(missing_ok=True)
        return
    write_table({"id": [*reasons], "reason": [*reasons.values()]}, listed, "list of unreadable images")
    some = ", ".join(list(reasons)[:EXAMPLES])
    print(
        f"warning: {len(reasons)} images could not be read and are left out, e.g. {some}; all of them are in {listed}",
        flush=True,
    )


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256((folder / DESCRIPTION).read_bytes())
    with (folder / WEIGHTS).open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()[:16]
