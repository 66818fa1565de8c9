"""A training job on this machine, from a recipe to what it leaves behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from thorax.errors import ThoraxError
from thorax.job import CHANNELS
from thorax_launch.local.job_directory import JobDirectory
from thorax_launch.local.toolkit import INTERRUPTED, Toolkit, last_words
from thorax_launch.names import dated
from thorax_launch.paths import SOURCE_DIR
from thorax_launch.recipe import Recipe

PROGRAM = "train_model.py"


def train(
    recipe: Recipe,
    *,
    runs: Path,
    job_name: str | None = None,
    channels: Mapping[str, Path] | None = None,
    settings: Iterable[str] = (),
    processes: int = 1,
    resume_command: str = "the same command with --job-name {name}",
    source_dir: Path = SOURCE_DIR,
    program: str = PROGRAM,
) -> int:
    """Trains the recipe in the folder runs/job_name and says where everything is.

    A job of that name which was stopped goes on from its checkpoint.

    Args:
        recipe: what to train.
        runs: folder of all local jobs.
        job_name: default: the recipe's name and the time.
        channels: name -> folder (or file); without `train` the recipe's synthetic images are drawn.
        settings: `key=value` texts put over the recipe's hyperparameters.
        processes: how many train together, under torchrun.
        resume_command: how to go on, told when the run is stopped; {name} is the job's.
        source_dir: code to run; tests have their own.
        program: file in it.

    Returns:
        0, or `INTERRUPTED`.

    Raises:
        ThoraxError: wrong input, or the run failed; the message is the run's own.
    """
    if processes < 1:
        raise ThoraxError(f"--processes {processes} must be 1 or more")
    hyperparameters = recipe.with_overrides(settings)
    name = job_name or dated(recipe.name)
    job = JobDirectory.named(runs, name)
    channels = dict(channels or {})
    if "train" not in channels:
        channels |= synthetic(recipe, runs, channels)
    resumed = job.exists
    job.lay_out(hyperparameters, channels, source_dir=source_dir, program=program, processes=processes)
    print(f"job {name} {'goes on' if resumed else 'starts'} in {relative(job.base)}", flush=True)
    began = time.time()
    code = Toolkit(job, program).run()
    if code == INTERRUPTED:
        job.failure.unlink(missing_ok=True)  # the toolkit calls it a failure
    elif code or job.failure.exists():  # it also takes some failures of gloo for a success
        print(f"log      {relative(job.log)}")
        raise ThoraxError(last_words(job))
    elif any(path.stat().st_mtime >= began for path in job.bundle.rglob("*")):
        print(f"job {name} is done in {(time.time() - began) / 60:.1f} min")
        for what, path in results(job).items():
            print(f"{what:8} {relative(path)}")
        return code
    print(f"job {name} is stopped; to go on: {resume_command.format(name=name)}")
    return code


def results(job: JobDirectory) -> dict[str, Path]:
    """What a good run left, by name; only what is there."""
    left = {
        "bundle": job.bundle,
        "report": job.data / "report.html",
        "metrics": job.data / "metrics.json",
        "log": job.log,
    }
    return {what: path for what, path in left.items() if path.is_file() or (path.is_dir() and any(path.iterdir()))}


def synthetic(recipe: Recipe, runs: Path, given: Mapping[str, Path]) -> dict[str, Path]:
    """The channels of the recipe's synthetic image set, drawn on first use.

    Raises:
        ThoraxError: the recipe has none, or another channel was given with them.
    """
    if given and set(given) != {"weights"}:
        flags = ", ".join(f"--{name}" for name in sorted(given) if name != "weights")
        raise ThoraxError(f"{flags} without --train: give the training images too, --train DIR")
    if recipe.images is None:
        raise ThoraxError(f"recipe {recipe.name} has no synthetic images; give --train DIR")
    from thorax_launch.synthetic.radiographs import write_folders, write_table
    from thorax_launch.synthetic.scenes import write_records, write_scenes

    root = runs.absolute() / "images" / recipe.images
    print(f"no --train: synthetic images in {relative(root)}", flush=True)
    writers: dict[str, Callable[[Path], object]] = {
        "folders": write_folders,
        "table": write_table,
        "records": write_records,
        "scenes": write_scenes,
    }
    writers[recipe.images](root)
    return {name: root / name for name in CHANNELS if (root / name).is_dir()}


def relative(path: Path) -> str:
    """The path as a person in the current folder would type it."""
    near = os.path.relpath(path)
    return near if not near.startswith("..") else str(path)
