"""Every dry run alike: on a terminal a summary, by --json or into a pipe the exact requests, by --full every file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, clean_environment
from terminal import on_terminal
from thorax_launch.cli import batch, delete, deploy, pipeline, prepare, train, tune
from thorax_launch.options import EndpointOptions, PrepareOptions, StepOptions, TransformOptions, entries
from thorax_launch.recipe import Recipe, names
from thorax_launch.sagemaker.cost import Prices
from warm_python import PYTHON

Capture = pytest.CaptureFixture[str]
PLACE = ["--region", "us-east-1", "--bucket", "films", "--role", "arn:aws:iam::123456789012:role/thorax-execution"]
OWN = ["own.yaml", "--train", "FEW/train", "--test", "s3://films/test", *PLACE]
#: Command and its words; its name on the command line; the head of its first line; what is uploaded.
COMMANDS: dict[str, tuple[Any, list[str]]] = {
    "train": (train, OWN),
    "tune": (tune, OWN),
    "pipeline": (pipeline, [*OWN, "--group", "chest"]),
    "deploy": (deploy, ["BUNDLE", *PLACE]),
    "batch": (batch, ["BUNDLE", "--data", "FEW/train", "--out", "t.csv", *PLACE]),
    "endpoint": (batch, ["BUNDLE", "--data", "FEW/train", "--out", "t.csv", "--endpoint", "chest", *PLACE]),
    "upload": (prepare, ["upload", "FEW", "s3://films/few"]),
    "prepare": (prepare, ["check", "s3://films/images", "--instances", "3", *PLACE]),
}
#: Runs several commands in one process on a terminal, each after a line with its name.
DRIVER = """
import importlib, json, sys
for name, module, words in json.loads(sys.argv[1]):
    print(f"=== {name}", flush=True)
    importlib.import_module(module).main(words)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe that has a search, and eight images."""
    root = tmp_path_factory.mktemp("dry")
    (root / "own.yaml").write_text(
        "hyperparameters: {epochs: 2}\ninstance_type: ml.m5.xlarge\nmax_hours: 2\n"
        "tune: {max_jobs: 3, ranges: {batch_size: {choices: [8, 16]}}}\n"
    )
    for k in range(8):
        file = root / "few" / "train" / ("NORMAL", "PNEUMONIA")[k % 2] / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    return root


def words_of(name: str, light: Path, *more: str) -> list[str]:
    words = [word.replace("FEW", "few").replace("BUNDLE", str(light)) for word in COMMANDS[name][1]]
    return [*words, *more, "--dry-run"]


@pytest.fixture(scope="module")
def on_a_terminal(place: Path, light: Path) -> dict[str, str]:
    """What each command shows on a terminal, by its name; NAME --json and NAME --full too."""
    runs = [(name, COMMANDS[name][0].__name__, words_of(name, light)) for name in COMMANDS]
    runs += [("train --json", train.__name__, words_of("train", light, "--json"))]
    runs += [("upload --full", prepare.__name__, words_of("upload", light, "--full"))]
    path = f"{ROOT / 'source_dir'}:{ROOT / 'launch'}"
    environment = clean_environment(PYTHONPATH=path, AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE="none")
    code, text = on_terminal([PYTHON, "-c", DRIVER, json.dumps(runs)], environment, place)
    assert code == 0, text
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n")
    lines = [line.rpartition("\r")[2] for line in text.split("\n")]  # a live line is gone in the end
    blocks = re.split(r"^=== (.*)\n", "\n".join(lines), flags=re.MULTILINE)[1:]
    return {name: block.strip("\n") for name, block in zip(blocks[::2], blocks[1::2], strict=True)}


@pytest.mark.parametrize("name", COMMANDS)
def test_on_a_terminal_it_is_a_summary(name: str, on_a_terminal: dict[str, str]) -> None:
    lines = on_a_terminal[name].splitlines()
    heads = [line.partition(":")[0] for line in lines]
    assert heads[0] == ("asks" if name == "endpoint" else "makes")
    assert "cost" in heads and "{" not in on_a_terminal[name]
    if name not in ("endpoint", "upload"):
        assert re.search(r"^machines: \d+ x ml\.\w+\.\w+", on_a_terminal[name], re.MULTILINE)
        assert re.search(r"^cost: .*\$\d+\.\d\d", on_a_terminal[name], re.MULTILINE)  # also without a price table
    if name != "endpoint":
        assert re.search(r"^upload:   [\d,]+ files?.*, [\d.]+ (bytes|[kM]B)$", on_a_terminal[name], re.MULTILINE)
    if name in ("train", "tune", "pipeline", "batch", "endpoint", "upload"):
        assert "8 images" in on_a_terminal[name]
    assert lines[-1].startswith("dry run:  nothing was sent; ")
    if "more file" in on_a_terminal[name]:
        assert lines[-1].endswith("--full every file")


def test_requests_follow_the_summary_by_json(on_a_terminal: dict[str, str]) -> None:
    summary, brace, requests = on_a_terminal["train --json"].partition("{\n")
    assert summary.startswith("makes:") and summary.endswith("dry run:  nothing was sent\n")
    assert json.loads(brace + requests)["ResourceConfig"]["InstanceType"] == "ml.m5.xlarge"


def test_every_file_by_full(on_a_terminal: dict[str, str]) -> None:
    assert sum("few/train/" in line for line in on_a_terminal["upload"].splitlines()) == 5
    assert sum("few/train/" in line for line in on_a_terminal["upload --full"].splitlines()) == 8


@pytest.mark.parametrize("name", ["deploy", "endpoint", "upload"])
def test_into_a_pipe_go_the_requests_alone(
    name: str, place: Path, light: Path, offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(place)
    assert COMMANDS[name][0].main(words_of(name, light, "--full")) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)
    assert "dry run:  nothing was sent\n" in shown.err
    if name != "deploy":
        assert sum("NORMAL/" in line for line in shown.err.splitlines()) == 4


def test_a_deletion_of_nothing_says_so(aws: Any, capsys: Capture) -> None:
    assert delete.main(["nowhere", "--dry-run", "--json"]) == 0
    assert "there is no endpoint nowhere" in capsys.readouterr().out


def test_the_example_has_a_price_of_every_default_machine() -> None:
    tables = (EndpointOptions, TransformOptions, StepOptions, PrepareOptions)
    kinds = {entry.default for table in tables for entry in entries(table) if entry.name.endswith("instance_type")}
    kinds |= {Recipe.load(name).instance_type for name in names()} | {"ml.m5.large"}  # an endpoint's
    prices = Prices.load(ROOT / "launch" / "prices.example.yaml")
    assert kinds - {""} <= prices.per_hour.keys()
