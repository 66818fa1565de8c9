"""Production variants: bundles that share an endpoint's requests by weight; weights that are moved, with a guard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aws_scenes import S3_BUNDLE, Bench, Case, an_endpoint
from thorax.errors import ThoraxError
from thorax_launch import sagemaker
from thorax_launch.cli import deploy
from thorax_launch.settings import AwsSettings

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", "films", "--role", ROLE, "--region", "eu-central-1"]
NEW = "s3://films/thorax/two/output/model.tar.gz"
TWO = f"--variant old={S3_BUNDLE}:90 --variant new={NEW}:10"
Capture = pytest.CaptureFixture[str]


def dry(capsys: Capture, *more: str) -> tuple[dict[str, Any], str]:
    """(The calls, what is said about them)."""
    words = ["--endpoint-name", "chest", *PLACE, "--dry-run"]
    assert deploy.main([*TWO.split(), *words, *more]) == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    return json.loads(shown.out), shown.err


def test_each_variant_is_a_model_on_machines_of_its_own_with_its_weight(offline: Path, capsys: Capture) -> None:
    Path("prices.yaml").write_text("{as_of: 2026-11-01, region: eu-central-1, per_hour: {ml.m5.xlarge: 0.5}}")
    calls, said = dry(capsys, "--instance-type", "ml.m5.xlarge", "--instance-count", "2", "--prices", "prices.yaml")
    old, new = calls["CreateModel"]
    assert [one["PrimaryContainer"]["ModelDataUrl"] for one in (old, new)] == [S3_BUNDLE, NEW]
    assert old["ModelName"].endswith("-old") and new["ModelName"].endswith("-new")
    variants = calls["CreateEndpointConfig"]["ProductionVariants"]
    common = {"InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 2}
    assert variants == [
        {"VariantName": "old", "ModelName": old["ModelName"], "InitialVariantWeight": 90.0, **common},
        {"VariantName": "new", "ModelName": new["ModelName"], "InitialVariantWeight": 10.0, **common},
    ]
    assert f"variant:  old gets 90 %, {S3_BUNDLE}" in said and f"variant:  new gets 10 %, {NEW}" in said
    assert "machines: 4 x ml.m5.xlarge" in said and "$2.00 an hour" in said


def test_three_variants_with_weights_that_are_no_percent(offline: Path, light: Path, capsys: Capture) -> None:
    words = ["--variant", f"a={light}:0.5", "--variant", f"b={NEW}", "--variant", f"c={S3_BUNDLE}:0"]
    assert deploy.main([*words, "--endpoint-name", "x" * 63, *PLACE, "--dry-run"]) == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    calls = json.loads(shown.out)
    assert max(len(model["ModelName"]) for model in calls["CreateModel"]) <= 63
    weights = [one["InitialVariantWeight"] for one in calls["CreateEndpointConfig"]["ProductionVariants"]]
    assert weights == [0.5, 1.0, 0.0]
    assert "a gets 33.33 %" in shown.err and "c gets 0 %" in shown.err and "upload:   1 file" in shown.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: name a BUNDLE, or --job NAME, or several as --variant NAME=BUNDLE:WEIGHT"),
        ([S3_BUNDLE, *TWO.split()], "BUNDLE and --variant: choose one"),
        ([*TWO.split(), "--job", "one"], "--job and --variant: choose one"),
    ],
)
def test_what_is_no_command_line(words: list[str], message: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        deploy.main([*words, *PLACE, "--endpoint-name", "chest"])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"--variant old={S3_BUNDLE}", "--variant is given 1 times: 2 to 10 bundles share an endpoint"),
        (f"{TWO} --variant old={NEW}", f"--variant old is given twice, {S3_BUNDLE}:90 and {NEW}; give it once"),
        (f"--variant old={S3_BUNDLE}:0 --variant new={NEW}:0", "the weights of old, new are all 0"),
        (f"--variant shadow={S3_BUNDLE} --variant b={NEW}", "--variant shadow=...: a variant's name is up to 20"),
        (f"--variant a_b={S3_BUNDLE} --variant b={NEW}", "--variant a_b=...: a variant's name is up to 20"),
        (f"--variant a=nowhere --variant b={NEW}", "nowhere does not exist; name the model folder"),
        (f"{TWO} --serverless", "--variant with --serverless: AWS divides requests at real-time endpoints alone"),
        (f"{TWO} --async", "--variant with --async: AWS divides requests at real-time endpoints alone"),
        (f"{TWO} --shadow {NEW}", "--variant with --shadow: AWS takes a shadow beside a single variant"),
        (f"{TWO} --canary 10", "--variant with --canary: AWS shifts traffic so for a single variant"),
        (f"{TWO} --autoscale 1,2", "--variant with --autoscale: set --instance-count"),
        (f"{TWO} --register chest", "--variant with --register: register the bundle that wins"),
        (f"{TWO} --variant c=registry:chest", "registry:chest with --dry-run: only AWS knows"),
        ("--weights old=x", "--weights old=x must be VARIANT=WEIGHT,VARIANT=WEIGHT"),
        ("--weights old=1,old=2", "--weights old=1,old=2 must be VARIANT=WEIGHT,VARIANT=WEIGHT, each once"),
        ("--weights old=-1", "--weights old=-1 must be VARIANT=WEIGHT"),
        ("--weights old=nan", "--weights old=nan must be VARIANT=WEIGHT"),
        ("--weights old=0,new=0", "the weights of old, new are all 0"),
        ("--weights old=1 --instance-type ml.m5.large", "--instance-type with --weights: nothing is deployed"),
    ],
)
def test_what_is_refused(words: str, message: str, offline: Path, capsys: Capture) -> None:
    assert deploy.main([*words.split(), "--endpoint-name", "chest", *PLACE, "--dry-run"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_variants_need_a_name(offline: Path, capsys: Capture) -> None:
    assert deploy.main([*TWO.split(), *PLACE, "--dry-run"]) == 1
    assert "no one bundle gives the endpoint its name; give --endpoint-name NAME" in capsys.readouterr().err


def test_a_dry_run_of_moved_weights_is_the_request(offline: Path, capsys: Capture) -> None:
    assert deploy.main(["--weights", "old=50,new=50", "--endpoint-name", "chest", *PLACE, "--dry-run"]) == 0
    (request,) = json.loads(capsys.readouterr().out).values()
    wanted = [{"VariantName": name, "DesiredWeight": 50.0} for name in ("old", "new")]
    assert request == {"EndpointName": "chest", "DesiredWeightsAndCapacities": wanted}


# -- Against an account of things with states --------------------------------------------------------------------------


def run(bench: Bench, words: str, command: str = "deploy") -> int:
    return bench.run(Case(command, words))


def names(bench: Bench, kind: str) -> list[str]:
    return sorted(name for found, name in bench.stand_in.things if found == kind)


def weights(bench: Bench) -> dict[str, float]:
    found = bench.stand_in.call("DescribeEndpoint", {"EndpointName": "chest"})["ProductionVariants"]
    return {one["VariantName"]: one["DesiredWeight"] for one in found}


@pytest.fixture
def two(bench: Bench) -> Bench:
    """Endpoint chest with the variants old and new."""
    assert run(bench, f"{TWO} --endpoint-name chest --yes PLACE") == 0
    return bench


def test_each_variant_is_asked_and_all_go_with_the_endpoint(bench: Bench, capsys: Capture) -> None:
    assert run(bench, f"{TWO} --endpoint-name chest --yes PLACE") == 0
    assert [one["TargetVariant"] for one in bench.aws.sent("InvokeEndpoint")] == ["old", "new"]
    shown = capsys.readouterr().out
    assert "smoke test of old: " in shown and "smoke test of new: " in shown
    assert run(bench, "", "status") == 0
    shown = capsys.readouterr().out
    assert shown.count("1 x ml.m5.large") == 2 and "left over" not in shown
    assert run(bench, "chest --yes", "delete") == 0
    assert [names(bench, kind) for kind in ("Model", "EndpointConfig", "Endpoint")] == [[], [], []]


def test_one_variant_is_asked_by_name(two: Bench, light: Path, few: Path, capsys: Capture) -> None:
    image = few / "train/NORMAL/a.png"
    assert run(two, f"chest {image} --variant new", "predict") == 0
    assert two.aws.sent("InvokeEndpoint")[-1]["TargetVariant"] == "new"
    assert run(two, f"{light} {image} --variant new", "predict") == 1
    assert "--variant new: endpoints on AWS alone have variants; leave it out" in capsys.readouterr().err
    sagemaker.attach("chest").predict([b"image"], variant="old")
    assert two.aws.sent("InvokeEndpoint")[-1]["TargetVariant"] == "old"


def test_a_variant_that_fails_takes_the_whole_deployment_back(bench: Bench, capsys: Capture) -> None:
    bench.stand_in.failing.add("new")
    assert run(bench, f"{TWO} --endpoint-name chest --yes PLACE") == 1
    assert "endpoint chest is up, but variant new fails" in capsys.readouterr().err
    assert [names(bench, kind) for kind in ("Model", "EndpointConfig", "Endpoint")] == [[], [], []]


def test_the_winner_alone_is_the_next_deployment(two: Bench) -> None:
    assert run(two, f"{NEW} --endpoint-name chest --yes PLACE") == 0
    assert len(names(two, "Model")) == len(names(two, "EndpointConfig")) == 1
    assert weights(two) == {"main": 1.0}


def test_weights_are_moved_without_a_deployment(two: Bench, capsys: Capture) -> None:
    configuration = names(two, "EndpointConfig")
    assert run(two, "--weights new=30 --endpoint-name chest --yes PLACE") == 0
    assert weights(two) == {"old": 90.0, "new": 30.0}
    shown = capsys.readouterr()
    assert "changes:  endpoint chest, old 75 %, new 25 %\nbefore:   old 90 %, new 10 %" in shown.err
    assert shown.out.splitlines()[-1] == "endpoint chest: old 75 %, new 25 %"
    assert names(two, "EndpointConfig") == configuration
    assert run(two, "--weights old=0,new=1 --endpoint-name chest --yes PLACE") == 0
    assert [one["TargetVariant"] for one in two.aws.sent("InvokeEndpoint")][-1:] == ["new"]  # nobody asks old


def test_a_variant_that_does_not_answer_gets_no_more_requests(two: Bench, capsys: Capture) -> None:
    two.stand_in.failing.add("new")
    assert run(two, "--weights old=50,new=50 --endpoint-name chest --yes PLACE") == 1
    assert (
        capsys.readouterr().err.rstrip().endswith("endpoint chest divides its requests as before: old 90 %, new 10 %")
    )
    assert weights(two) == {"old": 90.0, "new": 10.0}


def test_errors_after_the_change_take_it_back(two: Bench, capsys: Capture) -> None:
    two.stand_in.metrics[("new", "Invocation5XXErrors")] = [3.0]
    assert run(two, "--weights new=90 --endpoint-name chest --bake-minutes 1 --yes PLACE") == 1
    shown = capsys.readouterr().err
    assert "guard:    answers of 5xx in the 1 minutes after it take it back" in shown
    assert "endpoint chest has answered with 5xx since the change (new 3); endpoint chest divides its" in shown
    assert weights(two) == {"old": 90.0, "new": 10.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--weights newer=1", "error: endpoint chest has no variant newer; did you mean new?"),
        ("--weights old=0,new=0", "error: the weights of old, new are all 0"),
    ],
)
def test_moves_that_are_refused(words: str, message: str, two: Bench, capsys: Capture) -> None:
    assert run(two, f"{words} --endpoint-name chest --yes PLACE") == 1
    assert capsys.readouterr().err.startswith(message)
    assert "UpdateEndpointWeightsAndCapacities" not in two.aws.operations


def test_an_endpoint_of_one_variant_has_nothing_to_divide(bench: Bench, capsys: Capture) -> None:
    bench.set_up(Case("", "", an_endpoint))
    assert run(bench, "--weights main=1 --endpoint-name chest --yes PLACE") == 1
    assert "endpoint chest has one variant, which gets all requests" in capsys.readouterr().err


def test_an_update_that_is_taken_back_keeps_moved_weights(two: Bench, capsys: Capture) -> None:
    assert run(two, "--weights old=40,new=60 --endpoint-name chest --yes PLACE") == 0
    two.stand_in.answer = b"out of order"
    assert run(two, f"{NEW} --endpoint-name chest --yes PLACE") == 1
    assert "endpoint chest answers as before" in capsys.readouterr().err
    assert weights(two) == {"old": 40.0, "new": 60.0}


def test_an_autoscaled_endpoint_keeps_its_one_variant(bench: Bench, capsys: Capture) -> None:
    bench.set_up(Case("", "", an_endpoint))
    assert run(bench, f"{TWO} --endpoint-name chest --yes PLACE") == 1
    assert "endpoint chest is autoscaled, and its variant main would go: first run `aws" in capsys.readouterr().err


def test_from_python(bench: Bench) -> None:
    settings = AwsSettings(region="eu-central-1", bucket="films", role=ROLE)
    variant = {"old": f"{S3_BUNDLE}:90", "new": NEW}
    with pytest.raises(ThoraxError, match="--variant 5 must be a mapping"):
        sagemaker.deploy((), "chest", settings=settings, dry_run=True, variant=5)
    endpoint = sagemaker.deploy((), "chest", settings=settings, variant=variant)
    endpoint.set_weights({"new": 10})
    assert weights(bench) == {"old": 90.0, "new": 10.0}
    endpoint.delete()
