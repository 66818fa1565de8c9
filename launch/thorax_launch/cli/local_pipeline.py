"""The pipeline's steps on this machine, one after the other; the registry is a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from thorax.config import TrainingConfig
from thorax.config.pretrained import check_weights_given
from thorax.errors import ThoraxError
from thorax_launch import local, steps
from thorax_launch.cli import evaluate, prepare
from thorax_launch.cli.local_jobs import run_job
from thorax_launch.local.job_directory import NAME, JobDirectory
from thorax_launch.names import dated
from thorax_launch.paths import relative
from thorax_launch.recipe import Recipe


def run(
    recipe: Recipe,
    channels: dict[str, Path],
    *,
    hyperparameters: Mapping[str, object],
    runs: Path,
    group: str,
    name: str = "",
    processes: int = 1,
) -> int:
    """Prepare, train, evaluate, register-if-better.

    Args:
        recipe: what to train.
        channels: name -> folder; train and test must be among them.
        hyperparameters: put over the recipe's.
        runs: folder of all local jobs; the registry is runs/registry/GROUP/001, 002 ...
        group: of the registry.
        name: of the job; one that was stopped goes on.
        processes: that train together.

    Returns:
        0 (registered, or not better), or 130 where training was stopped.

    Raises:
        ThoraxError: wrong input, the images have errors, or a step failed.
    """
    merged = recipe.merged(hyperparameters)
    check_weights_given(TrainingConfig.parse(merged), channels)
    if missing := [part for part in ("train", "test") if part not in channels]:
        raise ThoraxError(f"--{missing[0]} is missing: a pipeline has training images, and test images to compare on")
    if not NAME.fullmatch(group):
        raise ThoraxError(
            f"--group {group} must be 1 to 63 letters, digits and hyphens, no hyphen first or last, as SageMaker asks"
        )
    name = name or dated(recipe.name)
    JobDirectory.named(runs, name)
    print("-- Prepare", flush=True)
    if prepare.main(steps.check(merged, channels)):
        raise ThoraxError("the images have errors, see above; nothing was trained")
    print("-- Train", flush=True)
    if code := train(recipe, channels, hyperparameters=hyperparameters, runs=runs, job_name=name, processes=processes):
        return code
    print("-- Evaluate", flush=True)
    bundle, scores = runs / name / "model", runs / name / "output" / "scores.json"
    if evaluate.main([*steps.evaluate(merged, bundle, channels), "--json", str(scores)]):
        raise ThoraxError("the bundle could not be evaluated, see above")
    print("-- Register", flush=True)
    registry = runs / "registry" / group
    auc, (best, holder) = auc_of(scores), best_so_far(registry)
    compared = f"test AUC {auc:.6f} is {'above' if auc > best else 'not above'} {best:.6f} ({holder})"
    print(
        f"registered: {compared}: {relative(register(registry, bundle, scores))}"
        if auc > best
        else f"not registered: {compared}"
    )
    return 0


def train(recipe: Recipe, channels: Mapping[str, Path], **job: object) -> int:
    """Trains on the terminal; `job` as for local.train. 0, or 130 where it was stopped."""
    started = local.train(recipe, channels, **job)  # type: ignore[arg-type]
    return run_job(started, f"the same command with --job-name {started.name}")


def auc_of(scores: Path) -> float:
    """Macro AUC in a file of `thorax evaluate --json`.

    Raises:
        ThoraxError: it has none (a test part with one class alone).
    """
    try:
        stored = json.loads(scores.read_text(encoding="utf-8"))
        found = stored["scores"][stored["headline"]]["macro"]["auc"]["value"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ThoraxError(
            f"{scores} holds no scores of `thorax evaluate --json`: {error!r}; remove its folder"
        ) from None
    if found is None:
        raise ThoraxError("the test images give no AUC: they must have images with and without a finding")
    return float(found)


def best_so_far(registry: Path) -> tuple[float, str]:
    """(the highest AUC in the registry, its entry); (0.5, "chance") where it is empty."""
    entries = sorted(registry.glob("[0-9][0-9][0-9]/scores.json"))
    return max([(auc_of(file), file.parent.name) for file in entries], default=(0.5, "chance"))


def register(registry: Path, bundle: Path, scores: Path) -> Path:
    """Copies a bundle and its scores under the next number, whole or not at all."""
    number = max([int(path.name) for path in registry.glob("[0-9][0-9][0-9]")], default=0) + 1
    folder, partial = registry / f"{number:03d}", registry / f"{number:03d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(bundle, partial / "model")
    shutil.copyfile(scores, partial / "scores.json")
    partial.rename(folder)
    return folder
