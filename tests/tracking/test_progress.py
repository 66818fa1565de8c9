"""Progress of long work: whole lines, JSON lines, a file for a launcher; and the log as it is shown to people."""

from __future__ import annotations

import json
import time

import pytest

from thorax.text import counted, duration, size
from thorax.tracking import metric_log
from thorax.tracking.progress import HOW, Progress, State, busy

MACHINE = metric_log.epoch_line(
    "epoch 3/16",
    {"epoch": 3, "train_loss": 0.41234, "validation_loss": 0.3981, "validation_auc": 0.9123, "validation_f1": 0.8}
    | {"validation_accuracy": 0.84, "validation_balanced_accuracy": 0.85, "learning_rate": 0.001},
    exclusive=False,
    seconds=12.31,
    best=True,
)


def work(monkeypatch, how, **settings):
    """Ten images in batches of two, with a line for each batch."""
    monkeypatch.setenv(HOW, how)
    with Progress("epoch 1/2", 10, every=0.0, best="AUC 0.900 (epoch 1)", after=10, **settings) as progress:
        for _ in range(5):
            time.sleep(0.002)
            progress.step(0.25, count=2)


def test_lines_have_rate_loss_time_left_and_the_best(monkeypatch, capsys):
    work(monkeypatch, "lines")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4  # the end has a line of its own: the epoch's
    assert lines[0].startswith("epoch 1/2: image 2/10, ")
    for part in (" images/s, ", "loss 0.250, ", " left, ", " in all, ", "best AUC 0.900 (epoch 1)"):
        assert part in lines[0]


def test_json_lines_on_request(monkeypatch, capsys):
    work(monkeypatch, "json")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["done"] for row in rows] == [2, 4, 6, 8]
    assert rows[-1]["progress"] == "epoch 1/2" and rows[-1]["total"] == 10 and rows[-1]["loss"] == 0.25
    assert rows[-1]["rate"] > 0 and rows[-1]["seconds_left"] >= 0


def test_a_launcher_reads_the_latest_state_from_a_file(monkeypatch, tmp_path, capsys):
    file = tmp_path / "progress.json"
    monkeypatch.setenv(HOW, f"file:{file}")
    with Progress("reading", 10, every=1000):
        assert State(**json.loads(file.read_text())) == State("reading", 0, 10)
    assert file.read_text() == ""
    with busy("scoring"):
        assert State(**json.loads(file.read_text())).title == "scoring"
    assert capsys.readouterr().out == ""


def test_a_process_that_is_not_the_main_one_shows_nothing(monkeypatch, capsys):
    work(monkeypatch, "lines", shown=False)
    assert capsys.readouterr().out == ""


def test_the_time_that_is_left():
    state = State("epoch 1/3", done=40, total=100, rate=2.0, after=200)
    assert (state.seconds_left(0), state.seconds_left(200)) == (30.0, 130.0)
    assert state.line() == "epoch 1/3: image 40/100, 2.0 images/s, 30 s left, 2 min 10 s in all"
    assert State("reading", done=1).line() == "reading: 1 image"


def test_an_epoch_is_a_short_line_for_people_and_a_whole_one_for_regexes():
    assert metric_log.read(MACHINE)["validation_balanced_accuracy"] == 0.85
    assert MACHINE.endswith("; learning_rate=0.001000000 (12.3 s; f1, accuracy, balanced_accuracy at 0.5) *")
    shown = metric_log.readable(MACHINE)
    assert shown == "epoch  3/16  loss 0.412 / 0.398  AUC 0.912  bal. acc. 0.850 at 0.5  12 s  *"
    assert len(shown) <= 80
    assert metric_log.readable(MACHINE.replace("epoch 3", "best epoch 3")).startswith("best: epoch 3 of 16  loss 0.412")
    assert metric_log.readable("test: test_auc=0.900000") is None  # the table has it
    for other in ("test: 12 images of 3 patients", "epoch 3/16: image 4/8", "bundle: x", ""):
        assert metric_log.readable(other) == other


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_times(seconds, text):
    assert duration(seconds) == text


def test_counts_and_sizes():
    assert [counted(n, "image") for n in (0, 1, 1200)] == ["0 images", "1 image", "1,200 images"]
    assert counted(2, "process", "processes") == "2 processes"
    assert [size(n) for n in (1, 999, 3.4e6, 2.5e13)] == ["1 byte", "999 bytes", "3.4 MB", "25.0 TB"]
