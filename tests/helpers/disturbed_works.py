"""The commands that are disturbed: training, packing, a batch, a search; each as small as it can be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import local_search
import train_model
from conftest import TINY, options
from disturbed import Work
from thorax import dataset  # noqa: F401  imported before the forks
from thorax.dataset import __main__ as prepare
from thorax.dataset import commands  # noqa: F401
from thorax_launch.cli import batch, tune
from thorax_launch.local import searches, study
from untrained import untrained

#: Ten steps, with a checkpoint after each.
TRAINING = TINY | {
    "network": "shufflenet_v2_x0_5",
    "batch_size": "8",
    "checkpoint_minutes": "0",
    "ema_decay": "0.9",
    "dropout": "0.3",
    "bootstrap_samples": "5",
}
GRID = """
hyperparameters: {network: cnn5, epochs: 4}
tune:
  max_jobs: 6
  strategy: grid
  ranges:
    lr: {choices: [0.001, 0.01, 0.1]}
    batch_size: {choices: [32, 64]}
"""


def works(images: Path, folder: Path) -> dict[str, Work]:
    """Each command by its name, not yet prepared.

    Args:
        images: with train/ and test/.
        folder: for what they need.
    """
    folder.mkdir(parents=True)
    bundle = untrained(folder / "bundle")
    (folder / "grid.yaml").write_text(GRID)
    kinds: dict[str, tuple[Callable[[Path], int], Callable[[Path], object]]] = {
        "pack shards": (_packing(images / "train", "shards"), _files),
        "pack rec": (_packing(images / "train", "rec"), _files),
        "batch": (_batch(bundle, images / "test"), lambda out: (out / "table.csv").read_bytes()),
        "search": (_search(folder / "grid.yaml", images / "train"), _jobs),
        "train": (_training(images), _trained),
    }
    return {name: Work(name, run, result) for name, (run, result) in kinds.items()}


def _packing(images: Path, to: str) -> Callable[[Path], int]:
    def run(out: Path) -> int:
        return prepare.main(["pack", str(images), str(out / "packed"), "--to", to, "--shard-images", "6"])

    return run


def _files(out: Path) -> object:
    """SHA-256 of every file."""
    return {
        file.relative_to(out): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(out.rglob("*"))
        if file.is_file()
    }


def _batch(bundle: Path, images: Path) -> Callable[[Path], int]:
    def run(out: Path) -> int:
        words = ["--local", str(bundle), "--data", str(images), "--out", str(out / "table.csv"), "--engine", "torch"]
        return batch.main([*words, "--batch", "2", "--workers", "0", "--threads", "1"])

    return run


def _search(recipe: Path, images: Path) -> Callable[[Path], int]:
    def run(out: Path) -> int:
        searches.Toolkit = local_search.FakeToolkit  # type: ignore[misc,assignment]
        local_search.FakeToolkit.log = staticmethod(local_search.good)  # type: ignore[method-assign,assignment]
        words = [str(recipe), "--local", "--train", str(images), "--runs", str(out), "--job-name", "it"]
        return tune.main(words)

    return run


def _jobs(out: Path) -> object:
    """Parameters and value of every job."""
    found = study.study_leaderboard(study.load(out / "it", "it"))
    return sorted((sorted(trial.parameters.items()), trial.status, trial.value) for trial in found.trials)


def _training(images: Path) -> Callable[[Path], int]:
    def run(out: Path) -> int:
        paths = {"train": str(images / "train"), "test": str(images / "test"), "model-dir": str(out / "model")}
        return train_model.main(options({**paths, **TRAINING}))

    return run


def _trained(out: Path) -> object:
    """The weights, and what they answer, bit by bit."""
    tables = sorted(out.rglob("predictions.csv"))
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in (out / "model/model.safetensors", *tables)]
