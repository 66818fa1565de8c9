"""Observed runs: rules tell good, frozen and exploding runs apart; all observers at once; none of them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import train_model
from conftest import SCRIPT, TINY, command, run
from thorax import models
from thorax.config import TrainingConfig
from thorax.data.formats import read_channel
from thorax.data.loading import BatchRequest, ImageDataset
from thorax.data.parts import preprocessing
from thorax.data.samples import label_space, sample_set
from thorax.errors import ThoraxError
from thorax.job import Job
from thorax.tracking.factory import build_observer
from thorax.tracking.health.__main__ import main as judge_folder
from thorax.tracking.health.records import read
from thorax.tracking.observers import STAGES, Observer, Observers
from thorax.tracking.progress import Progress
from thorax.training.checkpoints import Checkpoints
from thorax.training.inputs import Hardware, Monitoring, TrainingData
from thorax.training.loss_log import LossLog
from thorax.training.trainer import Trainer

CPU = torch.device("cpu")
#: The three runs: what differs, and the rules that must report.
RUNS = {
    "good": ({}, set()),
    "frozen": ({"learning_rate": "0.000000000001"}, {"loss_not_decreasing"}),
    "exploding": ({"learning_rate": "10", "optimizer": "sgd"}, {"exploding_tensor"}),
}
LONG = {"epochs": "5", "warmup_epochs": "1", "augmentation_type": "none", "learning_rate": "0.001"}


def a_trainer(images: Path, folder: Path, observer: Observer | None = None, **settings: str) -> Trainer:
    """Trains cnn5 on the small images, in this process; validated on the training images."""
    config = TrainingConfig.parse({**TINY, "checkpoint_frequency": "1000", **settings})
    listing = read_channel("train", images / "train", "folder")
    train = sample_set("train", listing, label_space(listing, (), None))
    torch.manual_seed(config.seed)
    net = models.build(config.network, config.channels, 1)
    validation = train.subset(list(range(0, len(train), 4)), "validation")
    (folder / "checkpoints").mkdir(exist_ok=True)
    return Trainer(
        config,
        net,
        TrainingData(train, validation, preprocessing(config)),
        Hardware(),
        Checkpoints(folder / "checkpoints", {}, print),
        Monitoring(observer=observer, log=lambda line: None),
    )


def a_job(folder: Path) -> Job:
    return dataclasses.replace(Job.from_environment({"model_dir": str(folder / "model")}, {}), cpus=1)


def an_observer(folder: Path, lines: list[str], **settings) -> Observer:
    config = TrainingConfig(**{"debug_save_interval": 1, "profiler_schedule": (4, 1, 2), **settings})
    observer = build_observer(config, a_job(folder), CPU, 0, lines.append)
    assert observer is not None
    return observer


@pytest.mark.parametrize("name", RUNS)
def test_the_rules_tell_apart_a_good_a_frozen_and_an_exploding_run(images, tmp_path, name):
    settings, expected = RUNS[name]
    lines: list[str] = []
    observer = an_observer(tmp_path, lines, debugging=True)
    trainer = a_trainer(images, tmp_path, observer, **LONG | settings)
    with (
        contextlib.suppress(ThoraxError) if name == "exploding" else contextlib.nullcontext()
    ):  # the loss is not finite
        trainer.fit()
    observer.close("failed" if name == "exploding" else "finished")
    rules = {finding["rule"] for finding in observer.findings()}
    assert rules == expected if name != "exploding" else expected <= rules
    folder = tmp_path / "model-job/output/data/debugger"
    assert json.loads((folder / "findings.json").read_text()) == observer.findings()
    assert {line.split()[1] for line in lines if line.startswith("finding: ")} == rules
    parameters, records = read(folder / "worker_0.jsonl")
    assert list(parameters) == [key for key, _ in trainer.net.named_parameters()]
    assert [record.step for record in records] == list(range(1, len(records) + 1))


def test_a_resumed_run_goes_on_with_its_file_and_observers_change_no_bit(images, tmp_path):
    weights = {}
    for name, observed in (("plain", False), ("observed", True)):
        (tmp_path / name).mkdir()
        for epochs in ("1", "2") if observed else ("2",):  # with constant rates, an epoch more is the run going on
            observer = an_observer(tmp_path / name, [], debugging=True, profiler=True) if observed else None
            settings = {"lr_scheduler": "constant", "clip_grad_norm": "1", "epochs": epochs}
            trainer = a_trainer(images, tmp_path / name, observer, **settings)
            if epochs == "2" and observed:
                state = trainer.checkpoints.load_latest()
                state["state"]["finished"] = False
                trainer.checkpoints.save(state["state"]["global_step"], state)
            trainer.fit()
            if observer:
                observer.close("finished")
        weights[name] = trainer.net.state_dict()
    assert all(torch.equal(value, weights["observed"][key]) for key, value in weights["plain"].items())
    _, records = read(tmp_path / "observed/model-job/output/data/debugger/worker_0.jsonl")
    assert [record.step for record in records] == list(range(1, 13))


def test_an_observer_that_fails_is_dropped_with_one_line(images, tmp_path):
    class Broken(Observer):
        name = "broken"

        def gradients(self, step, loss, net):
            raise ValueError("two\nlines")

    lines: list[str] = []
    assert a_trainer(images, tmp_path, Observers([Broken()], lines.append), epochs="1").fit()
    assert lines == ["warning: broken failed (two lines); the run goes on without it"]


def test_a_step_runs_in_its_stages(images, tmp_path):
    """Two parts a step: copied, updated and logged once."""
    stages: list[str] = []

    class Record(Observer):
        def stage(self, name):
            stages.append(name)
            return contextlib.nullcontext()

    trainer = a_trainer(images, tmp_path, Record(), epochs="1", accumulation_steps="2")
    assert trainer.fit()
    part = ["augmentation", "forward", "backward"]
    assert stages == ["data", "copy", *part, *part, "optimizer", "logging"] * trainer.steps_per_epoch
    assert set(stages) == set(STAGES)


@pytest.mark.slow
def test_two_processes_write_a_file_each_and_the_main_one_reports(images, tmp_path):
    words = command(images, tmp_path / "model", debugging="true", debug_save_interval="1", epochs="1")
    done = run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *words[1:]])
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "model-job/output/data/debugger"
    (_, first), (_, second) = (read(folder / f"worker_{rank}.jsonl") for rank in (0, 1))
    assert [r.gradients for r in first] == [r.gradients for r in second]  # reduced over both
    assert [r.loss for r in first] != [r.loss for r in second]  # of its own images
    assert done.stdout.count("debugging: ") == 1


# -- All of it, and none of it -----------------------------------------------------------------------------------------

#: Packages of observers, which are not needed where nothing is on.
PACKAGES = ("wandb", "tensorboard", "torch.utils.tensorboard", "mlflow", "smdebug")
DUMP = """
import atexit, json, runpy, sys
out = sys.argv[1]
sys.argv = sys.argv[2:]
atexit.register(lambda: open(out, "w").write(json.dumps(sorted(sys.modules))))
sys.path.insert(0, __import__("os").path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def modules_of(images: Path, folder: Path, **settings: str) -> set[str]:
    words = command(images, folder / "model", epochs="1", **settings)
    done = run([sys.executable, "-c", DUMP, str(folder / "modules.json"), *words[1:]])
    assert done.returncode == 0, done.stderr
    return set(json.loads((folder / "modules.json").read_text())) & set(PACKAGES)


def test_where_nothing_is_on_nothing_is_loaded_and_a_step_calls_nothing(images, tmp_path):
    assert modules_of(images, tmp_path) == set()
    trainer = a_trainer(images, tmp_path, epochs="1")
    trainer.fit()
    batch = ImageDataset(trainer.train_images, trainer.preprocessing)[BatchRequest(np.arange(8), epoch=0)]
    losses, progress = LossLog(trainer.state, trainer.hardware, None), Progress("", 1, shown=False)
    called = set()
    sys.setprofile(lambda frame, event, argument: called.add(frame.f_code.co_filename) if event == "call" else None)
    try:
        trainer.train_step(batch, losses, progress)
    finally:
        sys.setprofile(None)
    ours = {Path(file).name for file in called if f"{os.sep}tracking{os.sep}" in file and "thorax" in file}
    assert ours == {"progress.py"}


def test_all_of_it_in_one_run(images, tmp_path):
    hook = tmp_path / "debughookconfig.json"
    hook.write_text("no json")
    settings = {
        "wandb_tracking": "offline",
        "tensorboard": "true",
        "debugging": "true",
        "debug_save_interval": "1",
        "profiler": "true",
        "profiler_schedule": "6,1,2",
        "epochs": "3",
    }
    words = command(images, tmp_path / "model", **settings)
    done = run(words, SMDEBUG_CONFIG_FILE_PATH=str(hook))
    assert done.returncode == 0, done.stderr
    output = tmp_path / "model-job/output/data"
    assert {"summary.md", "steps.pt.trace.json.gz", "system-localhost.csv"} <= {
        file.name for file in (output / "profiler").iterdir()
    }
    assert (output / "debugger/worker_0.jsonl").is_file() and list((output / "wandb").glob("offline-run-*/run-*.wandb"))
    assert list((output / "tensorboard").glob("events.out.tfevents.*"))
    assert not (Path(words[1]).parent / "wandb").exists()
    report = json.loads((output / "report.json").read_text())
    assert "ms a step" in report["facts"]["Run"]["profiler"]
    (warning,) = (line for line in done.stdout.splitlines() if line.startswith("warning: ") and "smdebug" in line)
    assert "our own recorder goes on" in warning


def test_what_is_missing_or_broken_costs_a_line_and_nothing_else(images, tmp_path):
    """No key for W&B, no server behind the address of MLflow."""
    keyless = {"WANDB_API_KEY": "", "NETRC": str(tmp_path / "none"), "HOME": str(tmp_path)}
    done = run(
        command(images, tmp_path / "model", wandb_tracking="true", epochs="1"),
        MLFLOW_TRACKING_URI="http://127.0.0.1:9",
        **keyless,
    )
    assert done.returncode == 0, done.stderr
    others = ("waiting for images", "the patient is not known")  # a busy machine, and names that tell no patient
    lines = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    warnings = [line for line in lines if not any(other in line for other in others)]
    assert len(warnings) == 2, done.stdout
    assert any(line.startswith("warning: W&B cannot be reached") for line in warnings)
    assert any(line.startswith("warning: MLflow failed") for line in warnings)
    assert (tmp_path / "model/bundle.json").is_file()


def test_debugging_refuses_compile(images, tmp_path, capsys, signals_as_before):
    assert train_model.main(command(images, tmp_path / "model", debugging="true", compile="true")[2:]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: debugging=true with compile=true: ") and len(error.splitlines()) == 1


# -- smdebug, in an environment of its own -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smdebug(tmp_path_factory):
    """A folder with smdebug in it; the rest of what it needs is here already."""
    folder = tmp_path_factory.mktemp("smdebug")
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), "smdebug==1.0.34"]
    installed = subprocess.run(words, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"pip cannot install smdebug: {installed.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.mark.slow
def test_smdebug_saves_activations_where_a_rule_needs_them(images, tmp_path, smdebug):
    """relu_input is what goes in, though the ReLU overwrites it; of steps that are not saved nothing is kept."""
    hook = tmp_path / "debughookconfig.json"
    names = ("relu_input", "relu_output")
    collections = [{"CollectionName": n, "CollectionParameters": {"include_regex": f".*{n}"}} for n in names]
    hook.write_text(
        json.dumps(
            {
                "LocalPath": str(tmp_path / "tensors"),
                "HookParameters": {"save_interval": "3"},
                "CollectionConfigurations": collections,
            }
        )
    )
    words = command(images, tmp_path / "model", network="resnet18", debugging="true", epochs="1")
    done = run(words, SMDEBUG_CONFIG_FILE_PATH=str(hook), PYTHONPATH=str(smdebug))
    assert done.returncode == 0 and "smdebug failed" not in done.stdout, done.stderr + done.stdout
    code = (
        "from thorax.tracking.health import smdebug_shim; smdebug_shim.install()\n"
        "from smdebug.trials import create_trial\n"
        f"t = create_trial({str(tmp_path / 'tensors')!r}); step = t.steps()[1]\n"
        "values = [[t.tensor(n).value(step) for n in t.tensor_names(step=step, collection=c)]"
        " for c in ('relu_input', 'relu_output')]\n"
        "print(t.steps(), len(values[0]), len(values[1]), all((v < 0).any() for v in values[0]),"
        " all((v >= 0).all() for v in values[1]))"
    )
    path = os.pathsep.join([str(smdebug), str(SCRIPT.parent)])
    read = run([sys.executable, "-c", code], PYTHONPATH=path)
    assert read.stdout.splitlines()[-1] == "[0, 3] 9 9 True True", read.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_smdebug_saves_what_its_configuration_says_and_the_rules_tell_the_runs_apart(images, tmp_path, smdebug, name):
    settings, expected = RUNS[name]
    hook = tmp_path / "debughookconfig.json"
    collections = [
        {"CollectionName": c, "CollectionParameters": {"save_interval": "1"}}
        for c in ("losses", "gradients", "weights", "biases")
    ]
    hook.write_text(json.dumps({"LocalPath": str(tmp_path / "tensors"), "CollectionConfigurations": collections}))
    words = command(images, tmp_path / "model", debugging="true", debug_save_interval="1", **LONG | settings)
    done = run(words, SMDEBUG_CONFIG_FILE_PATH=str(hook), PYTHONPATH=str(smdebug))
    if name == "exploding" and done.returncode:
        assert "lower learning_rate" in done.stderr and len(done.stderr.splitlines()) == 1
    else:
        assert done.returncode == 0, done.stderr
    assert f"smdebug saves tensors to {tmp_path / 'tensors'}" in done.stdout
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert all("the patient is not known" in line for line in warnings), warnings
    judged = run(
        [sys.executable, "-m", "thorax.tracking.health", str(tmp_path / "tensors")],
        PYTHONPATH=os.pathsep.join([str(smdebug), str(SCRIPT.parent)]),
    )
    rules = {line.split()[1] for line in judged.stdout.splitlines() if line.startswith("finding: ")}
    assert rules == expected if name != "exploding" else expected <= rules
    if name == "good":
        assert judged.stdout.strip().endswith("25 saved steps, no findings")
        worker = tmp_path / "model-job/output/data/debugger/worker_0.jsonl"
        assert judge_folder([str(worker)]) == 0
