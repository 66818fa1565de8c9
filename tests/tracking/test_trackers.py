"""Trackers.

What reaches them, that a resumed run goes on with the same one, and that no fault of theirs reaches the run.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from thorax.job import Job
from thorax.tracking.trackers import process
from thorax.tracking.trackers.relay import Relay
from thorax.tracking.trackers.tracker import Start


@pytest.fixture
def job(tmp_path):
    made = Job.from_environment(
        {"model_dir": str(tmp_path / "model")}, {"TRAINING_JOB_NAME": "first", "MLFLOW_TRACKING_URI": "sqlite:///x"}
    )
    assert (made.name, made.mlflow_uri, made.tensorboard_dir) == (
        "first",
        "sqlite:///x",
        made.output_dir / "tensorboard",
    )
    for folder in (made.output_dir, made.checkpoint_dir, made.model_dir):
        folder.mkdir(parents=True)
    (made.output_dir / "metrics.json").write_text(
        json.dumps({"best_epoch": 2, "test": {"macro": {"auc": {"value": 0.9}, "f1": {"value": None}}}})
    )
    Image.new("RGB", (8, 6)).save(made.output_dir / "roc.png")
    (made.model_dir / "bundle.json").write_text("{}")
    return made


def told(job, code, seconds=20.0):
    """A whole run beside a process that runs `code`; (lines of the log, seconds that closing took)."""
    lines = []
    relay = Relay(
        job, {"epochs": 2}, {"Fake": {}}, lines.append, command=[sys.executable, "-c", code], finish_seconds=seconds
    )
    relay.start(0, 20)
    for step in range(1, 21):
        relay.step(step, 0.5, 0.1)
    relay.epoch({"epoch": 1, "train_loss": 0.5, "validation_auc": math.nan, "data_wait": 0.1}, 20)
    began = time.monotonic()
    relay.close("finished")
    assert relay.process.poll() is not None
    return lines, time.monotonic() - began


def test_what_a_run_tells(job, tmp_path):
    file = tmp_path / "messages"
    lines, _ = told(
        job,
        f'import sys; open({str(file)!r}, "w").write(sys.stdin.read()); print(\'{{"say": "done"}}\');'
        ' print(\'{"remember": "W", "value": "7"}\')',
    )
    start, *logs, finish = map(json.loads, file.read_text().splitlines())
    assert lines == ["done"]
    assert (start["do"], start["name"], start["step"], start["remembered"], start["configuration"]) == (
        "start",
        "first",
        0,
        {},
        {"epochs": 2},
    )
    assert [m["step"] for m in logs] == [1, 10, 20, 20]
    assert logs[-1]["values"] == {"epoch": 1, "train/loss": 0.5, "data_wait": 0.1}  # an undefined AUC is no number
    assert finish["outcome"] == "finished" and finish["summary"] == {"final/best_epoch": 2.0, "final/test_auc": 0.9}
    assert list(finish["plots"]) == ["roc"] and finish["bundle"] == str(job.model_dir)
    assert json.loads((job.checkpoint_dir / "tracking.json").read_text()) == {"W": "7"}
    told(job, f'import sys; open({str(file)!r}, "w").write(sys.stdin.read())')
    assert json.loads(file.read_text().splitlines()[0])["remembered"] == {"W": "7"}


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(3)",
        "import os; os.kill(os.getpid(), 11)",
        "print('no message of ours'); print('{}')",
        "import sys; sys.stdin.close(); print('[')",
    ],
)
def test_a_process_that_ends_or_babbles_leaves_the_run_alone(job, code):
    assert told(job, code)[0] == []


def test_one_that_hangs_is_ended_with_its_children(job):
    code = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        " time.sleep(600)"
    )
    lines, seconds = told(job, code, seconds=0.5)
    assert seconds < 15
    assert len(lines) == 1 and lines[0].startswith("warning: Fake did not finish in 0 seconds and was ended")


@pytest.mark.parametrize("content", ["torn", "[1]", '"a"', ""])
def test_a_damaged_memory_is_a_new_start(job, content):
    (job.checkpoint_dir / "tracking.json").write_text(content)
    assert told(job, "import sys; sys.stdin.read()")[0] == []


# -- The trackers themselves
# ----------------------------------------------------------------------------------------------


def serve(job, trackers, step=0, remembered=(), finish=True):
    """What the trackers' process answers to a small run, run in this process."""
    plots, bundle = {"roc": str(job.output_dir / "roc.png")}, str(job.model_dir)
    messages = [
        {
            "do": "start",
            "name": "first",
            "configuration": {"epochs": 2, "labels": []},
            "output_dir": str(job.output_dir),
            "step": step,
            "remembered": dict(remembered),
            "trackers": trackers,
        },
        {"do": "log", "step": step + 1, "values": {"train/loss": 0.5}},
        {"do": "log", "step": step + 2, "values": {"train/loss": 0.25}},
        *(
            [
                {
                    "do": "finish",
                    "outcome": "finished",
                    "summary": {"final/test_auc": 0.9},
                    "plots": plots,
                    "bundle": bundle,
                }
            ]
            if finish
            else []
        ),
    ]
    back = io.StringIO()
    process.serve(io.StringIO("".join(json.dumps(m) + "\n" for m in messages)), back)
    answers = [json.loads(line) for line in back.getvalue().splitlines()]
    return [a["say"] for a in answers if "say" in a], {a["remember"]: a["value"] for a in answers if "remember" in a}


