"""Several bundles behind one endpoint, each asked by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aws_scenes import S3_BUNDLE, Bench, Case
from thorax_launch.cli import deploy, predict

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", "films", "--role", ROLE, "--region", "eu-central-1"]
SEVERAL = [f"adults={S3_BUNDLE}", "s3://films/thorax/children/output/model.tar.gz"]
NAMED = ["--endpoint-name", "chest", "--image", "torchserve"]
Capture = pytest.CaptureFixture[str]


def dry(capsys: Capture, *words: str) -> tuple[dict[str, Any], str]:
    """(The calls, what is said about them)."""
    assert deploy.main([*words, *NAMED, *PLACE, "--dry-run"]) == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    return json.loads(shown.out), shown.err


def test_one_model_over_a_folder_of_bundles(offline: Path, light: Path, capsys: Capture) -> None:
    calls, said = dry(capsys, *SEVERAL, f"local={light}")
    container = calls["CreateModel"]["PrimaryContainer"]
    assert container["Mode"] == "MultiModel"
    assert container["Environment"]["TS_ENABLE_MODEL_API"] == "true"  # see tests/contract/test_multi_model.py
    folder = container["ModelDataUrl"]
    assert folder.startswith("s3://films/thorax/bundles/multi-") and folder.endswith("/")
    assert f"bundles adults, children, local in {folder}" in said
    assert f"copied:   {S3_BUNDLE}  {folder}adults.tar.gz" in said
    assert f"copied:   {SEVERAL[1]}  {folder}children.tar.gz" in said
    assert f"{folder}local.tar.gz" in said
    again, _ = dry(capsys, f"local={light}", *SEVERAL)
    assert again["CreateModel"]["PrimaryContainer"]["ModelDataUrl"] == folder  # whatever their order
    other, _ = dry(capsys, *SEVERAL)
    assert other["CreateModel"]["PrimaryContainer"]["ModelDataUrl"] != folder


def test_one_bundle_with_a_name_is_several_of_one(offline: Path, capsys: Capture) -> None:
    calls, _ = dry(capsys, SEVERAL[0])
    assert calls["CreateModel"]["PrimaryContainer"]["Mode"] == "MultiModel"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*SEVERAL, "--endpoint-name", "c"], "several bundles with --image ray: AWS's Ray image has no /models"),
        ([*SEVERAL, "--image", "torchserve"], "--endpoint-name is missing: several bundles have no common name"),
        (
            [*SEVERAL, *NAMED, "--serverless"],
            "--serverless with several bundles: AWS has multi-model endpoints in real",
        ),
        ([*SEVERAL, *NAMED, "--async"], "--async with several bundles"),
        ([*SEVERAL, *NAMED, "--capture", "5"], "--capture is for an endpoint of one bundle"),
        ([*SEVERAL, *NAMED, "--register", "g"], "--register is for an endpoint of one bundle"),
        ([*SEVERAL, *NAMED, "--shadow", S3_BUNDLE], "--shadow with several bundles"),
        (
            [*SEVERAL, *NAMED, "--instance-type", "ml.g5.xlarge"],
            "--instance-type ml.g5.xlarge with several bundles: on GPU",
        ),
        ([S3_BUNDLE, "s3://b/x/one/model.tar.gz", *NAMED], "two bundles are called one, s3://films/thorax/one/output"),
        (["a b=s3://b/x/model.tar.gz", *NAMED], "a b=s3://b/x/model.tar.gz: a bundle's name is up to 63"),
        ([SEVERAL[0], "x=registry:chest", *NAMED], "registry:chest with --dry-run: only AWS knows"),
    ],
)
def test_what_is_refused(words: list[str], message: str, offline: Path, capsys: Capture) -> None:
    assert deploy.main([*words, *PLACE, "--dry-run"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_an_image_of_ones_own_may_hold_several(offline: Path, capsys: Capture) -> None:
    own = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/thorax:1"
    assert deploy.main([*SEVERAL, "--endpoint-name", "chest", "--image", own, *PLACE, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["CreateModel"]["PrimaryContainer"]["Image"] == own


def test_each_bundle_is_copied_asked_and_deleted(bench: Bench, archive: bytes, capsys: Capture) -> None:
    s3 = bench.aws.client("s3")
    words = f"{' '.join(SEVERAL)} local=BUNDLE --endpoint-name chest --image torchserve --yes PLACE"
    assert bench.run(Case("deploy", words)) == 0, capsys.readouterr().err
    asked = [one["TargetModel"] for one in bench.aws.sent("InvokeEndpoint")]
    assert asked == ["adults.tar.gz", "children.tar.gz", "local.tar.gz"]
    (model,) = (one for (kind, _), one in bench.stand_in.things.items() if kind == "Model")
    folder = model["PrimaryContainer"]["ModelDataUrl"].removeprefix("s3://films/")
    bench.aws.own = list(bench.aws.calls)
    stored = {one["Key"].removeprefix(folder) for one in s3.list_objects_v2(Bucket="films", Prefix=folder)["Contents"]}
    assert stored == {"adults.tar.gz", "children.tar.gz", "local.tar.gz"}
    assert s3.get_object(Bucket="films", Key=f"{folder}children.tar.gz")["Body"].read() == archive
    assert "smoke test of children: " in capsys.readouterr().out
    bench.aws.own = None
    assert bench.run(Case("delete", "chest --yes")) == 0
    assert not [name for kind, name in bench.stand_in.things if kind in ("Model", "Endpoint", "EndpointConfig")]


def test_a_bundle_that_is_not_loaded_yet_is_asked_again(bench: Bench, capsys: Capture) -> None:
    bench.stand_in.not_ready = 2
    words = f"{SEVERAL[0]} --endpoint-name chest --image torchserve --yes PLACE"
    assert bench.run(Case("deploy", words)) == 0, capsys.readouterr().err


def test_predict_names_its_target(bench: Bench, few: Path, light: Path, capsys: Capture) -> None:
    words = f"{SEVERAL[0]} --endpoint-name chest --image torchserve --yes PLACE"
    assert bench.run(Case("deploy", words)) == 0
    assert predict.main(["chest", str(few / "train/NORMAL/a.png"), "--target", "adults", "--json"]) == 0
    assert bench.aws.sent("InvokeEndpoint")[-1]["TargetModel"] == "adults.tar.gz"
    place = f"--bucket films --role {ROLE} --region eu-central-1"
    words = f"BUNDLE --endpoint chest --target adults --data DATA/train --out OUT/t.csv {place}"
    assert bench.run(Case("batch", words)) == 0
    assert {one["TargetModel"] for one in bench.aws.sent("InvokeEndpoint")} == {"adults.tar.gz"}
    assert predict.main([str(light), "a.png", "--target", "adults"]) == 1
    assert f"--target adults: {light} is one bundle; leave it out" in capsys.readouterr().err


def test_a_bundle_that_is_not_there_ends_it_before_anything_is_made(bench: Bench, capsys: Capture) -> None:
    words = (
        f"{SEVERAL[0]} b=s3://films/thorax/nowhere/model.tar.gz --endpoint-name chest --image torchserve --yes PLACE"
    )
    assert bench.run(Case("deploy", words)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "error: there is no bundle at s3://films/thorax/nowhere/model.tar.gz"
    assert not bench.stand_in.things
