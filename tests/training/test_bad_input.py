"""Every mistake gets one line, exit code 1, output/failure, and leaves nothing half done."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

import train_model
from conftest import ROOT, TINY, clean_environment, command, options, run, write_images
from thorax import models
from thorax.data.decoders import kinds
from thorax.data.loading import reading
from thorax.errors import ThoraxError
from thorax.models.cnn5 import FiveLayerCNN
from thorax_launch.synthetic.radiographs import write_folders
from thorax_launch.synthetic.scenes import write_records, write_scenes
from warm_python import PYTHON

pytestmark = pytest.mark.usefixtures("signals_as_before")


@pytest.fixture
def own(images: Path, tmp_path: Path) -> Path:
    """A copy of the images that the test may spoil."""
    shutil.copytree(images, tmp_path / "images")
    return tmp_path / "images"


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str]) -> str:
    """Runs the trainer, which must refuse; returns its one line."""
    out = tmp_path / "model"
    assert train_model.main([*words, "--model-dir", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert (tmp_path / "model-job/output/failure").read_text() == error.removeprefix("error: ")
    assert not (out / "bundle.json").exists()
    assert not list(tmp_path.rglob("*.partial"))
    return error


def trainer(train: Path | str, **settings: str) -> list[str]:
    return ["--train", str(train), *options({**TINY, "epochs": "1", **settings})]


def test_missing_channel(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "channel train is missing; give --train DIR" in refused(capsys, tmp_path, options(TINY))


def test_channel_that_does_not_exist(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "/nowhere/images does not exist; check --train" in refused(capsys, tmp_path, trainer("/nowhere/images"))


def test_empty_channel(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert f"channel train: {tmp_path / 'empty'} is empty" in refused(capsys, tmp_path, trainer(tmp_path / "empty"))


def test_one_class(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_images(tmp_path / "one", 3, seed=1, classes=["NORMAL"])
    assert "has one class folder only (NORMAL)" in refused(capsys, tmp_path, trainer(tmp_path / "one"))


def test_empty_class(capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path) -> None:
    (own / "train/TUBERCULOSIS").mkdir()
    assert f"TUBERCULOSIS has no images ({kinds()})" in refused(capsys, tmp_path, trainer(own / "train"))


def test_zero_byte_image(capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path) -> None:
    image = next((own / "train/NORMAL").iterdir())
    image.write_bytes(b"")
    error = refused(capsys, tmp_path, trainer(own / "train"))
    assert f"{image} cannot be read: the file is empty (0 bytes)" in error
    assert "skip_corrupt=true" in error


def cut_short(image: Path) -> Path:
    """A JPEG whose header is right and whose end is missing, in place of the image."""
    whole = image.with_suffix(".jpeg")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)).save(whole)
    image.unlink()
    whole.write_bytes(whole.read_bytes()[:9000])
    return whole


def test_image_that_is_cut_short_is_named_when_it_is_read(
    capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path
) -> None:
    image = cut_short(next((own / "train/NORMAL").iterdir()))
    assert f"{image} cannot be read" in refused(capsys, tmp_path, trainer(own / "train"))


def test_corrupt_images_are_skipped_and_counted_where_the_user_says_so(
    capsys: pytest.CaptureFixture[str], own: Path, tmp_path: Path
) -> None:
    first, second, *_ = sorted((own / "train/NORMAL").iterdir())
    first.write_bytes(b"not an image")
    second = cut_short(second)
    words = command(own, tmp_path / "model", skip_corrupt="true", epochs="1")[2:]
    assert train_model.main(words) == 0
    told = capsys.readouterr().out
    assert "train: 1 image left out (skip_corrupt=true)" in told
    assert "1 image could not be read and was left out (skip_corrupt=true)" in told
    assert second.name in told


def test_of_several_processes_the_one_that_fails_speaks(own: Path, tmp_path: Path) -> None:
    image = cut_short(next((own / "train/NORMAL").iterdir()))
    words = command(own, tmp_path / "model", network="resnet18", batch_size="8", epochs="3")
    launcher = [
        PYTHON,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--local-addr",
        "127.0.0.1",
        "--nproc-per-node",
        "2",
    ]
    done = run([*launcher, *words[1:]])
    assert done.returncode == 1
    reason = (tmp_path / "model-job/output/failure").read_text()
    assert image.name in reason
    assert reason.strip() in done.stderr
    assert done.stderr.count("Traceback (most recent call last)") <= 1  # torchrun's own
    assert "gloo" not in done.stderr


def test_image_smaller_than_the_crop(capsys: pytest.CaptureFixture[str], images: Path, tmp_path: Path) -> None:
    error = refused(capsys, tmp_path, trainer(images / "train", image_shape="1,64,64", augmentation_type="crop"))
    assert "has 40x40 pixels, less than the crop of 64x64; set resize=64 or more" in error


def test_wrong_label_count(capsys: pytest.CaptureFixture[str], images: Path, tmp_path: Path) -> None:
    assert "num_classes=5 but the train channel has 2: NORMAL, PNEUMONIA" in refused(
        capsys, tmp_path, trainer(images / "train", num_classes="5")
    )


def test_table_row_of_another_length(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t/images.csv").write_text("path,Mass,Edema\na.png,1\n")
    assert "images.csv line 2 has 2 values, the header has 3" in refused(capsys, tmp_path, trainer(tmp_path / "t"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"learning_rte": "0.1"}, "unknown hyperparameter learning_rte; did you mean learning_rate?"),
        ({"epochs": "many"}, "epochs='many' is not a whole number"),
        ({"use_weighted_loss": "maybe"}, "use_weighted_loss='maybe' is not a boolean"),
        ({"lr": "0.1", "learning_rate": "0.2"}, "lr=0.1 and learning_rate=0.2"),
        ({"precision_dtype": "float16"}, "precision_dtype=float16 needs a GPU"),
        ({"multi_label": "false", "labels": "A"}, "labels=A with multi_label=false"),
    ],
)
def test_hyperparameters(
    capsys: pytest.CaptureFixture[str], images: Path, tmp_path: Path, settings: dict[str, str], expected: str
) -> None:
    if "precision_dtype" in settings and torch.cuda.is_available():
        pytest.skip("this machine has a GPU, where float16 is right")
    assert expected in refused(capsys, tmp_path, trainer(images / "train", **settings))


def test_weights_that_are_none_and_weights_of_another_network(
    capsys: pytest.CaptureFixture[str], images: Path, tmp_path: Path
) -> None:
    (tmp_path / "w.pt").write_bytes(b"no weights")
    assert "is not a state_dict" in refused(capsys, tmp_path, trainer(images / "train", weights=str(tmp_path / "w.pt")))
    torch.save(models.build("resnet18", 1, 1).state_dict(), tmp_path / "r.pt")
    assert "does not fit the network" in refused(
        capsys, tmp_path, trainer(images / "train", weights=str(tmp_path / "r.pt"))
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "its 0 bytes begin with b''"),
        (b"no weights", "its 10 bytes begin with b'no weights'"),
        (b"version https://git-lfs.github.com/spec/v1", "its 42 bytes begin with b'version https://git-lfs.github'"),
        (FiveLayerCNN(1, 1, 0.0), "it holds more than tensors, a thorax.models.cnn5.FiveLayerCNN"),
    ],
)
def test_a_file_without_weights_is_told_by_what_it_holds(tmp_path: Path, content: object, expected: str) -> None:
    file = tmp_path / "w.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(ThoraxError) as caught:
        models.load_weights(FiveLayerCNN(1, 1, 0.0), file)
    assert (
        str(caught.value)
        == f"weights={file} is not a state_dict that torch.load(weights_only=True) reads: {expected}; give one that"
        " torch.save(net.state_dict(), FILE) wrote"
    )


def test_pretrained_without_weights(capsys: pytest.CaptureFixture[str], images: Path, tmp_path: Path) -> None:
    error = refused(capsys, tmp_path, trainer(images / "train", network="resnet18", use_pretrained_model="1"))
    assert "use_pretrained_model=true but there are no weights" in error


def test_a_patient_in_two_parts(capsys: pytest.CaptureFixture[str], images: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        folder = tmp_path / "tables" / part
        shutil.copytree(images / part, folder / "images")
        with (folder / "images.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "labels", "patient"])
            for k, image in enumerate(sorted((folder / "images").rglob("*.png"))):
                writer.writerow(
                    [image.relative_to(folder), image.parent.name, f"P{k}" if part == "train" else f"P{k + 14}"]
                )
    error = refused(capsys, tmp_path, [*trainer(tmp_path / "tables/train"), "--test", str(tmp_path / "tables/test")])
    assert "patients are in both" in error
    assert "P1" in error


def test_loss_that_is_not_finite(capsys: pytest.CaptureFixture[str], images: Path, tmp_path: Path) -> None:
    net = models.build("cnn5", 1, 1)
    with torch.no_grad():
        next(net.parameters()).fill_(float("nan"))
    torch.save(net.state_dict(), tmp_path / "nan.pt")
    error = refused(capsys, tmp_path, trainer(images / "train", weights=str(tmp_path / "nan.pt")))
    assert "the loss is nan at epoch 1 step 1, learning_rate=0.00100000" in error
    assert not list((tmp_path / "model-job/checkpoints").iterdir())


def test_model_directory_that_cannot_be_made(capsys: pytest.CaptureFixture[str], images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert train_model.main([*trainer(images / "train"), "--model-dir", str(tmp_path / "file/model")]) == 1
    assert "--model-dir" in (error := capsys.readouterr().err)
    assert "cannot be written" in error


def started(words: list[str]) -> subprocess.Popen[str]:
    words = [sys.executable, *words[1:]]  # what is looked at is the process itself
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())


def test_reading_workers_that_are_killed(images: Path, tmp_path: Path) -> None:
    process = started(command(images, tmp_path / "model", num_workers="1", epochs="1000"))
    trainer, deadline = psutil.Process(process.pid), time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        for worker in trainer.children() if trainer.is_running() else []:
            worker.kill()
        time.sleep(0.01)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error.startswith("error: a process that reads images ended: DataLoader worker")
    assert "lower num_workers, or free memory" in error
    assert (tmp_path / "model-job/output/failure").read_text() == error.removeprefix("error: ")
    assert len(error.splitlines()) == 1


def test_only_the_death_of_a_reading_worker_is_told_so() -> None:
    killed = "DataLoader worker (pid 7) is killed by signal: Killed. "
    with (
        pytest.raises(
            ThoraxError,
            match=r"a process that reads images ended: DataLoader worker \(pid 7\) is killed by signal: Killed; ",
        ),
        reading(),
    ):
        raise RuntimeError(killed)
    with pytest.raises(RuntimeError, match="another"), reading():
        raise RuntimeError("another")


def test_ctrl_c_before_training(images: Path, tmp_path: Path) -> None:
    process = started(command(images, tmp_path / "model"))
    maps, deadline = Path(f"/proc/{process.pid}/maps"), time.monotonic() + 60
    while "libtorch" not in maps.read_text() and time.monotonic() < deadline:  # torch is being imported
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "stopped by Ctrl-C before training began\n")
    assert process.returncode == 130


@pytest.mark.parametrize("write", [write_folders, write_records, write_scenes])
@pytest.mark.parametrize("place", ["file/below/set", "/proc/xx/set"])
def test_synthetic_images_that_cannot_be_written(tmp_path: Path, write: Callable[[Path], object], place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ThoraxError,
        match=r"synthetic images: .* cannot be written: .*; free some space or name another folder \(--runs DIR\)",
    ):
        write(tmp_path / place)


def may_mount() -> bool:
    probe = ["unshare", "-r", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True).returncode == 0


needs_mount = pytest.mark.skipif(not may_mount(), reason="unshare may not mount here")


def in_mount(folder: Path, mount: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a script of Python in a mount namespace of its own, with a tmpfs of those options on `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    script = f'mount -t tmpfs -o {mount} tmpfs "{folder}" && "$@"; code=$?; ls -A "{folder}"; exit $code'
    return subprocess.run(
        ["unshare", "-r", "-m", "bash", "-c", script, "sh", sys.executable, *words[1:]],
        capture_output=True,
        text=True,
        env=clean_environment(),
    )


@needs_mount
@pytest.mark.parametrize("where", ["model-job/checkpoints", "model"])
def test_full_disk_while_saving(images: Path, tmp_path: Path, where: str) -> None:
    done = in_mount(tmp_path / where, "size=20m", command(images, tmp_path / "model", epochs="1"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    assert "free some space" in done.stderr
    assert not [line for line in done.stdout.splitlines() if "partial" in line or line == "bundle.json"]


@needs_mount
@pytest.mark.parametrize("recipe", ["demo", "pneumonia-builtin", "coco-multilabel"])
def test_full_disk_while_synthetic_images_are_drawn(tmp_path: Path, recipe: str) -> None:
    done = in_mount(
        tmp_path / "runs",
        "size=200k",
        [sys.executable, str(ROOT / "launch/train.py"), recipe, "--local", "--runs", str(tmp_path / "runs")],
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: synthetic images: ")
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


@needs_mount
def test_read_only_model_directory(images: Path, tmp_path: Path) -> None:
    done = in_mount(tmp_path / "model", "ro", command(images, tmp_path / "model"))
    assert done.returncode == 1
    assert f"--model-dir {tmp_path / 'model'} cannot be written: Read-only file system" in done.stderr
    assert "epoch" not in done.stdout, "it must be found before training"
