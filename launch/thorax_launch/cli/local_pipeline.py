"""The pipeline's steps on this machine, one after the other; the registry is a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from thorax.errors import ThoraxError
from thorax_launch import steps
from thorax_launch.cli import evaluate, prepare
from thorax_launch.local.job_directory import NAME, JobDirectory
from thorax_launch.local.training import relative, train
from thorax_launch.names import dated
from thorax_launch.recipe import Recipe


def run(
    recipe: Recipe,
    channels: dict[str, Path],
    *,
    runs: Path,
    group: str,
    name: str = "",
    settings: list[str],
    processes: int = 1,
) -> int:
    """Prepare, train, evaluate, register-if-better.

    Args:
        channels: name -> folder; train and test must be among them.
        runs: folder of all local jobs; the registry is runs/registry/GROUP/001, 002 ...
        name: of the job; one that was stopped goes on.
        settings: `key=value` put over the recipe's hyperparameters.
        processes: that train together.

    Returns:
        0 (registered, or not better), or 130 where training was stopped.

    Raises:
        ThoraxError: wrong input, the images have errors, or a step failed.
    """
    hyperparameters = recipe.with_overrides(settings)
    if missing := [part for part in ("train", "test") if part not in channels]:
        raise ThoraxError(f"--{missing[0]} is missing: a pipeline has training images, and test images to compare on")
    if not NAME.fullmatch(group):
        raise ThoraxError(
            f"--group {group} must be 1 to 63 letters, digits and hyphens, no hyphen first or last, as SageMaker asks"
        )
    name = name or dated(recipe.name)
    JobDirectory.named(runs, name)
    print("-- Prepare", flush=True)
    if prepare.main(steps.check(hyperparameters, channels)):
        raise ThoraxError("the images have errors, see above; nothing was trained")
    print("-- Train", flush=True)
    if code := train(recipe, runs=runs, job_name=name, channels=channels, settings=settings, processes=processes):
        return code
    print("-- Evaluate", flush=True)
    bundle, scores = runs / name / "model", runs / name / "output" / "scores.json"
    if evaluate.main([*steps.evaluate(hyperparameters, bundle, channels), "--json", str(scores)]):
        raise ThoraxError("the bundle could not be evaluated, see above")
    print("-- Register", flush=True)
    auc, (best, holder) = auc_of(scores), best_so_far(runs / "registry" / group)
    if auc <= best:
        print(f"not registered: test AUC {auc:.6f} is not above {best:.6f} ({holder})")
        return 0
    print(
        f"registered: test AUC {auc:.6f} is above {best:.6f} ({holder}):"
        f" {relative(register(runs / 'registry' / group, bundle, scores))}"
    )
    return 0


def auc_of(scores: Path) -> float:
    """Macro AUC in a file of launch/evaluate.py --json.

    Raises:
        ThoraxError: it has none (a test part with one class alone).
    """
    stored = json.loads(scores.read_text(encoding="utf-8"))
    found = stored["scores"][stored["headline"]]["macro"]["auc"]["value"]
    if found is None:
        raise ThoraxError("the test images give no AUC: they must have images with and without a finding")
    return float(found)


def best_so_far(registry: Path) -> tuple[float, str]:
    """(the highest AUC in the registry, whose); 0.5 where it is empty."""
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
