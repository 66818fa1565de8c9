"""What comes out of a run: scores, report, bundle, and the log's last lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thorax.config import TrainingConfig
from thorax.console import columns as columns_of_terminal
from thorax.data.held_out import HeldOut
from thorax.data.out_of_distribution import typical_images
from thorax.data.parts import Parts
from thorax.data.samples import SampleSet
from thorax.errors import ThoraxError
from thorax.evaluation import calibration_fit, formatting, mistakes, thresholds
from thorax.evaluation.binning import calibration_errors
from thorax.evaluation.metrics import score as score_part
from thorax.evaluation.population import describe
from thorax.evaluation.predictions import Predictions, columns
from thorax.evaluation.report import Report
from thorax.evaluation.sample_grid import samples_of
from thorax.evaluation.studies import by_study
from thorax.evaluation.studies import title as study_title
from thorax.files import write_whole
from thorax.job import Job
from thorax.serving.bundle_contents import BundleContents
from thorax.serving.bundle_writer import write_bundle
from thorax.tables import write_table
from thorax.tracking.history import training_summary, write_history
from thorax.tracking.metric_log import METRICS, epoch_line, line, objective_key
from thorax.training.losses import prior_shift
from thorax.training.probe import Compute
from thorax.training.trainer import Trainer

#: A picture of training images as the network sees them, in the run's output.
BATCH = "batch.png"


@dataclass(frozen=True)
class TrainingResult:
    """What a run leaves behind. A stopped one has written neither bundle nor report yet.

    Attributes:
        bundle: folder of the bundle, for Classifier.load and Bundle.load.
        report: the report's page.
        metrics: what metrics.json holds: best_epoch, at_best_epoch, and the scores of validation and test.
        history: a row of losses and metrics per epoch.
        stop_reason: SIGTERM, SIGINT or another process, where the run was stopped; it can be resumed.
    """

    bundle: Path
    report: Path
    metrics: dict[str, Any] = field(default_factory=dict)
    history: tuple[dict[str, float], ...] = ()
    stop_reason: str | None = None

    @property
    def stopped(self) -> bool:
        """Whether a signal stopped the run before its end."""
        return self.stop_reason is not None

    @classmethod
    def of(cls, job: Job, **values: Any) -> TrainingResult:
        """The result in a job's folders."""
        return cls(job.model_dir, job.output_dir / "report.html", **values)


@dataclass(frozen=True)
class Outputs:
    """What the best epoch's network puts out.

    Attributes:
        best: that epoch, from 0.
        logits: (N, L) float32 of each scored part; a row of NaN is a corrupt image.
        augmented: (N, L) of each augmented view of the validation images.
    """

    best: int
    logits: Mapping[str, np.ndarray]
    augmented: list[np.ndarray]


@dataclass(frozen=True)
class Scores:
    """Scores of the best epoch, calibrated and cut.

    Attributes:
        best: that epoch, from 0.
        calibrated: the calibration, and how well it holds on held-out patients of validation.
        rule: how the thresholds were chosen.
        thresholds: (L,) calibrated probabilities.
        predictions: by part, of the images that could be read.
        kept: by part, their places in it.
        by_part: result of `metrics.score` of each part.
    """

    best: int
    calibrated: calibration_fit.Chosen
    rule: thresholds.ThresholdRule
    thresholds: np.ndarray
    predictions: dict[str, Predictions]
    kept: dict[str, list[int]]
    by_part: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Facts:
    """What the report says of a run beside its scores: its trainer, and lines about machine and time."""

    trainer: Trainer
    machine: dict[str, str]


def score(config: TrainingConfig, parts: Parts, outputs: Outputs) -> Scores:
    """Fits calibration and thresholds on validation, and scores each part with them.

    Raises:
        ThoraxError: no image of a part could be read.
    """
    space, known, served = parts.space, parts.validation.targets, outputs.logits["validation"]
    prior = prior_shift(config, parts.train)
    measured = calibration_fit.Measured(known, served, space.task, parts.validation.patients, prior)
    calibrated = calibration_fit.choose(config.calibration, measured)
    rule = thresholds.ThresholdRule(config.threshold_rule, config.target_sensitivity, config.cost_ratio)
    chosen = thresholds.choose(known, [served, *outputs.augmented], space.task, calibrated.calibration, rule)
    scores = Scores(outputs.best, calibrated, rule, chosen, {}, {}, {})
    for part in parts.scored:
        logits = outputs.logits[part.part]
        kept = scores.kept[part.part] = _readable(part, logits)
        p = calibrated.calibration.probabilities(logits[kept], space.task)
        ids, patients, studies = ([column[i] for i in kept] for column in (part.ids, part.patients, part.studies))
        images = Predictions(ids, patients, part.targets[kept], p, studies)
        scores.predictions[part.part] = images
        for name, rows in {part.part: images, study_title(part.part, "mean"): by_study(images, space)}.items():
            if rows is not None:
                scores.by_part[name] = score_part(
                    rows.targets,
                    rows.probabilities,
                    space,
                    chosen,
                    rows.patients,
                    resamples=config.bootstrap_samples,
                    unit="image" if rows is images else "study",
                )
    return scores


