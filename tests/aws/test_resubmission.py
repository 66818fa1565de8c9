"""The same --job-name once more: never a second job, and never an old one in the place of changed code or images."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from aws_scenes import Bench
from conftest import ROOT
from thorax.errors import ThoraxError
from thorax_launch import sagemaker
from thorax_launch.settings import AwsSettings

SETTINGS = AwsSettings(
    region="eu-central-1", bucket="films", role="arn:aws:iam::123456789012:role/thorax-execution", prefix="thorax"
)
KINDS = {"train": "TrainingJob", "tune": "HyperParameterTuningJob"}


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A copy of the code that a user may change."""
    folder = tmp_path / "source_dir"
    folder.mkdir()
    for name in ("train_model.py", "inference.py", "deployment.py", "requirements.txt"):
        shutil.copy(ROOT / "source_dir" / name, folder)
    return folder


def send(command: str, code: Path, images: str = "s3://films/train", **more: Any) -> Any:
    make = getattr(sagemaker, command)
    return make("pneumonia-resnet18", {"train": images}, settings=SETTINGS, job_name="one", source_dir=code, **more)


def there(bench: Bench, command: str) -> list[str]:
    return [name for kind, name in bench.stand_in.things if kind == KINDS[command]]


@pytest.mark.parametrize("command", KINDS)
def test_the_same_request_goes_on_with_the_job_that_is_there(
    command: str, bench: Bench, code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    send(command, code)
    send(command, code)
    assert there(bench, command) == ["one"]
    assert "one is there (InProgress), from this very request: none is started twice" in capsys.readouterr().out


@pytest.mark.parametrize("command", KINDS)
def test_changed_code_is_neither_started_twice_nor_taken_for_the_old(command: str, bench: Bench, code: Path) -> None:
    send(command, code)
    s3 = bench.aws.client("s3")

    def stored() -> dict[str, str]:
        listed = s3.list_objects_v2(Bucket="films", Prefix="thorax/one/source/")["Contents"]
        return {one["Key"]: one["ETag"] for one in listed}

    bench.aws.own = list(bench.aws.calls)
    before = stored()
    (code / "train_model.py").write_text((code / "train_model.py").read_text() + "# a fix\n")
    with pytest.raises(ThoraxError) as caught:
        send(command, code)
    line = str(caught.value)
    assert line.startswith("the name one is taken by a ")
    assert "with another request (InProgress): give another --job-name" in line
    assert there(bench, command) == ["one"]
    after = stored()
    assert {key: after[key] for key in before} == before  # the code of the job that runs stays as it is


def test_changed_images_are_another_request(bench: Bench, code: Path, few: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(few / "train", images)
    send("train", code, str(images))
    (images / "NORMAL" / "more.png").write_bytes(b"more")
    with pytest.raises(ThoraxError, match="the name one is taken by a job with another request"):
        send("train", code, str(images))


@pytest.mark.parametrize("changed", [{"max_hours": 9.0}, {"hyperparameters": {"epochs": 9}}, {"env": {"A": "b"}}])
def test_a_changed_setting_is_another_request(changed: dict[str, Any], bench: Bench, code: Path) -> None:
    send("train", code)
    with pytest.raises(ThoraxError, match="the name one is taken by a job with another request"):
        send("train", code, **changed)


def test_a_search_with_another_goal_is_another_request(bench: Bench, code: Path) -> None:
    send("tune", code, target=0.9)
    with pytest.raises(ThoraxError, match="the name one is taken by a search with another request"):
        send("tune", code, target=0.95)
    with pytest.raises(ThoraxError, match="the name one is taken by a search with another request"):
        send("tune", code)


def test_a_setting_that_is_left_out_is_another_request(bench: Bench, code: Path) -> None:
    """What the job has and the new request has not."""
    send("train", code, env={"A": "b"})
    with pytest.raises(ThoraxError, match="the name one is taken by a job with another request"):
        send("train", code)
