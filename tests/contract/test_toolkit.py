"""train_model.py under the real SageMaker training toolkit: the one we install, and the one in AWS's current image."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contract.tiny import SETTINGS, SOURCE_DIR, assert_same_training, result, run_plain, write_images
from thorax_launch.local.job_directory import JobDirectory
from thorax_launch.local.toolkit import Toolkit
from warm_python import PYTHON

OLD = "5.1.1"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def plain(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `python source_dir/train_model.py` comes to."""
    return run_plain(images, tmp_path_factory.mktemp("plain"), SETTINGS)


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toolkit's interpreter, and the trainer's, is one that starts at once."""
    monkeypatch.setattr(sys, "executable", PYTHON)
    monkeypatch.setenv("PIP_NO_DEPS", "1")  # the toolkit's pip: a second instead of three


@pytest.fixture(params=["5.1.4", OLD])
def toolkit(request: pytest.FixtureRequest, warm: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """The version of sagemaker-training that the test's jobs start with."""
    if request.param == OLD:
        monkeypatch.setenv("PYTHONPATH", str(old_toolkit()))
    return str(request.param)


def old_toolkit() -> Path:
    """A folder with sagemaker-training 5.1.1 alone, fetched once into the environment's folder."""
    folder = Path(sys.prefix) / f"toolkit-{OLD}"
    if not (folder / "sagemaker_training" / "trainer.py").is_file():
        command = [
            str(Path(sys.prefix) / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(folder),
            f"sagemaker-training=={OLD}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        if done.returncode:
            pytest.skip(f"pip cannot get sagemaker-training {OLD}: {done.stderr.strip().splitlines()[-1]}")
    return folder


def run(job: JobDirectory) -> int:
    """The exit status; the log goes to stdout."""
    toolkit = Toolkit(job, "train_model.py")
    toolkit.start()
    for line in toolkit.lines():
        print(line)
    return toolkit.wait()


def start(job: JobDirectory, images: Path, hyperparameters: dict[str, Any], processes: int = 1) -> int:
    """Runs a job whose hyperparameters.json holds what the SDKs write: every value as JSON."""
    job.lay_out(
        {},
        {"train": images / "train", "test": images / "test"},
        source_dir=SOURCE_DIR,
        program="train_model.py",
        processes=processes,
    )
    file = job.config / "hyperparameters.json"
    file.write_text(
        json.dumps(json.loads(file.read_text()) | {key: json.dumps(value) for key, value in hyperparameters.items()})
    )
    return run(job)


def test_same_result_in_the_toolkits_dialect(toolkit: str, images: Path, plain: dict[str, Any], tmp_path: Path) -> None:
    """True, False, None, a list, numbers, a hyphen in a key: as an estimator or a tuner sends them."""
    typed = {
        **SETTINGS,
        "epochs": 2,
        "learning_rate": 0.001,
        "seed": 3,
        "use_weighted_loss": True,
        "early_stopping": False,
        "num_classes": None,
        "image_shape": [1, 64, 64],
        "labels": ["NORMAL", "PNEUMONIA"],
        "_tuning_objective_metric": "validation:auc",
    }
    typed["batch-size"] = int(typed.pop("batch_size"))
    job = JobDirectory.named(tmp_path, "typed")
    assert start(job, images, typed) == 0
    found = result(job.bundle, job.data)
    assert found["configuration"] == plain["configuration"] | {"labels": ["NORMAL", "PNEUMONIA"]}
    assert found["metrics"] == plain["metrics"]
    assert found["weights"] == plain["weights"]
    assert (job.base / "output" / "success").exists()
    assert not job.failure.exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochz": 3}, "unknown hyperparameter epochz; did you mean epochs?"),
        ({"k": 3}, "unknown hyperparameter k"),
        ({"epochs": "many"}, "epochs="),
    ],
)
def test_a_users_mistake_is_the_failure_that_sagemaker_shows(
    wrong: dict[str, Any], message: str, toolkit: str, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = JobDirectory.named(tmp_path, "wrong")
    assert start(job, images, wrong) == 1
    assert job.failure.read_text().startswith(message)
    assert job.failure.read_text().count("\n") == 1
    assert f"error: {message}" in capfd.readouterr().out
    assert not list(job.bundle.iterdir())


@pytest.mark.parametrize("toolkit", ["5.1.4"], indirect=True)
def test_two_processes_come_to_the_same(toolkit: str, images: Path, plain: dict[str, Any], tmp_path: Path) -> None:
    job = JobDirectory.named(tmp_path, "two")
    assert start(job, images, dict(SETTINGS), processes=2) == 0
    assert_same_training(result(job.bundle, job.data), plain)


@pytest.mark.parametrize(
    ("name", "text", "message"), [("batch_size", "7", "batch_size=7 "), ("labels", "a,b,c", "labels=")]
)
def test_a_mistake_of_two_processes_is_one_message(
    images: Path, warm: None, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, text: str, message: str
) -> None:
    job = JobDirectory.named(tmp_path, "wrong-two")
    assert start(job, images, SETTINGS | {name: text}, processes=2) == 1
    assert job.failure.read_text().startswith(message)
    assert capfd.readouterr().out.count(f"error: {message}") == 1


def test_the_old_toolkit_is_the_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above prove nothing about 5.1.1: it starts the script through a shell, 5.1.4 does not."""
    monkeypatch.setenv("PYTHONPATH", str(old_toolkit()))
    source = tmp_path / "source"
    source.mkdir()
    (source / "train_model.py").write_text(
        "import os, psutil\nopen('parent', 'w').write(psutil.Process(os.getppid()).cmdline()[0])\n"
    )
    job = JobDirectory.named(tmp_path, "old")
    job.lay_out({}, {}, source_dir=source, program="train_model.py")
    assert run(job) == 0
    assert (job.base / "code" / "parent").read_text() == "/bin/sh"
