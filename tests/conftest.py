"""Small images and the trainer's command line, for all tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from warm_python import PYTHON, warm_python

# A run has hundreds of processes: what is compiled is kept for the next, whatever the machine's own wish.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

settings.register_profile("no-deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no-deadline")

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "source_dir" / "train_model.py"
#: The smallest settings that still train: seconds on one core.
TINY = {
    "network": "cnn5",
    "image_shape": "1,32,32",
    "epochs": "2",
    "batch_size": "8",
    "precision_dtype": "float32",
    "threads": "1",
    "num_workers": "0",
    "bootstrap_samples": "20",
    "warmup_epochs": "0",
    "seed": "3",
}


_run = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    """One `python` with torch for all workers of a run."""
    place = Path(PYTHON).parent.parent
    if not hasattr(config, "workerinput") and not place.exists():  # a run in a run, and the plain one, are there
        place.mkdir()
        _run.callback(shutil.rmtree, place)
        _run.enter_context(warm_python(place, at_once=bool(config.getoption("numprocesses", None))))  # many tests


def pytest_unconfigure(config: pytest.Config) -> None:
    _run.close()


def write_images(folder: Path, count: int, seed: int, classes: Sequence[str] = ("NORMAL", "PNEUMONIA")) -> None:
    """`count` grey PNGs of 40x40 pixels per class; a class shows by where a bright square lies."""
    rng = np.random.default_rng(seed)
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = rng.normal(90, 25, (40, 40))
            pixels[6 + 14 * k : 18 + 14 * k, 10:26] += 60
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{seed}{name}{i}_{i}.png")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests measure is remembered for the tests, not for the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ (24 images of each of two classes) and test/ (8 of each); tests must not change it."""
    root = tmp_path_factory.mktemp("images")
    write_images(root / "train", 24, seed=1)
    write_images(root / "test", 8, seed=2)
    return root


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What servers measure is kept for this session alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THORAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def signals_as_before() -> Iterator[None]:
    """For tests that run the trainer in this process: it answers signals, and nobody takes that back."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def options(settings: dict[str, str]) -> list[str]:
    """As command-line words: --name value."""
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def command(images: Path, out: Path, **settings: str) -> list[str]:
    """The plain start: python train_model.py ... with the TINY settings, changed by `settings`; see warm_python."""
    paths = {"train": str(images / "train"), "test": str(images / "test"), "model-dir": str(out)}
    return [PYTHON, str(SCRIPT), *options({**paths, **TINY, **settings})]


def run(words: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a process to its end with one thread and no leftovers of this process's SageMaker variables."""
    return subprocess.run(words, capture_output=True, text=True, timeout=240, env=clean_environment(**environment))


def clean_environment(**more: str) -> dict[str, str]:
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("SM_", "SAGEMAKER_")) and k not in ("RANK", "WORLD_SIZE")
    }
    return {**kept, "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of public image sets: THORAX_REALDATA, or beside the project."""
    folder = Path(os.environ.get("THORAX_REALDATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"there are no real images in {folder}; name their folder by THORAX_REALDATA")
    return folder
