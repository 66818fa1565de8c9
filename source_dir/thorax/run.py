"""One run from channels to bundle: reads the parts, builds the trainer, fits, scores, saves."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thorax import models
from thorax.config import TrainingConfig
from thorax.config.fields import about
from thorax.config.validate import check_machine
from thorax.data.images import Preprocessing
from thorax.data.loading import mean_std
from thorax.data.out_of_distribution import typical_images
from thorax.data.parts import preprocessing, read_parts
from thorax.data.samples import SampleSet
from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax.job import Job
from thorax.serving.bundle import check_folder, write_bundle
from thorax.tables import write_table
from thorax.tracking.history import write_history
from thorax.tracking.metric_log import METRICS, line, objective_key
from thorax.tracking.observers import Observer
from thorax.tracking.progress import say
from thorax.training import distributed, memory
from thorax.training.checkpoints import Checkpoints
from thorax.training.losses import class_weights
from thorax.training.precision import resolve
from thorax.training.stopping import Stop
from thorax.training.trainer import Trainer


class Run:
    """See the module. All processes of a run walk through it together; the main one alone speaks and writes."""

    def __init__(self, job: Job, config: TrainingConfig, device: torch.device) -> None:
        self.job, self.config, self.device = job, config, device
        self.started = time.monotonic()
        self.outcome = "failed"
        self.observer: Observer | None = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        if self.observer is not None:
            self.observer.close(self.outcome)

    def say(self, text: str) -> None:
        if self.job.process.is_main:
            say(text)

    # -- Build -----------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Everything that can be refused is refused here, before an hour is spent."""
        job, config, process = self.job, self.config, self.job.process
        check_machine(
            config, device=self.device.type, processes=process.world_size, processes_here=process.local_world_size
        )
        precision = resolve(config.precision_dtype, self.device)
        job.channel("train")
        weights_file = self._weights_file()
        self.stop = Stop().listen()
        job.prepare()
        check_folder(job.model_dir)
        threads, workers = _threads_and_workers(config, job, self.device)
        torch.set_num_threads(threads)
        torch.manual_seed(config.seed)
        self.say(f"configuration: {json.dumps(config.to_dict())}")
        self.say(
            f"machine: {process.world_size} process(es) on {len(job.hosts)} host(s), {self.device.type}, {precision}, "
            f"{threads} thread(s), {workers} reading worker(s), torch {torch.__version__}"
        )
        self.parts = read_parts(job, config, self.say)
        self.preprocessing = self._measured(preprocessing(config), workers)
        if config.use_weighted_loss:
            weights = class_weights(self.parts.train, config.max_class_weight)
            self.say("class weights N/N_l: " + ", ".join(f"{name} {w:.3f}" for name, w in weights.items()))
        net = models.build(
            config.network,
            config.channels,
            len(self.parts.space.outputs),
            config.dropout,
            config.activation_checkpointing,
        )
        if weights_file is not None:
            for note in models.load_weights(net, weights_file):
                self.say(f"weights: {note}")
            self.say(f"weights: loaded from {weights_file}")
        identity = {f: v for f, v in config.stored().items() if _affects(f)} | {
            "split": self.parts.split_hash,
            "processes": process.world_size,
            "precision": precision,
        }
        self.trainer = Trainer(
            config,
            process,
            self.parts.train,
            self.parts.validation,
            self.preprocessing,
            Checkpoints(job.checkpoint_dir, identity, self.say),
            net,
            device=self.device,
            precision=precision,
            workers=workers,
            stop=self.stop,
            observer=self._observer(),
        )
        self.facts = {
            "precision": precision,
            "device": self.device.type,
            "processes": str(process.world_size),
            "threads": str(threads),
        }

    def _observer(self) -> Observer | None:
        """Who watches the run; where nobody does, nothing of theirs is imported."""
        c = self.config
        if c.wandb_tracking == "false" and not (c.tensorboard or c.debugging or c.profiler or self.job.mlflow_uri):
            return None
        from thorax.tracking.watching import watch

        self.observer = watch(
            self.job,
            self.say,
            wandb=c.wandb_tracking,
            tensorboard=c.tensorboard,
            debugging=c.debugging,
            debug_save_interval=c.debug_save_interval,
            weighted=c.use_weighted_loss or c.balanced_sampler,
            profiler=c.profiler,
            profiler_schedule=c.profiler_schedule,
            configuration=c.to_dict(),
        )
        return self.observer

    def _measured(self, prepared: Preprocessing, workers: int) -> Preprocessing:
        """The preprocessing with mean and std of the training images, where normalization=dataset asks for them."""
        if prepared.normalization != "dataset":
            return prepared
        work = partial(mean_std, self.parts.train, prepared, workers)
        mean, std = distributed.from_main(work, self.job.process)
        self.say(f"training images: grey mean {mean:.4f}, std {std:.4f}")
        return replace(prepared, mean=mean, std=std)

    def _weights_file(self) -> Path | None:
        """The file to start from: the hyperparameter's, then the channel `weights`, then the channel `model`."""
        given = (
            Path(self.config.weights)
            if self.config.weights
            else self.job.channels.get("weights") or self.job.channels.get("model")
        )
        if given is None:
            if self.config.use_pretrained_model:
                raise ThoraxError(
                    "use_pretrained_model=true but there are no weights: give --weights FILE or a channel named weights"
                    " with a state_dict in torchvision's layout (nothing is downloaded)"
                )
            return None
        return models.find_weights(given)

    # -- Fit and save ----------------------------------------------------------------------------------------------

    def fit(self) -> bool:
        """Trains; False if a signal stopped it."""
        with memory.advise(self.config, self.device):
            done = self.trainer.fit()
        self.outcome = "failed" if done else "stopped"  # it has not been scored and saved yet
        return done

    def save(self, source_dir: Path) -> None:
        """Scores the best epoch, fits calibration and thresholds on validation, and writes metrics, report and bundle."""
        from thorax.evaluation import (
            calibration,
            formatting,
            thresholds,
        )  # scikit-learn takes a second: not before it is needed
        from thorax.evaluation.metrics import score
        from thorax.evaluation.predictions import Predictions, columns

        trainer, space, config = self.trainer, self.parts.space, self.config
        best = trainer.load_best()
        scored = [p for p in (self.parts.validation, self.parts.test) if p is not None]
        with memory.advise(config, self.device):
            logits = {part.part: trainer.logits(part) for part in scored}
            several = (
                config.threshold_views
                if config.augmentation_type != "none" and config.threshold_rule == "balanced"
                else 0
            )
            views = [
                logits["validation"],
                *(trainer.logits(self.parts.validation, view) for view in range(1, several + 1)),
            ]
        self._say_corrupt()
        if not self.job.process.is_main:
            self.outcome = "finished"
            return
        known = self.parts.validation.targets
        temperatures = (
            calibration.fit(known, views[0], space.task)
            if config.calibration == "temperature"
            else np.ones(len(space.outputs))
        )
        rule = thresholds.Rule(config.threshold_rule, config.target_sensitivity, config.cost_ratio)
        chosen = thresholds.choose(known, views, space.task, temperatures, rule)
        images, scores = {}, {}
        for part in scored:
            kept = _without_corrupt(part, logits[part.part])
            p = calibration.probabilities(logits[part.part][kept], space.task, temperatures)
            ids, patients = ([column[i] for i in kept] for column in (part.ids, part.patients))
            images[part.part] = Predictions(ids, patients, part.targets[kept], p)
            scores[part.part] = score(
                part.targets[kept],
                p,
                space,
                chosen,
                images[part.part].patients,
                resamples=config.bootstrap_samples,
                seed=config.seed,
            )
        row = trainer.state.history[best]
        metrics = {
            "objective": METRICS[objective_key(config.objective)],
            "best_epoch": best + 1,
            "epochs": len(trainer.state.history),
            "labels": space.to_dict(),
            "at_best_epoch": row,
            **scores,
        }
        folder = self.job.output_dir
        write_history(trainer.state.history, folder / "history.csv")
        write_whole(json.dumps(metrics, indent=1).encode(), folder / "metrics.json", "metrics")
        write_table(columns(images, space, chosen), folder / "predictions.csv", "predictions")
        self._report(scores, images, kept, chosen, temperatures, str(rule), best)
        typical = typical_images(self.parts.train, self.preprocessing)
        write_bundle(
            self.job.model_dir,
            trainer.evaluated,
            network=config.network,
            dropout=config.dropout,
            space=space,
            preprocessing=self.preprocessing,
            thresholds=dict(zip(space.outputs, map(float, chosen), strict=True)),
            about={
                "configuration": config.stored(),
                "split": {"sha256": self.parts.split_hash, "counts": {p.part: len(p) for p in self.parts.all}},
                "metrics": metrics,
                "calibration": calibration.described(temperatures, space),
                "films": typical and typical.to_dict(),
            },
            split=self.parts.split,
            source_dir=source_dir,
        )
        self.say(formatting.table(scores, space))
        self.say(f"bundle: {self.job.model_dir}")
        self.say(f"report: {folder / 'report.html'}")
        if "test" in scores:
            macro = scores["test"]["macro"]
            told = {
                f"test_{k}": macro[k]["value"] for k in ("auc", "balanced_accuracy") if macro[k]["value"] is not None
            }
            self.say(line("test", told))
        self.say(
            line(
                f"best epoch {best + 1}/{len(trainer.state.history)}",
                {k: v for k, v in row.items() if k.startswith(("train", "validation"))},
            )
        )
        self.outcome = "finished"

    def _report(
        self,
        scores: dict[str, Any],
        images: dict[str, Any],
        kept: list[int],
        chosen: np.ndarray,
        temperatures: np.ndarray,
        rule: str,
        best: int,
    ) -> None:
        """The report, with the worst mistakes of the last part scored (test, else validation), of which the images
        `kept` were read.
        """
        from thorax.evaluation import mistakes
        from thorax.evaluation.report import Report

        shown = images[next(reversed(images))]
        part = self.parts.test or self.parts.validation
        wrong = mistakes.worst(shown.targets, shown.probabilities, chosen, self.parts.space)
        drawn = [
            mistakes.draw(
                m, part.samples[kept[m.image]].source, self.trainer.evaluated, self.preprocessing, self.device
            )
            for m in wrong
        ]
        history = [{**row, "best": k == best} for k, row in enumerate(self.trainer.state.history)]
        minutes = (time.monotonic() - self.started) / 60
        observer = self.trainer.observer
        Report(
            title=f"{self.config.network} on {', '.join(self.parts.space.classes)}",
            labels=self.parts.space,
            scores=scores,
            curves={name: (each.targets, each.probabilities) for name, each in images.items()},
            temperatures=temperatures,
            rule=rule,
            history=[
                {k.removeprefix("validation_") if k != "validation_loss" else k: v for k, v in row.items()}
                for row in history
            ],
            data={
                p.part: {"images": len(p), "patients": len(set(p.patients)), **p.class_counts()} for p in self.parts.all
            },
            facts={
                "Run": {
                    "split sha256": self.parts.split_hash[:16],
                    "torch": torch.__version__,
                    **self.facts,
                    "minutes since the last start": f"{minutes:.1f}",
                    **(observer.facts() if observer else {}),
                },
                "Configuration": {
                    k: json.dumps(v) if not isinstance(v, str) else v for k, v in self.config.to_dict().items()
                },
            },
            mistakes=[(shown.ids[m.image], m) for m in drawn],
            findings=observer.findings() if observer else (),
        ).write(self.job.output_dir)

    def _say_corrupt(self) -> None:
        if self.trainer.corrupt:
            some = ", ".join(sorted(self.trainer.corrupt)[:5])
            self.say(
                f"warning: {len(self.trainer.corrupt)} images could not be read and were left out (skip_corrupt=true),"
                f" e.g. {some}"
            )


def _without_corrupt(part: SampleSet, logits: np.ndarray) -> list[int]:
    kept = np.flatnonzero(~np.isnan(logits).any(axis=1)).tolist()
    if not kept:
        raise ThoraxError(f"no image of {part.part} could be read")
    return kept


def _affects(name: str) -> bool:
    return about(TrainingConfig.__dataclass_fields__[name]).affects_result


def _threads_and_workers(config: TrainingConfig, job: Job, device: torch.device) -> tuple[int, int]:
    """Threads for arithmetic and reading workers of each process, from the CPUs that are really ours."""
    share = max(1, job.cpus // job.process.local_world_size)
    threads = config.threads or share
    if config.num_workers is not None:
        return threads, config.num_workers
    return threads, min(8, max(1, share - 1)) if device.type == "cuda" else max(1, min(4, share // 4))