def test_tensorboard_shows_one_curve_of_a_killed_and_a_resumed_run(job):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = str(job.tensorboard_dir)
    lines, _ = serve(job, {"TensorBoard": {"folder": folder}}, finish=False)
    assert lines == [f"TensorBoard: tensorboard --logdir {folder}"]
    serve(job, {"TensorBoard": {"folder": folder}}, step=1)  # its last checkpoint was of step 1
    events = EventAccumulator(folder).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.5), (2, 0.5), (3, 0.25)]
    assert [e.value for e in events.Scalars("final/test_auc")] == [pytest.approx(0.9)]
    assert events.Images("roc")[0].width == 8
    assert b"epochs: 2" in events.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0]


def test_wandb_offline_goes_on_with_the_same_run(job, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_API_KEY", "")
    settings = {"W&B": {"mode": "offline", "project": "thorax"}}
    lines, remembered = serve(job, settings, finish=False)
    assert len(lines) == 1 and lines[0].startswith("W&B: offline; to upload it: wandb sync ")
    lines, again = serve(job, settings, step=2, remembered=remembered)
    assert again == remembered and list(remembered) == ["wandb"]
    files = list(
        (job.output_dir / "wandb").glob(f"offline-run-*-{remembered['wandb']}/run-{remembered['wandb']}.wandb")
    )
    assert len(files) == 2
    content = b"".join(file.read_bytes() for file in files)
    assert [name for name in ("train/loss", "final/test_auc", "bundle-first") if name.encode() not in content] == []


@pytest.mark.slow
def test_mlflow_goes_on_with_the_same_run(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # artifacts go there
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    settings = {"MLflow": {"uri": uri, "experiment": "images"}}
    _, remembered = serve(job, settings)
    lines, again = serve(job, settings, step=2, remembered=remembered)
    assert again == remembered and not any("warning" in line for line in lines)
    client = mlflow.MlflowClient(uri)
    run = client.get_run(remembered["mlflow"])
    assert (
        run.info.status == "FINISHED" and run.data.params["epochs"] == "2" and run.data.metrics["final/test_auc"] == 0.9
    )
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ModuleNotFoundError("No module named 'wandb'"),
            "warning: W&B is off: No module named 'wandb'; run: pip install wandb",
        ),
        (ValueError("bad\nkey"), "warning: W&B failed (bad key); the run goes on without it"),
    ],
)
@pytest.mark.parametrize("when", ["__init__", "log", "finish"])
def test_a_tracker_that_fails_is_told_once_and_the_others_go_on(job, monkeypatch, error, line, when):
    seen = []

    class Sound:
        def __init__(self, start: Start, tell) -> None:
            assert dataclasses.is_dataclass(start)

        def log(self, step, values):
            seen.append(step)

        def finish(self, outcome, summary, plots, bundle):
            seen.append(outcome)

    def fail(*_):
        raise error

    broken = type("Broken", (Sound,), {when: fail})
    monkeypatch.setattr(process, "KINDS", {"W&B": (broken, "wandb"), "TensorBoard": (Sound, "tensorboard")})
    lines, _ = serve(job, {"W&B": {}, "TensorBoard": {}})
    assert lines == [line]
    assert seen[-1] == "finished" and {1, 2} <= set(seen)


def test_signals_of_the_terminal_do_not_reach_the_trackers_and_the_end_of_the_run_ends_them():
    code = "from thorax.tracking.trackers.process import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    child.stdin.write(
        '{"do": "start", "name": "n", "configuration": {}, "output_dir": ".", "step": 0, "remembered": {}, "trackers":'
        ' {"None": {}}}\n'
    )
    child.stdin.flush()
    assert "warning: None failed" in child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    child.send_signal(signal.SIGINT)
    child.stdin.close()
    assert child.wait(30) == 0
