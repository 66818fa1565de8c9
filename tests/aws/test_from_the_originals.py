"""Rows of docs/from-the-originals.md that ask AWS, against a stand-in with a job, a search, a transform, endpoints."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import images
import originals
from aws_scenes import TAGS, Bench, Case, an_endpoint, running_job, search_done, two_variants
from originals import Row
from sagemaker_stand_in import StandIn
from thorax_launch import cli, sagemaker

ROWS = [row for row in originals.rows() if originals.needs_account(row.ours) and row.thing not in originals.ELSEWHERE]


def account(stand_in: StandIn) -> None:
    """Job one, search sweep with its best job, batch transform scores, endpoint chest, and ab with two variants."""
    search_done(stand_in)
    an_endpoint(stand_in)
    running_job(stand_in)
    stand_in.call("CreateModel", {"ModelName": "scores", "Tags": TAGS})
    transform = {"TransformJobName": "scores", "ModelName": "scores", "TransformResources": {}, "Tags": TAGS}
    stand_in.call("CreateTransformJob", transform)
    for job in (("TrainingJob", "one"), ("TransformJob", "scores")):
        stand_in.things[job]["state"] = "Completed"
    two_variants(stand_in, "ab")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}: {row.thing}")
def test_the_command_of_a_row_runs(
    row: Row, bench: Bench, light: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.set_up(Case("", "", account))
    originals.write_light(light, Path.cwd())
    images.put(Path("x-ray.jpeg"))
    originals.write_settings(Path.cwd())
    Path("thorax.yaml").write_text(f"{{region: eu-central-1, bucket: films, role: '{originals.ROLE}'}}")
    if row.ours.startswith("thorax "):
        assert cli.main(shlex.split(row.ours)[1:]) == 0, "".join(capsys.readouterr())
    else:
        assert eval(row.ours, {"sagemaker": sagemaker}) is not False
