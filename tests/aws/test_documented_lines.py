"""README's and the docs' lines that ask AWS are executed over the stand-in for an account, with names of its own."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torchvision
from safetensors.torch import save_file

import images
from aws_scenes import (
    Bench,
    Case,
    a_shadowed_endpoint,
    an_endpoint,
    everything,
    nothing,
    running_job,
    search_done,
    two_variants,
)
from documented import PAGES, lines
from sagemaker_stand_in import StandIn
from thorax_launch import cli

Before = Callable[[StandIn], None]
LINES = list(dict.fromkeys(line.text for page in PAGES for line in lines(page) if line.kind == "aws"))
#: Beginning of a line that the account here cannot answer -> where it is executed.
ELSEWHERE = {
    "thorax registry": "test_registry.py, over a group of bundles",
    "thorax deploy registry:": "test_registry.py, over a group of bundles",
    "thorax delete --web": "test_web_stacks.py, over stacks",
    "thorax prepare check": "test_prepare_cluster.py, with what machines really leave",
    "thorax prepare stats": "test_prepare_cluster.py, with what machines really leave",
}
#: What a page calls it -> what it is called here.
NAMES = {
    r"s3://(?:BUCKET|MY-BUCKET|bucket)/thorax/JOB": "s3://films/thorax/one",
    r"s3://(?:BUCKET|MY-BUCKET|bucket)/images(?:/\w+)?": "s3://films/thorax/images",
    r"s3://(?:BUCKET|MY-BUCKET|bucket)": "s3://films",
    r"alias/images": "alias/films",
    r"\bEARLIER\b": "sweep",
    r"--resume JOB": "--resume scores",
    r"--job JOB": "--job one",
    r"leaderboard NAME": "leaderboard sweep",
    r"delete NAME": "delete chest",
    r"(?<!runs/)\bNAME\b": "one",
}


def job_done(stand_in: StandIn) -> None:
    """The training job `one` has ended."""
    running_job(stand_in)
    stand_in.things["TrainingJob", "one"]["state"] = "Completed"


def old_and_new(stand_in: StandIn) -> None:
    """The endpoint `chest` has the variants old and new."""
    two_variants(stand_in)
    variants = stand_in.things["EndpointConfig", "chest-0"]["ProductionVariants"]
    for variant, name in zip(variants, ("old", "new"), strict=True):
        variant["VariantName"] = name


#: Beginning of a line -> what is there before it, what is added to it, and how often a running job is described.
SCENES: dict[str, tuple[Before, str, int | None]] = {
    "thorax tune": (search_done, "--yes", 2),
    "thorax leaderboard": (search_done, "", 2),
    "thorax deploy shadow": (a_shadowed_endpoint, "--yes", 2),
    "thorax deploy --job": (job_done, "--yes", 2),
    "thorax deploy --weights": (old_and_new, "--yes", 2),
    "thorax predict": (an_endpoint, "", 2),
    "thorax batch.*--endpoint": (an_endpoint, "", 2),
    "thorax batch.*--resume": (nothing, "--yes", 2),
    "thorax batch": (nothing, "--job-name scores --yes", 2),
    "thorax prepare pack": (nothing, "--job-name packing --yes", 2),
    "thorax prepare": (nothing, "", 2),
    "thorax status": (everything, "", None),
    "thorax delete --all": (everything, "--yes", None),
    "thorax delete$": (everything, "", None),
    "thorax delete": (an_endpoint, "--yes", 2),
    "thorax follow": (running_job, "", 2),
    "thorax stop": (running_job, "", None),
}


class Minutes(datetime):
    """A clock on which every look takes a minute."""

    passed = 0

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        cls.passed += 1
        return datetime.now(tz) + timedelta(minutes=cls.passed)


@pytest.fixture
def folders(bench: Bench, light: Path, few: Path) -> None:
    """What the lines name on this machine."""
    for place in ("images", "IMAGES"):
        shutil.copytree(few, place)
    shutil.copytree(light, "runs/NAME/model")
    Path("packed").mkdir()
    Path("packed/one.rec").write_bytes(b"records")
    Path("packed/one.idx").write_bytes(b"index")
    Path("x-ray.jpeg").write_bytes(images.data(images.grey(), "JPEG"))
    Path("split.csv").write_text("id,patient,part\n")
    save_file(torchvision.models.resnet18().state_dict(), "resnet18.safetensors")
    shutil.copy(Path(__file__).resolve().parents[2] / "launch/prices.example.yaml", "prices.yaml")
    settings = "{bucket: films, role: 'arn:aws:iam::123456789012:role/thorax-execution', region: eu-central-1}"
    Path("thorax.yaml").write_text(settings)


def test_there_are_such_lines() -> None:
    assert len(LINES) > 25
    assert all(any(text.startswith(start) for text in LINES) for start in ELSEWHERE)


@pytest.mark.slow
@pytest.mark.parametrize("text", [text for text in LINES if not text.startswith(tuple(ELSEWHERE))])
def test_a_line_does_what_it_says(
    text: str, bench: Bench, folders: None, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.traffic.datetime", Minutes)
    for one in text.split(" && "):
        for pattern, name in NAMES.items():
            one = re.sub(pattern, name, one)
        before, more, looks = next(
            (scene for start, scene in SCENES.items() if re.match(start, one)), (nothing, "--yes", 2)
        )
        if text.startswith(one[:14]) or not one.startswith("thorax predict"):  # it asks what the first has made
            bench.set_up(Case("", "", before, looks))
        if re.match("thorax batch.*--resume", one):  # goes on from one of that name
            assert cli.main(shlex.split(f"{one.replace('--resume', '--job-name')} --yes")[1:]) == 0
        assert cli.main(shlex.split(f"{one} {more}")[1:]) == 0, capsys.readouterr().err
