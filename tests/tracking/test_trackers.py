"""Trackers: the messages that they receive, resumed runs, faults of theirs that must not reach the run, new ones."""

from __future__ import annotations

import io
import json
import math
import signal
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
from PIL import Image

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.job import Job, Process
from thorax.tracking.factory import build_observer
from thorax.tracking.trackers import TRACKERS, FinishMessage, MetricsMessage, StartMessage, TrackerSpec, process
from thorax.tracking.trackers.connection import TrackerProcess
from thorax.tracking.trackers.relay import Relay
from thorax.tracking.trackers.tracker import to_line


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


def whole_run(job, code, seconds=20.0):
    """A whole run beside a process that runs `code`; (lines of the log, seconds that closing took)."""
    lines = []
    connect = partial(TrackerProcess, command=[sys.executable, "-c", code], finish_seconds=seconds)
    relay = Relay(TrainingConfig(epochs=2), job, {"TensorBoard": {"folder": "f"}}, lines.append, connect)
    relay.start(0, 20)
    for step in range(1, 21):
        relay.step(step, 0.5, 0.1)
    relay.epoch({"epoch": 1, "train_loss": 0.5, "validation_auc": math.nan, "data_wait": 0.1}, 20)
    began = time.monotonic()
    relay.close("finished")
    assert relay.process.child.poll() is not None
    return lines, time.monotonic() - began


def test_the_messages_of_a_run(job, tmp_path):
    file = tmp_path / "messages"
    copy_input = f'import sys; open({str(file)!r}, "w").write(sys.stdin.read())'
    reply = 'print(\'{"say": "done"}\'); print(\'{"remember": "W", "value": "7"}\')'
    lines, _ = whole_run(job, f"{copy_input}; {reply}")
    start, *logs, finish = map(json.loads, file.read_text().splitlines())
    assert lines == ["done"]
    assert start == {
        "type": "StartMessage",
        "tracker": "TensorBoard",
        "tracker_class": "thorax.tracking.trackers.tensorboard_log:TensorBoardLog",
        "install": "tensorboard",
        "name": "first",
        "configuration": TrainingConfig(epochs=2).to_dict(),
        "output_dir": str(job.output_dir),
        "step": 0,
        "remembered": {},
        "settings": {"folder": "f"},
    }
    assert [m["step"] for m in logs] == [1, 10, 20, 20]
    assert logs[-1]["values"] == {"epoch": 1, "train/loss": 0.5, "data_wait": 0.1}  # an undefined AUC is no number
    assert finish == {
        "type": "FinishMessage",
        "outcome": "finished",
        "summary": {"final/best_epoch": 2.0, "final/test_auc": 0.9},
        "plots": {"roc": str(job.output_dir / "roc.png")},
        "bundle": str(job.model_dir),
    }
    assert json.loads((job.checkpoint_dir / "tracking.json").read_text()) == {"W": "7"}
    whole_run(job, copy_input)
    assert json.loads(file.read_text().splitlines()[0])["remembered"] == {"W": "7"}


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(3)",
        "import os; os.kill(os.getpid(), 11)",
        "print('no reply'); print('{}')",
        "import sys; sys.stdin.close(); print('[')",
    ],
)
def test_a_process_that_ends_or_writes_nonsense_leaves_the_run_alone(job, code):
    assert whole_run(job, code)[0] == []


def test_one_that_hangs_is_ended_with_its_children(job):
    code = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        " time.sleep(600)"
    )
    lines, seconds = whole_run(job, code, seconds=0.5)
    assert seconds < 15
    assert len(lines) == 1 and lines[0].startswith("warning: TensorBoard did not finish in 0 seconds and was ended")


@pytest.mark.parametrize("content", ["torn", "[1]", '"a"', ""])
def test_a_damaged_memory_is_a_new_start(job, content):
    (job.checkpoint_dir / "tracking.json").write_text(content)
    assert whole_run(job, "import sys; sys.stdin.read()")[0] == []


# -- The trackers themselves -------------------------------------------------------------------------------------------


def started(job, name, settings, step=0, remembered=()):
    spec = TRACKERS[name]
    configuration = {"epochs": 2, "labels": []}
    return StartMessage(
        tracker=name,
        tracker_class=spec.path,
        install=spec.install,
        name="first",
        configuration=configuration,
        output_dir=str(job.output_dir),
        step=step,
        remembered=dict(remembered),
        settings=settings,
    )


def serve(job, trackers, step=0, remembered=(), finish=True):
    """What the trackers' process answers to a small run, run in this process: (log lines, what is remembered)."""
    messages = [
        *(started(job, name, settings, step, remembered) for name, settings in trackers.items()),
        MetricsMessage(step + 1, {"train/loss": 0.5}),
        MetricsMessage(step + 2, {"train/loss": 0.25}),
    ]
    if finish:
        plots = {"roc": str(job.output_dir / "roc.png")}
        messages.append(FinishMessage("finished", {"final/test_auc": 0.9}, plots, str(job.model_dir)))
    output = io.StringIO()
    process.serve(io.StringIO("".join(to_line(message) + "\n" for message in messages)), output)
    answers = [json.loads(line) for line in output.getvalue().splitlines()]
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


#: What trackers of these tests received, in this process.
RECEIVED: list[object] = []


class Sound:
    def __init__(self, start, run):
        RECEIVED.append(start)

    def log(self, metrics):
        RECEIVED.append(metrics.step)

    def finish(self, end):
        RECEIVED.append(end.outcome)


