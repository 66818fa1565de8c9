"""Shadow variants: a second bundle that gets a copy of the requests, is billed and seen, and comes into service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aws_scenes import S3_BUNDLE, Bench, Case, a_shadowed_endpoint
from thorax_launch.cli import deploy
from thorax_launch.sagemaker import Endpoint
from thorax_launch.settings import AwsSettings

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", "films", "--role", ROLE, "--region", "eu-central-1"]
NEW = "s3://films/thorax/two/output/model.tar.gz"
SHADOWED = Case("deploy", "", a_shadowed_endpoint)
Capture = pytest.CaptureFixture[str]


def dry(capsys: Capture, *more: str) -> tuple[dict[str, Any], str]:
    """(The calls, what is said about them)."""
    assert deploy.main([S3_BUNDLE, "--endpoint-name", "chest", *PLACE, "--dry-run", *more]) == 0, (
        capsys.readouterr().err
    )
    shown = capsys.readouterr()
    return json.loads(shown.out), shown.err


def test_a_shadow_is_a_second_model_on_machines_of_its_own(offline: Path, capsys: Capture) -> None:
    Path("prices.yaml").write_text("{as_of: 2026-11-01, region: eu-central-1, per_hour: {ml.m5.xlarge: 0.5}}")
    machine = ["--instance-type", "ml.m5.xlarge", "--instance-count", "2", "--prices", "prices.yaml"]
    calls, said = dry(capsys, "--shadow", f"{NEW}:25", *machine)
    main, shadow = calls["CreateModel"]
    assert main["PrimaryContainer"]["ModelDataUrl"] == S3_BUNDLE
    assert shadow["PrimaryContainer"] == {**main["PrimaryContainer"], "ModelDataUrl": NEW}
    assert shadow["ModelName"] == f"{main['ModelName']}-shadow"
    config = calls["CreateEndpointConfig"]
    (answering,), (shadowing,) = config["ProductionVariants"], config["ShadowProductionVariants"]
    assert shadowing == {
        **answering,
        "VariantName": "shadow",
        "ModelName": shadow["ModelName"],
        "InitialVariantWeight": 0.25,  # of the other's 1.0
    }
    assert f"shadow:   {NEW} gets 25 % of the requests, on 2 of the machines below" in said
    assert "machines: 4 x ml.m5.xlarge" in said
    assert "$2.00 an hour" in said
    assert (
        dry(capsys, "--shadow", NEW)[0]["CreateEndpointConfig"]["ShadowProductionVariants"][0]["InitialVariantWeight"]
        == 1.0
    )


def test_a_long_name_leaves_room_for_the_shadows(offline: Path, capsys: Capture) -> None:
    calls, _ = dry(capsys, "--shadow", NEW, "--endpoint-name", "x" * 63)
    assert max(len(model["ModelName"]) for model in calls["CreateModel"]) <= 63


def test_a_folder_is_a_shadow_too(offline: Path, light: Path, capsys: Capture) -> None:
    calls, said = dry(capsys, "--shadow", f"{light}:5")
    assert calls["CreateModel"][1]["PrimaryContainer"]["ModelDataUrl"].startswith("s3://films/thorax/bundles/")
    assert "upload:   1 file" in said


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--shadow", f"{NEW}:0"], f"--shadow {NEW}:0: the percentage of the requests must be 1 to 100"),
        (["--shadow", f"{NEW}:101"], f"--shadow {NEW}:101: the percentage of the requests must be 1 to 100"),
        (["--shadow", "nowhere"], "nowhere does not exist; name the model folder"),
        (["--shadow", NEW, "--serverless"], "--shadow with --serverless: AWS takes shadow variants at real-time"),
        (["--shadow", NEW, "--async"], "--shadow with --async: AWS takes shadow variants at real-time"),
        (["--shadow", NEW, "--canary", "10"], "--shadow with --canary: choose one"),
        (["--shadow", "registry:chest"], "registry:chest with --dry-run: only AWS knows"),
    ],
)
def test_what_is_refused(more: list[str], message: str, offline: Path, capsys: Capture) -> None:
    assert deploy.main([S3_BUNDLE, "--endpoint-name", "chest", *PLACE, "--dry-run", *more]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def run(bench: Bench, command: str, words: str) -> int:
    return bench.run(Case(command, words))


def names(bench: Bench, kind: str) -> list[str]:
    return sorted(name for found, name in bench.stand_in.things if found == kind)


def test_a_shadow_is_seen_and_deleted_with_its_endpoint(bench: Bench, capsys: Capture) -> None:
    assert run(bench, "deploy", f"{S3_BUNDLE} --endpoint-name chest --shadow {NEW} --yes PLACE") == 0
    assert len(names(bench, "Model")) == 2
    Path("prices.yaml").write_text("{as_of: 2026-11-01, region: eu-central-1, per_hour: {ml.m5.large: 1}}")
    capsys.readouterr()
    assert run(bench, "status", "--prices prices.yaml") == 0
    shown = capsys.readouterr().out
    assert shown.count("1 x ml.m5.large") == 2
    assert "with a shadow variant" in shown
    assert "left over" not in shown
    assert run(bench, "delete", "chest --yes") == 0
    assert [names(bench, kind) for kind in ("Model", "EndpointConfig", "Endpoint")] == [[], [], []]


def test_the_next_deployment_ends_the_shadow(bench: Bench, capsys: Capture) -> None:
    assert run(bench, "deploy", f"{S3_BUNDLE} --endpoint-name chest --shadow {NEW} --yes PLACE") == 0
    assert run(bench, "deploy", f"{NEW} --endpoint-name chest --yes PLACE") == 0
    (model,), (config,) = names(bench, "Model"), names(bench, "EndpointConfig")
    assert "ShadowProductionVariants" not in bench.stand_in.things["EndpointConfig", config]
    assert bench.stand_in.things["Model", model]["PrimaryContainer"]["ModelDataUrl"] == NEW


def test_a_shadow_comes_into_service_as_its_record_says(bench: Bench, capsys: Capture) -> None:
    bench.set_up(SHADOWED)
    bench.stand_in.metrics |= {("main", "Invocations"): [1000.0, 234.0], ("shadow", "Invocations"): [617.0]}
    bench.stand_in.metrics |= {("shadow", "Invocation5XXErrors"): [2.0], ("main", "ModelLatency"): [34_500.0]}
    assert run(bench, "deploy", "shadow:chest --yes PLACE") == 0
    shown = capsys.readouterr().err
    assert "main:    1,234 requests, 0 refused (4xx), 0 failed (5xx), 34.5 ms on the slowest day's average" in shown
    assert "shadow:  617 requests, 0 refused (4xx), 2 failed (5xx)" in shown
    (name,) = names(bench, "EndpointConfig")
    config = bench.stand_in.things["EndpointConfig", name]
    assert config["ProductionVariants"] == [
        {
            "VariantName": "main",
            "ModelName": "chest-0-shadow",
            "InstanceType": "ml.m5.xlarge",
            "InitialInstanceCount": 2,
            "InitialVariantWeight": 1.0,
        }
    ]
    assert "ShadowProductionVariants" not in config
    assert config["KmsKeyId"] == "alias/films"
    assert config["DataCaptureConfig"]["InitialSamplingPercentage"] == 10
    assert names(bench, "Model") == ["chest-0-shadow"]
    assert bench.stand_in.things["Endpoint", "chest"]["EndpointConfigName"] == name
    assert run(bench, "deploy", "shadow:chest --yes PLACE") == 0  # once more: it is done
    assert "what was its shadow answers" in capsys.readouterr().out
    assert names(bench, "EndpointConfig") == [name]
    assert run(bench, "delete", "chest --yes") == 0
    assert names(bench, "Model") == []


def test_a_shadow_that_does_not_answer_stays_a_shadow(bench: Bench, capsys: Capture) -> None:
    bench.set_up(SHADOWED)
    bench.stand_in.answer = b"out of order"
    assert run(bench, "deploy", "shadow:chest --yes PLACE") == 1
    assert "endpoint chest answers as before" in capsys.readouterr().err
    assert bench.stand_in.things["Endpoint", "chest"]["EndpointConfigName"] == "chest-0"
    assert names(bench, "EndpointConfig") == ["chest-0"]
    assert names(bench, "Model") == ["chest-0", "chest-0-shadow"]


def test_from_python(bench: Bench) -> None:
    bench.set_up(SHADOWED)
    Endpoint("chest", AwsSettings(region="eu-central-1", bucket="films", role=ROLE)).promote_shadow(canary=10)
    assert names(bench, "Model") == ["chest-0-shadow"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("shadow:nobody --yes PLACE", "DescribeEndpoint: "),
        ("shadow: --yes PLACE", "shadow: must be shadow:ENDPOINT"),
        (
            "shadow:chest --yes PLACE --instance-type ml.m5.large",
            "--instance-type with shadow:ENDPOINT: the shadow comes",
        ),
        ("shadow:chest --dry-run PLACE", "shadow:chest with --dry-run: only AWS knows the shadow"),
        (f"shadow:chest {NEW} --yes PLACE", f"shadow:chest {NEW}: shadow:ENDPOINT stands alone"),
    ],
)
def test_promotions_that_are_refused(words: str, message: str, bench: Bench, capsys: Capture) -> None:
    bench.set_up(SHADOWED)
    assert run(bench, "deploy", words) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {message}")


def test_an_endpoint_without_a_shadow(bench: Bench, capsys: Capture) -> None:
    assert run(bench, "deploy", f"{S3_BUNDLE} --endpoint-name chest --yes PLACE") == 0
    assert run(bench, "deploy", "shadow:chest --yes PLACE") == 1
    assert "endpoint chest has no shadow variant; `thorax deploy BUNDLE --shadow` makes one" in capsys.readouterr().err
