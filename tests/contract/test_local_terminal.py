"""What a person sees of a job on this machine: a live bar on a terminal, short lines, an error once and last; and a
finished job that another run does not spoil."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.tiny import REPO, processes_naming
from terminal import on_terminal

#: A stand-in for train_model.py, which shows progress as the trainer does; `seed` says how it ends.
SCRIPT = """
import json, os, sys, time
sys.path[:0] = {paths!r}
from thorax.job import Job
from thorax.tracking.metric_log import epoch_line
from thorax.tracking.progress import Progress, say
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
base, end = os.environ["SAGEMAKER_BASE_DIR"], options["--seed"]
say('configuration: {{"epochs": 2, "seed": 7}}')
for epoch in (1, 2):
    best = "AUC 0.900 (epoch 1)" if epoch == 2 else ""
    with Progress(f"epoch {{epoch}}/2", 64, best=best, every=0.2, counts=False) as progress:
        for step in range(8):
            time.sleep(0.12)
            progress.step(0.5, 8)
    row = {{"train_loss": 0.5, "validation_loss": 0.4, "validation_auc": 0.8 + epoch / 10}}
    say(epoch_line(f"epoch {{epoch}}/2", row, exclusive=False, seconds=1.0, best=True))
if end == "3":
    Job.from_environment().fail("there is no memory left; lower batch_size")
    sys.exit(1)
for place, text in (("model/bundle.json", end), ("output/data/metrics.json", "{{}}")):
    with open(f"{{base}}/{{place}}", "w") as file:
        file.write(text)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with images, stand-in code and its driver; afterwards nothing of it may be alive."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "images").mkdir()
    (folder / "source").mkdir()
    paths = [str(REPO / "source_dir"), str(REPO / "launch")]
    (folder / "source" / "train_model.py").write_text(SCRIPT.format(paths=paths))
    (folder / "driver.py").write_text(
        f"import sys\nfrom pathlib import Path\nsys.path[:0] = {paths!r}\n"
        "from thorax_launch import paths\npaths.source_dir = lambda: Path('source')\n"
        "from thorax_launch.cli import train\n"
        "sys.exit(train.main(['demo', '--local', '--train', 'images', *sys.argv[1:]]))\n"
    )
    yield folder
    assert list(processes_naming(str(folder))) == []


def launched(place: Path, *words: str, **environment: str) -> tuple[int, str]:
    """(exit code, all that a terminal got)."""
    return on_terminal([sys.executable, "driver.py", *words], {**os.environ, **environment}, place)


def left_standing(seen: str) -> list[str]:
    """The lines of the terminal once what was drawn over is gone."""
    lines = [line.split("\r")[-1] for line in seen.replace("\r\n", "\n").split("\n")]
    return [line for line in (re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).rstrip() for line in lines) if line]


def test_a_bar_through_launcher_and_toolkit_and_short_lines(place: Path) -> None:
    code, seen = launched(place, "--job-name", "bar", "--set", "seed=7")
    assert code == 0, seen
    drawn = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", seen)
    assert re.search(r"\rstarting, \d+ s", drawn)
    assert re.search(r"\repoch 1/2 \|[^|]*\| \d+%, [\d.]+ images/s, loss 0\.500, \d+ s left", drawn)
    assert "best AUC 0.900 (epoch 1)" in drawn
    lines = left_standing(seen)
    assert "epoch 1/2  loss 0.500 / 0.400  AUC 0.900  1.0 s  *" in lines
    assert not any("image 8/64" in line or "train_loss=" in line for line in lines)
    log = (place / "runs/bar/output/train.log").read_text()
    assert "epoch 1/2: train_loss=0.500000; validation_loss=0.400000; validation_auc=0.900000" in log
    assert re.search(r"^epoch 1/2: image \d+/64, ", log, re.MULTILINE)
    assert not (place / "runs/bar/output/.progress.json").exists()


def test_the_configuration_says_what_is_not_the_recipes(place: Path) -> None:
    log = (place / "runs/bar/output/train.log").read_text()
    assert 'configuration: {"epochs": 2, "seed": 7}' in log
    done = subprocess.run(
        [sys.executable, "driver.py", "--job-name", "table", "--set", "seed=7"],
        cwd=place,
        capture_output=True,
        text=True,
        env={**os.environ, "THORAX_PROGRESS": "json"},
    )
    head, row = (line for line in done.stdout.splitlines() if line.startswith(("configuration:", "  epochs")))
    assert head == "configuration: unlike recipe or defaults (all 2: runs/table/output/train.log)"
    assert re.fullmatch(r"  epochs +2 +recipe \d+, default 30", row)
    progress = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"progress"')]
    assert progress and {row["progress"] for row in progress} == {"epoch 1/2", "epoch 2/2"}


def test_an_error_is_the_last_line_and_there_once(place: Path) -> None:
    code, seen = launched(place, "--job-name", "fails", "--set", "seed=3")
    lines = left_standing(seen)
    assert code == 1
    assert lines[-1] == "error: there is no memory left; lower batch_size"
    assert sum("no memory left" in line for line in lines) == 1
    assert not [line for line in lines if re.search(r"ExecuteUserScriptError|ErrorMessage|Command|toolkit", line)]
    assert "ExecuteUserScriptError" in (place / "runs/fails/output/train.log").read_text()
    assert (place / "runs/fails/output/failure").is_file()


def state(job: Path) -> dict[str, object]:
    """All of a job's folder that says what it is, but for its log."""
    files = {str(p.relative_to(job)): p.read_bytes() for p in job.rglob("*") if p.is_file() and p.name != "train.log"}
    links = {str(p.relative_to(job)): p.readlink() for p in job.rglob("*") if p.is_symlink()}
    return {**{name: text for name, text in files.items() if not name.startswith("code/")}, **links}


@pytest.mark.parametrize("setting", ["epochs=5", "seed=3"])
def test_a_refused_repeat_leaves_a_finished_job_as_it_was(place: Path, setting: str) -> None:
    """Refused by the launcher, which compares the values, or by the script."""
    job = place / "runs" / "bar"
    if setting == "seed=3":  # same values for the launcher; the script refuses by what it finds
        script = place / "source" / "train_model.py"
        text = script.read_text()
        script.write_text(text.replace('if end == "3"', "if True"))
    before = state(job)
    try:
        done = subprocess.run(
            [sys.executable, "driver.py", "--job-name", "bar", "--set", "seed=7"]
            + (["--set", setting] if setting == "epochs=5" else []),
            cwd=place,
            capture_output=True,
            text=True,
        )
    finally:
        if setting == "seed=3":
            script.write_text(text)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    if setting == "epochs=5":
        assert re.match(
            r"error: job bar is finished with epochs=\d+, now 5; it is left as it was: choose another", last
        )
    else:
        assert last == "error: there is no memory left; lower batch_size"
    assert state(job) == before