class Broken(Sound):
    """Raises ERROR in the method FAILS."""

    ERROR: Exception = ValueError()
    FAILS = ""

    def __init__(self, start, run):
        self._fail("__init__")

    def log(self, metrics):
        self._fail("log")

    def finish(self, end):
        self._fail("finish")

    def _fail(self, method):
        if method == self.FAILS:
            raise self.ERROR


@pytest.fixture
def register():
    """Registers trackers for one test."""
    names = []

    def add(name, spec):
        TRACKERS.register(name, spec)
        names.append(name)

    yield add
    for name in names:
        TRACKERS.remove(name)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ModuleNotFoundError("No module named 'wandb'"),
            "warning: Broken is off: No module named 'wandb'; run: pip install wandb",
        ),
        (ValueError("bad\nkey"), "warning: Broken failed (bad key); the run goes on without it"),
    ],
)
@pytest.mark.parametrize("when", ["__init__", "log", "finish"])
def test_a_tracker_that_fails_costs_one_line_and_the_others_go_on(job, monkeypatch, register, error, line, when):
    RECEIVED.clear()
    monkeypatch.setattr(Broken, "ERROR", error)
    monkeypatch.setattr(Broken, "FAILS", when)
    register("Broken", TrackerSpec(Broken, install="wandb"))
    register("Sound", TrackerSpec(Sound))
    lines, _ = serve(job, {"Broken": {}, "Sound": {"folder": "x"}})
    assert lines == [line]
    assert [started(job, "Sound", {"folder": "x"}), 1, 2, "finished"] == RECEIVED


def test_signals_of_the_terminal_do_not_reach_the_trackers_and_the_end_of_the_run_ends_them(tmp_path, job):
    replies: list[object] = []
    connection = TrackerProcess(tmp_path, replies.append)
    missing = started(job, "TensorBoard", {})
    connection.send(missing)
    deadline = time.monotonic() + 30
    while not replies and time.monotonic() < deadline:
        time.sleep(0.05)
    assert replies == [{"say": "warning: TensorBoard failed ('folder'); the run goes on without it"}]
    connection.child.send_signal(signal.SIGTERM)
    connection.child.send_signal(signal.SIGINT)
    assert connection.close()
    assert connection.child.returncode == 0


# -- A tracker from outside the package --------------------------------------------------------------------------------

TOY = """
import json
from thorax.tracking.trackers import TRACKERS, TrackerSpec

class Toy:
    def __init__(self, start, run):
        self.file = open(start.output_dir + "/toy.jsonl", "a")
        self.write("start", start.name, start.configuration["epochs"], start.settings)
        run.say("toy: started")
        run.remember("toy", "12")

    def write(self, *values):
        print(json.dumps(values), file=self.file, flush=True)

    def log(self, metrics):
        self.write("metrics", metrics.step, metrics.values)

    def finish(self, end):
        self.write("finish", end.outcome, end.summary)
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The class of a module that only this test's sys.path knows."""
    (tmp_path / "toy_tracker.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    import toy_tracker

    yield toy_tracker.Toy
    del sys.modules["toy_tracker"]


def test_a_registered_tracker_receives_start_metrics_and_the_end_of_a_run(job, toy, register):
    spec = TrackerSpec(
        toy, enabled=lambda config, job: config.epochs == 3, settings=lambda config, job: {"seed": str(config.seed)}
    )
    register("Toy", spec)
    no_mlflow = replace(job, mlflow_uri=None)
    lines: list[str] = []
    assert build_observer(TrainingConfig(), no_mlflow, None, 0, lines.append) is None
    observer = build_observer(TrainingConfig(epochs=3, seed=5), no_mlflow, None, 0, lines.append)
    observer.start(0, 30)
    observer.step(1, 0.7, 0.1)
    observer.epoch({"epoch": 1, "validation_auc": 0.75}, 10)
    observer.close("finished")
    assert lines == ["toy: started"]
    assert [json.loads(line) for line in (job.output_dir / "toy.jsonl").read_text().splitlines()] == [
        ["start", "first", 3, {"seed": "5"}],
        ["metrics", 1, {"train/step_loss": 0.7, "train/step_learning_rate": 0.1}],
        ["metrics", 10, {"epoch": 1, "validation/auc": 0.75}],
        ["finish", "finished", {"final/best_epoch": 2.0, "final/test_auc": 0.9}],
    ]
    assert json.loads((job.checkpoint_dir / "tracking.json").read_text()) == {"toy": "12"}


def test_a_tracker_is_on_by_default_and_only_in_the_main_process(job, toy, register):
    register("Toy", TrackerSpec(toy))
    other = replace(job, process=Process(rank=1, world_size=2))
    assert build_observer(TrainingConfig(), other, None, 0, print) is None
    observer = build_observer(TrainingConfig(), replace(job, mlflow_uri=None), None, 0, print)
    assert [dict(member.trackers) for member in observer.members] == [{"Toy": {}}]
    observer.close("stopped")


def test_a_predicate_that_fails_costs_one_line(job, toy, register):
    def enabled(config, job):
        raise KeyError("CSV_FILE")

    register("Toy", TrackerSpec(toy, enabled=enabled))
    lines: list[str] = []
    assert build_observer(TrainingConfig(), replace(job, mlflow_uri=None), None, 0, lines.append) is None
    assert lines == ["warning: Toy failed ('CSV_FILE'); the run goes on without it"]


def test_a_class_that_the_trackers_process_cannot_import_is_refused():
    class Local(Sound):
        pass

    with pytest.raises(ThoraxError, match=r"Local cannot be imported by another process; define it at the top"):
        TrackerSpec(Local)
