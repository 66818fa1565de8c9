"""pipeline.py: the definition is as ever and valid step by step; made and started against moto.

And the same steps on this machine.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, clean_environment
from golden import check
from thorax.errors import ThoraxError
from thorax_launch.cli import pipeline
from thorax_launch.sagemaker.definitions import check_definition
from thorax_launch.sagemaker.package import packed, source_files
from warm_python import PYTHON

BUCKET, ROLE = "films", "arn:aws:iam::123456789012:role/thorax-execution"
IMAGES = ["--train", "s3://films/train", "--test", "s3://films/test", "--group", "chest-models"]
PLACE = ["--region", "eu-central-1", "--bucket", BUCKET, "--role", ROLE]
SECURE = [
    "--subnets",
    "subnet-1",
    "--security-groups",
    "sg-1",
    "--kms-key",
    "alias/films",
    "--encrypt-traffic",
    "--spot",
]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def same_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.sagemaker.training_jobs.commit", lambda: "0" * 40)


def dry(capsys: Capture, *more: str) -> dict[str, Any]:
    assert pipeline.main(["pneumonia-resnet18", *IMAGES, *PLACE, "--dry-run", *more]) == 0, capsys.readouterr().err
    definition: dict[str, Any] = json.loads(capsys.readouterr().out)
    return definition


def test_the_definition(offline: Path, capsys: Capture) -> None:
    check("pipeline", dry(capsys))


def test_runs_do_not_share_what_they_write(offline: Path, capsys: Capture) -> None:
    """A run that found the checkpoints of the one before would train nothing, and scores would be those of another
    bundle.
    """
    steps = dry(capsys)["Steps"]
    register = steps[3]["Arguments"]["IfSteps"][0]["Arguments"]
    places = [
        steps[1]["Arguments"]["CheckpointConfig"]["S3Uri"],
        register["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"],
    ]
    places += [
        step["Arguments"]["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] for step in (steps[0], steps[2])
    ]
    assert all({"Get": "Execution.PipelineExecutionId"} in place["Std:Join"]["Values"] for place in places)


def test_no_setting_is_dropped_from_a_step(offline: Path, capsys: Capture) -> None:
    prepare, train, evaluate = dry(capsys, *SECURE, "--instance-type", "ml.m5.xlarge")["Steps"][:3]
    assert train["Arguments"]["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    for step in (prepare, evaluate):
        assert step["Arguments"]["NetworkConfig"]["VpcConfig"] == train["Arguments"]["VpcConfig"]
        assert step["Arguments"]["NetworkConfig"]["EnableInterContainerTrafficEncryption"] is True
        assert step["Arguments"]["ProcessingOutputConfig"]["KmsKeyId"] == "alias/films"
        assert step["Arguments"]["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] == "alias/films"


def test_local_disks_get_no_key(offline: Path, capsys: Capture) -> None:
    steps = dry(capsys, *SECURE, "--instance-type", "ml.g5.xlarge")["Steps"]
    machines = [
        steps[0]["Arguments"]["ProcessingResources"]["ClusterConfig"],
        steps[1]["Arguments"]["ResourceConfig"],
        steps[2]["Arguments"]["ProcessingResources"]["ClusterConfig"],
    ]
    step, training = {"Get": "Parameters.StepInstanceType"}, {"Get": "Parameters.TrainInstanceType"}
    assert [(one["InstanceType"], one.get("VolumeKmsKeyId")) for one in machines] == [
        (step, "alias/films"),
        (training, None),
        (step, "alias/films"),
    ]
    assert (
        pipeline.main(
            [
                "pneumonia-resnet18",
                *IMAGES,
                *PLACE,
                "--dry-run",
                "--volume-kms-key",
                "alias/disk",
                "--instance-type",
                "ml.g5.xlarge",
            ]
        )
        == 1
    )
    assert capsys.readouterr().err.startswith("error: --volume-kms-key alias/disk with ml.g5.xlarge: AWS takes no key")


def broken(definition: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Definitions that are wrong in one place, and the message."""
    cases = []
    for change, message in [
        (
            lambda d: d["Steps"][0]["Arguments"]["AppSpecification"].pop("ImageUri"),
            "pipeline step Prepare: AppSpecification.ImageUri is missing",
        ),
        (lambda d: d["Steps"][1]["Arguments"].update(Colour="red"), "pipeline step Train: Colour is unknown to AWS"),
        (lambda d: d["Steps"].reverse(), "names no parameter or earlier step"),
        (lambda d: d["Parameters"].clear(), "names no parameter or earlier step"),
        (lambda d: d["Steps"][2].update(Name="Train"), "pipeline step Train: the name is there twice"),
        (
            lambda d: d["Steps"][1].update(DependsOn=["Nothing"]),
            "pipeline step Train: Steps.Nothing. names no parameter or earlier step",
        ),
        (
            lambda d: d["Steps"][3]["Arguments"]["IfSteps"][0]["Arguments"].update(ModelApprovalStatus="Maybe"),
            "pipeline step Register: ModelApprovalStatus='Maybe' is not one of",
        ),
    ]:
        wrong = copy.deepcopy(definition)
        change(wrong)
        cases.append((wrong, message))
    return cases


