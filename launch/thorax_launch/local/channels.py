"""The folders that a local job reads: the user's, or the recipe's synthetic images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from thorax.errors import ThoraxError
from thorax.job import CHANNELS
from thorax_launch.local.job_directory import SYNTHETIC
from thorax_launch.paths import relative
from thorax_launch.recipe import Recipe

Paths = Mapping[str, str | Path]


def channels_of(recipe: Recipe, runs: Path, given: Paths) -> dict[str, Path]:
    """The channels of a job: those that are given, and where `train` is not among them the recipe's synthetic images.

    Raises:
        ThoraxError: a folder does not exist; the recipe has no synthetic images, or channels of images were given with
            them.
    """
    channels = {name: Path(path) for name, path in given.items()}
    check_channels(channels)
    return channels if "train" in channels else {**channels, **synthetic(recipe, runs, channels)}


def check_channels(channels: Mapping[str, Path]) -> None:
    """Raises ThoraxError where one of the folders (or files) does not exist."""
    for name, path in channels.items():
        if not path.exists():
            raise ThoraxError(f"--{name} {path} does not exist")


def synthetic(recipe: Recipe, runs: Path, given: Mapping[str, Path]) -> dict[str, Path]:
    """The channels of the recipe's synthetic image set, drawn on first use.

    Raises:
        ThoraxError: the recipe has none, or other channels than weights were given with them.
    """
    if given and set(given) != {"weights"}:
        flags = ", ".join(f"--{name}" for name in sorted(given) if name != "weights")
        raise ThoraxError(f"{flags} without --train: give the training images too, --train DIR")
    if recipe.synthetic is None:
        raise ThoraxError(f"recipe {recipe.name} has no synthetic images; give --train DIR")
    from thorax_launch.synthetic.radiographs import write_folders, write_table
    from thorax_launch.synthetic.scenes import write_records, write_scenes

    root = runs.absolute() / SYNTHETIC / recipe.synthetic
    print(f"no --train: synthetic images in {relative(root)}", flush=True)
    writers: dict[str, Callable[[Path], object]] = {
        "folders": write_folders,
        "table": write_table,
        "records": write_records,
        "scenes": write_scenes,
    }
    writers[recipe.synthetic](root)
    return {name: root / name for name in CHANNELS if (root / name).is_dir()}