def held_out_answers(config: TrainingConfig, parts: Parts, outputs: Outputs) -> HeldOut:
    """What a fold leaves for all folds together: the logits of its validation images."""
    assert config.folds is not None and config.fold is not None
    images = parts.validation
    shape = (0, len(images), len(parts.space.outputs))
    return HeldOut(
        space=parts.space,
        ids=images.ids,
        patients=images.patients,
        folds=np.full(len(images), config.fold),
        targets=images.targets,
        logits=outputs.logits["validation"],
        augmented=np.stack(outputs.augmented) if outputs.augmented else np.zeros(shape, np.float32),
        count=config.folds,
        best_epochs={config.fold: outputs.best + 1},
        prior=prior_shift(config, parts.train),
    )


def _readable(part: SampleSet, logits: np.ndarray) -> list[int]:
    kept: list[int] = np.flatnonzero(~np.isnan(logits).any(axis=1)).tolist()
    if not kept:
        raise ThoraxError(f"no image of {part.part} could be read")
    return kept


def write_report(config: TrainingConfig, parts: Parts, scores: Scores, facts: Facts, folder: Path) -> None:
    """The report, with the worst mistakes and the surest right answers of the last part scored (test, else
    validation)."""
    trainer, space, part = facts.trainer, parts.space, parts.scored[-1]
    predicted, kept = scores.predictions[part.part], scores.kept[part.part]

    def drawn(answers: list[mistakes.Mistake]) -> list[tuple[str, mistakes.Mistake]]:
        places = [part.samples[kept[m.image]].source for m in answers]
        net, device = trainer.eval_model, trainer.device
        made = [mistakes.draw(m, s, net, trainer.preprocessing, device) for m, s in zip(answers, places, strict=True)]
        return mistakes.distinct([(predicted.ids[m.image], m) for m in made])

    answered = (predicted.targets, predicted.probabilities, scores.thresholds, space)
    train = parts.train
    observer = trainer.observer
    Report(
        title=f"{config.network} on {', '.join(space.classes)}",
        labels=space,
        scores=scores.by_part,
        curves={name: (p.targets, p.probabilities) for name, p in scores.predictions.items()},
        calibrator=scores.calibrated.calibration,
        held_out=scores.calibrated.described(space),
        rule=str(scores.rule),
        history=[_row(row) | {"best": k == scores.best} for k, row in enumerate(trainer.state.history)],
        data={p.part: {"images": len(p), "patients": len(set(p.patients)), **p.class_counts()} for p in parts.all},
        facts={
            **({"Labels": {str(n + 1): note for n, note in enumerate(parts.label_notes)}} if parts.label_notes else {}),
            "Run": {
                "split sha256": parts.split_hash[:16],
                "torch": torch.__version__,
                **facts.machine,
                **(observer.facts() if observer else {}),
            },
            "Configuration": {k: json.dumps(v) if not isinstance(v, str) else v for k, v in config.to_dict().items()},
        },
        batch=_read(folder / BATCH),
        mistakes=drawn(mistakes.worst(*answered)),
        right=drawn(mistakes.surest(*answered)),
        samples=samples_of(
            space.classes,
            train.class_targets(),
            [sample.source for sample in train.samples],
            train.ids,
            space.task != "multilabel",
        ),
        findings=observer.findings() if observer else (),
    ).write(folder)