def test_a_wrong_definition_is_refused(offline: Path, capsys: Capture) -> None:
    definition = dry(capsys)
    check_definition(definition)
    for wrong, message in broken(definition):
        with pytest.raises(ThoraxError) as caught:
            check_definition(wrong)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train", "s3://films/train"], "--test is missing: the pipeline evaluates"),
        (
            [
                "--train",
                "s3://films/train",
                "--test",
                "s3://films/test",
                "--network-isolation",
                "--training-image",
                "i",
            ],
            "--network-isolation: the steps",
        ),
        (["--test", "s3://films/test"], "--train is missing"),
        (["--train", "s3://films/train", "--test", "s3://films/test", "--job-name", "a_b"], "a_b"),
    ],
)
def test_a_wrong_flag_is_one_line(words: list[str], message: str, offline: Path, capsys: Capture) -> None:
    assert pipeline.main(["demo", *words, *PLACE, "--group", "chest", "--dry-run"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert message in shown
    assert shown.count("\n") == 1


def test_made_replaced_and_started(aws: Any, capsys: Capture) -> None:
    words = ["pneumonia-resnet18", *IMAGES, *PLACE, "--yes"]
    definition = dry(capsys)
    assert pipeline.main(words) == 0
    (made,) = aws.sent("CreatePipeline")
    assert json.loads(made["PipelineDefinition"]) == definition
    assert made["PipelineName"] == "thorax-pneumonia-resnet18"
    assert "StartPipelineExecution" not in aws.operations
    arn = "arn:aws:sagemaker:eu-central-1:123456789012:model-package/chest-models/"
    registered = {"1": ("Approved", "0.91"), "2": ("Rejected", "0.99"), "3": ("PendingManualApproval", "0.95")}
    aws.answers["ListModelPackages"] = lambda _: {
        "ModelPackageSummaryList": [{"ModelPackageArn": arn + version} for version in registered]
    }

    def described(asked: dict[str, Any]) -> dict[str, Any]:
        status, auc = registered[asked["ModelPackageName"].rpartition("/")[2]]
        return {"ModelApprovalStatus": status, "CustomerMetadataProperties": {"auc": auc}}

    aws.answers["DescribeModelPackage"] = described
    aws.faults["CreatePipeline"] = [
        (400, "ValidationException", "Pipeline names must be unique; thorax-pneumonia-resnet18 already exists")
    ]
    assert pipeline.main([*words, "--start"]) == 0
    assert len(aws.sent("UpdatePipeline")) == 1
    assert aws.sent("StartPipelineExecution")[0]["PipelineParameters"] == [{"Name": "BestAuc", "Value": "0.950000"}]
    assert "registers where the test AUC is above 0.950000" in capsys.readouterr().out


@pytest.mark.skipif(
    not all(importlib.util.find_spec(f"thorax.{name}.__main__") for name in ("dataset", "scoring")),
    reason="needs python -m thorax.dataset and python -m thorax.scoring",
)
def test_the_steps_scripts_run(aws: Any, images: Path, tmp_path: Path, capsys: Capture) -> None:
    """Both processing steps as their containers start them, from what is in S3, below a folder in place of
    /opt/ml/processing, with no other code than what the step ships.
    """
    from scoring.test_evaluate import write

    words = ["--train", str(images / "train"), "--test", str(images / "test"), "--group", "chest"]
    assert pipeline.main(["demo", *words, *PLACE, "--yes"]) == 0
    definition = json.loads(aws.sent("CreatePipeline")[0]["PipelineDefinition"])
    write(tmp_path / "model")
    model = packed(source_files(tmp_path / "model"), 1)
    for number, output in ((0, "check.json"), (2, "scores.json")):
        base = tmp_path / f"step{number}"
        run_step(aws, definition, number, base, model)
        assert json.loads((base / "out" / output).read_text())
        with tarfile.open(base / "tools" / "sourcedir.tar.gz") as tar:
            names = set(tar.getnames())
        assert {"requirements.txt", "train_model.py", "thorax/job.py"} <= names
        assert not any("thorax_launch" in name or name.startswith("launch") for name in names)


def run_step(aws: Any, definition: dict[str, Any], number: int, base: Path, model: bytes) -> None:
    """Puts a step's inputs below `base` and runs its script there."""
    arguments = definition["Steps"][number]["Arguments"]
    defaults = {f"Parameters.{one['Name']}": one["DefaultValue"] for one in definition["Parameters"]}
    s3 = aws.client("s3")
    for step_input in arguments["ProcessingInputs"]:
        place = step_input["S3Input"]
        folder = base / place["LocalPath"].removeprefix("/opt/ml/processing/")
        folder.mkdir(parents=True)
        if step_input["InputName"] == "bundle":
            (folder / "model.tar.gz").write_bytes(model)
            continue
        address = place["S3Uri"]
        address = defaults[address["Get"]] if isinstance(address, dict) else address
        prefix = address.removeprefix(f"s3://{BUCKET}/")
        for found in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]:
            file = folder / found["Key"].removeprefix(prefix)
            file.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(BUCKET, found["Key"], str(file))
    (base / "out").mkdir()
    program, path = arguments["AppSpecification"]["ContainerEntrypoint"]
    script = (base / path.removeprefix("/opt/ml/processing/")).read_text().replace("/opt/ml/processing", str(base))
    script = script.replace("pip install -q", "true").replace("python ", f"{PYTHON} ")
    alone = {key: value for key, value in clean_environment().items() if key != "PYTHONPATH"}
    done = subprocess.run([program, "-c", script], capture_output=True, text=True, timeout=120, check=False, env=alone)
    assert done.returncode == 0, done.stdout + done.stderr


def test_on_this_machine_only_the_better_is_registered(
    images: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training and evaluation are stood in for; that they are called as a person would call them is the slow test's."""

    def train(*_: Any, runs: Path, job_name: str, **__: Any) -> int:
        (runs / job_name / "model").mkdir(parents=True)
        (runs / job_name / "model" / "bundle.json").write_text(job_name)
        (runs / job_name / "output").mkdir()
        return 0

    def evaluate(words: list[str]) -> int:
        Path(words[words.index("--json") + 1]).write_text(
            json.dumps({"headline": "test", "scores": {"test": {"macro": {"auc": {"value": aucs.pop(0)}}}}})
        )
        return 0

    monkeypatch.setattr("thorax_launch.cli.local_pipeline.train", train)
    monkeypatch.setattr("thorax_launch.cli.evaluate.main", evaluate)
    aucs = [0.4, 0.7, 0.7, 0.8, None]
    words = [
        "demo",
        "--local",
        "--train",
        str(images / "train"),
        "--test",
        str(images / "test"),
        "--group",
        "chest",
        "--runs",
        str(tmp_path),
    ]
    message = [
        "not registered: test AUC 0.400000 is not above 0.500000 (chance)",
        "registered: test AUC 0.700000 is above 0.500000 (chance)",
        "not registered: test AUC 0.700000 is not above 0.700000 (001)",
        "registered: test AUC 0.800000 is above 0.700000 (001)",
    ]
    for number, line in enumerate(message):
        assert pipeline.main([*words, "--job-name", f"job{number}"]) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith(line)
    registry = tmp_path / "registry" / "chest"
    assert {path.name: (path / "model" / "bundle.json").read_text() for path in registry.iterdir()} == {
        "001": "job1",
        "002": "job3",
    }
    assert pipeline.main([*words, "--job-name", "job4"]) == 1
    assert capsys.readouterr().err.startswith("error: the test images give no AUC")


def test_a_recipe_file_may_have_any_name(
    images: Path, offline: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locally, the name goes as far as the toolkit; on AWS into the definition."""
    from thorax_launch.cli import train

    recipe = tmp_path / "my_own recipe.v2.yaml"
    recipe.write_text("hyperparameters: {epochs: 1}")
    words = [str(recipe), "--train", str(images / "train"), "--test", str(images / "test")]
    monkeypatch.setattr("thorax_launch.local.toolkit.Toolkit.start", lambda self: self.stop())
    for script, more in ((train, []), (pipeline, ["--group", "chest"])):
        assert script.main([*words, *more, "--local", "--runs", str(tmp_path / script.__name__)]) == 130, (
            capsys.readouterr().err
        )
        (folder,) = (tmp_path / script.__name__).iterdir()
        assert re.fullmatch("my-own-recipe-v2-[0-9]{6}-[0-9]{6}", folder.name)
    assert pipeline.main([*words, "--group", "chest", *PLACE, "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "pipeline thorax-my-own-recipe-v2: Prepare" in shown.err


@pytest.mark.slow
def test_the_steps_on_this_machine(images: Path, tmp_path: Path, capsys: Capture) -> None:
    words = [
        "demo",
        "--local",
        "--train",
        str(images / "train"),
        "--test",
        str(images / "test"),
        "--group",
        "chest",
        "--runs",
        str(tmp_path),
    ]
    words += [
        word
        for key, value in {**TINY, "epochs": "8", "learning_rate": "0.001"}.items()
        for word in ("--set", f"{key}={value}")
    ]
    assert pipeline.main([*words, "--job-name", "first"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line.startswith("-- ")] == [
        "-- Prepare",
        "-- Train",
        "-- Evaluate",
        "-- Register",
    ]
    metrics = json.loads((tmp_path / "first" / "output" / "data" / "metrics.json").read_text())
    auc = metrics["test"]["macro"]["auc"]["value"]
    assert f"test AUC {auc:.6f} is " in shown[-1]
    assert shown[-1].startswith("registered") == (auc > 0.5)
