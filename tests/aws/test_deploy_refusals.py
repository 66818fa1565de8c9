"""What deploy.py refuses in one line, before anything is sent: wrong flags, and what is no bundle."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from thorax_launch.cli import deploy

Capture = pytest.CaptureFixture[str]


def words(bundle: Path | str) -> list[str]:
    place = [
        "--bucket",
        "films",
        "--role",
        "arn:aws:iam::123456789012:role/thorax-execution",
        "--region",
        "eu-central-1",
    ]
    return [str(bundle), "--endpoint-name", "chest", *place, "--dry-run"]


def error(capsys: Capture) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--serverless", "--async"], "--serverless and --async: choose one"),
        (["--serverless", "--instance-type", "ml.m5.large"], "it has no machine of its own"),
        (["--memory-mb", "2048"], "--memory-mb is for --serverless"),
        (["--concurrency", "2"], "--concurrency is for --serverless and --async"),
        (["--autoscale", "3"], "--autoscale 3 must be LOW,HIGH"),
        (["--autoscale", "3,1"], "--autoscale 3,1: give lowest,highest"),
        (["--autoscale-target", "3"], "goes with --autoscale LOW,HIGH"),
        (["--capture", "101"], "InitialSamplingPercentage=101 is not 0 to 100"),
        (["--instance-count", "0"], "--instance-count 0 must be 1 or more"),
        (["--instance-type", "big"], "no AWS image for --region eu-central-1 and --instance-type big"),
        (["--endpoint-name", "che_st"], "--endpoint-name che_st must be 1 to 63 letters, digits and hyphens"),
        (["--endpoint-name", "x" * 64], "must be 1 to 63 letters"),
        (["--register", "a b"], "ModelPackageGroupName='a b'"),
    ],
)
def test_a_wrong_flag_is_one_line_before_anything_is_sent(
    more: list[str], message: str, offline: Path, light: Path, capsys: Capture
) -> None:
    assert deploy.main([*words(light), *more]) == 1
    assert message in error(capsys)


def test_what_is_no_bundle_is_refused(offline: Path, light: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tar.gz").write_bytes(b"text")
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as tar:
        tar.add(light / "bundle.json", "bundle.json")
    expected = {
        "empty": "is not a bundle: it has no bundle.json",
        "text.tar.gz": "is no .tar.gz that can be read",
        "missing": "missing does not exist",
        "other.tar.gz": "is no bundle that AWS can serve: it has no model.safetensors",
    }
    for name, message in expected.items():
        assert deploy.main(words(tmp_path / name)) == 1
        assert message in error(capsys)
    assert deploy.main(words("s3://films/model")) == 1
    assert "s3://films/model does not end with .tar.gz" in error(capsys)
    assert deploy.main(["--local", str(light), "--serverless"]) == 1
    assert error(capsys) == "error: --serverless is for AWS; leave it out, or leave --local out"