def _read(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


def _row(row: Mapping[str, float]) -> dict[str, Any]:
    """A row of the history under the report's names: auc for validation_auc."""
    return {k if k == "validation_loss" else k.removeprefix("validation_"): v for k, v in row.items()}


def save_result(
    job: Job, config: TrainingConfig, parts: Parts, scores: Scores, facts: Facts, source_dir: Path | None
) -> TrainingResult:
    """Writes history, metrics, predictions, report and bundle.

    Raises:
        ThoraxError: the disk is full, or a folder cannot be written.
    """
    trainer, space, folder = facts.trainer, parts.space, job.output_dir
    history = trainer.state.history
    metrics = {
        "objective": METRICS[objective_key(config.objective)],
        "best_epoch": scores.best + 1,
        "epochs": len(history),
        "labels": space.to_dict(),
        "at_best_epoch": history[scores.best] | trainer.swa_row,
        **(
            {"averaged_epochs": [trainer.swa.first + 1, trainer.swa.last + 1]}
            if trainer.swa_row and trainer.swa
            else {}
        ),
        "training": training_summary(history),
        "calibration": scores.calibrated.described(space),
        **scores.by_part,
    }
    write_history(history, folder / "history.csv")
    write_whole(json.dumps(metrics, indent=1).encode(), folder / "metrics.json", "metrics")
    write_table(columns(scores.predictions, space, scores.thresholds), folder / "predictions.csv", "predictions")
    write_report(config, parts, scores, facts, folder)
    typical = typical_images(parts.train, trainer.preprocessing)
    contents = BundleContents(
        network=config.network,
        dropout=config.dropout,
        space=space,
        preprocessing=trainer.preprocessing,
        thresholds=dict(zip(space.outputs, map(float, scores.thresholds), strict=True)),
        configuration=config.stored(),
        split={"sha256": parts.split_hash, "counts": {p.part: len(p) for p in parts.all}}
        | ({"labels": list(parts.label_notes)} if parts.label_notes else {})
        | (_out_of_fold(parts.held_out) if parts.held_out else {}),
        compute=asdict(Compute.of(trainer.hardware)),
        metrics=metrics,
        calibration=scores.calibrated.calibration.to_dict(space),
        typical_images=typical.to_dict() if typical else None,
        training_data=describe(parts.train.targets, space, parts.train.patients, parts.train.attributes),
    )
    write_bundle(job.model_dir, trainer.eval_model, contents, parts.split, source_dir)
    return TrainingResult.of(job, metrics=metrics, history=tuple(history))


def _out_of_fold(held_out: HeldOut) -> dict[str, Any]:
    """What a refit's bundle says of its folds: "validation" in its metrics are their answers too."""
    epochs = [epoch for _, epoch in sorted(held_out.best_epochs.items())]
    of_them = ["thresholds", "calibration", "metrics.validation"]
    return {"out_of_fold": {"folds": held_out.count, "best_epochs": epochs, "of_them": of_them}}


def last_lines(result: TrainingResult, parts: Parts, scores: Scores) -> list[str]:
    """The log's end: the table of scores, where the files are, and the metrics that SageMaker and a tuner read."""
    lines = [
        formatting.table(scores.by_part, parts.space, columns_of_terminal()),
        f"bundle: {result.bundle}",
        f"report: {result.report}",
    ]
    lines[1:1] = calibration_lines(scores, parts)
    if "test" in scores.by_part:
        macro = scores.by_part["test"]["macro"]
        values = {f"test_{k}": macro[k]["value"] for k in ("auc", "balanced_accuracy")}
        lines.append(line("test", {name: value for name, value in values.items() if value is not None}))
    row = {k: v for k, v in result.metrics["at_best_epoch"].items() if k.startswith(("train", "validation"))}
    if parts.held_out is not None:  # the history's are those of training images
        macro = scores.by_part["validation"]["macro"]
        found = {k: macro[k.removeprefix("validation_")] for k in row if k.removeprefix("validation_") in macro}
        row = {k: v for k, v in row.items() if k.startswith("train")}
        row |= {k: entry["value"] for k, entry in found.items() if entry["value"] is not None}
    head = f"best epoch {scores.best + 1}/{len(result.history)}"
    if averaged := result.metrics.get("averaged_epochs"):
        head = f"average of epochs {averaged[0]} to {averaged[1]}"
    return [*lines, epoch_line(head, row, exclusive=parts.space.task == "multiclass")]


def calibration_lines(scores: Scores, parts: Parts) -> list[str]:
    """How probabilities were calibrated, and the mean calibration error before and after: on validation by fits on
    other patients, on test by the fit on validation; a warning where it is larger there than before."""
    chosen, space = scores.calibrated, parts.space
    counts = Counter(chosen.calibration.methods)
    which = ", ".join(m if len(counts) == 1 else f"{m} for {n} label{'s' * (n > 1)}" for m, n in counts.most_common())
    before, after = np.nanmean(np.array(chosen.errors, float), axis=0)
    lines = [f"calibration: {which}; mean error on validation {before:.3f} before, {after:.3f} after (cross-fitted)"]
    if "test" in scores.predictions:
        test = scores.predictions["test"]
        undone = chosen.calibration.undone(test.probabilities, space.task)
        before, after = (np.nanmean(calibration_errors(test.targets, p)) for p in (undone, test.probabilities))
        lines.append(f"calibration: mean error on test {before:.3f} before, {after:.3f} after")
        if after > before:
            lines.append(
                "warning: calibration: the images of test differ from validation: probabilities there lean, though"
                " their ranking stays as it is"
            )
    return lines


def precision_note(precision: str, result: TrainingResult, scores: Scores) -> str:
    """How far the run's precision moved its best epoch's AUC from that of the scores; "" for float32."""
    epoch, scored = (
        result.metrics["at_best_epoch"].get("validation_auc", np.nan),
        scores.by_part["validation"]["macro"]["auc"]["value"],
    )
    if precision == "float32" or scored is None or not np.isfinite(epoch):
        return ""
    return (
        f"note: epochs are scored in {precision}, the table in float32: the AUC on validation is {epoch:.4f} and"
        f" {scored:.4f}, a difference of {abs(epoch - scored):.4f}"
    )
