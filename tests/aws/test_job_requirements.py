"""What a job installs by itself, secrets in its request, and wheels for a job without a network."""

from __future__ import annotations

import io
import json
import re
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from thorax_launch.cli import iam, train
from thorax_launch.job_requirements import OPTIONAL, package_of
from thorax_launch.sagemaker import TrainingJob  # noqa: F401  the package is importable
from thorax_launch.sagemaker.jobs import plan_training
from thorax_launch.settings import AwsSettings

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
SETTINGS = AwsSettings(region="eu-central-1", role=ROLE, bucket="films", prefix="thorax")
WORDS = ["demo", "--train", "s3://films/train", "--region", "eu-central-1", "--bucket", "films", "--role", ROLE]
Capture = pytest.CaptureFixture[str]


def requirements(hyperparameters: dict[str, Any], **options: Any) -> tuple[list[str], tuple[str, ...]]:
    """(lines of the job's requirements.txt, notes) of a job's plan."""
    plan = plan_training("demo", {"train": "s3://films/train"}, hyperparameters, options, SETTINGS)
    with tarfile.open(fileobj=io.BytesIO(plan.uploads[0].content)) as tar:  # type: ignore[arg-type]
        stored = tar.extractfile("requirements.txt")
        assert stored is not None
        return stored.read().decode().splitlines(), plan.notes


def test_bounds_are_those_of_pyproject() -> None:
    stored = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {
        re.sub(r"\s", "", line.split(";")[0]) for extra in stored["optional-dependencies"].values() for line in extra
    }
    assert {line for name, line in OPTIONAL.items() if name != "sagemaker-mlflow"} <= bounds


def test_a_plain_job_has_the_requirements_of_every_job(offline: Path) -> None:
    lines, notes = requirements({})
    assert lines == (ROOT / "source_dir" / "requirements.txt").read_text().splitlines()
    assert not [note for note in notes if note.startswith("installs")]
    assert "safetensors" in {package_of(line) for line in lines}


@pytest.mark.parametrize(
    ("hyperparameters", "env", "packages"),
    [
        ({"wandb_tracking": "true"}, {}, {"wandb"}),
        ({"tensorboard": True, "profiler": True}, {}, {"tensorboard", "nvidia-ml-py"}),
        ({}, {"MLFLOW_TRACKING_URI": "https://mlflow"}, {"mlflow-skinny"}),
        (
            {},
            {"MLFLOW_TRACKING_URI": "arn:aws:sagemaker:eu-central-1:1:mlflow-tracking-server/x"},
            {"mlflow-skinny", "sagemaker-mlflow"},
        ),
        ({"network": "timm/resnet18"}, {}, {"timm"}),
        ({"optimize": True}, {}, {"openvino", "nncf"}),
    ],
)
def test_a_job_installs_what_it_needs_and_says_so(
    hyperparameters: dict[str, Any], env: dict[str, str], packages: set[str], offline: Path
) -> None:
    lines, notes = requirements(hyperparameters, env=env)
    base, _ = requirements({})
    assert {package_of(line) for line in lines[len(base) :]} == packages
    (note,) = [note for note in notes if note.startswith("installs:")]
    assert all(package in note for package in packages)


def test_wheels_that_lack_a_package_are_refused_with_the_command(
    offline: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "tqdm-4.67-py3-none-any.whl").write_bytes(b"")
    words = [*WORDS, "--network-isolation", "--wheels", str(tmp_path / "w"), "--set", "wandb_tracking=offline"]
    assert train.main([*words, "--dry-run"]) == 1
    error = capsys.readouterr().err
    assert "has no wheel of wandb>=0.19,<1 (wandb_tracking=offline); fetch them:" in error
    assert error.endswith("wheels wheels --set wandb_tracking=offline\n")
    (tmp_path / "w" / "wandb-0.19.1-py3-none-any.whl").write_bytes(b"")
    assert train.main([*words, "--dry-run"]) == 0


# -- Secrets ---------------------------------------------------------------------------------------------------------

KEY = "0123456789abcdef0123456789abcdef01234567"


def test_a_secret_is_in_the_request_by_name(offline: Path, capsys: Capture) -> None:
    assert train.main([*WORDS, "--secret", "WANDB_API_KEY=team/wandb", "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["Environment"] == {"THORAX_SECRET_WANDB_API_KEY": "team/wandb"}
    assert "secrets:  WANDB_API_KEY from secretsmanager; the role needs the rights of" in shown.err
    assert "iam execution --secret team/wandb" in shown.err


def test_a_key_in_the_environment_is_masked_and_warned_of(offline: Path, capsys: Capture) -> None:
    assert train.main([*WORDS, "--env", f"WANDB_API_KEY={KEY}", "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["Environment"] == {"WANDB_API_KEY": "***"}
    assert KEY not in shown.out + shown.err
    assert "WANDB_API_KEY is readable by all who may describe the job; store it, and give --secret" in shown.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--secret", f"WANDB_API_KEY={KEY}"], "--secret WANDB_API_KEY=... looks like the secret itself"),
        (["--secret", "WANDB_API_KEY=a", "--env", "WANDB_API_KEY=b"], "given twice, by --env and by --secret"),
        (["--env", f"WANDB_API_KEY={KEY}", "--env", "WANDB_API_KEY=b"], "is given twice, with two values"),
        (["--secret", "WANDB_API_KEY"], "must be KEY=VALUE"),
        (["--secret", "A-B=x"], "A-B is no name of a variable"),
        (["--secret", "A=arn:aws:s3:::b"], "is an ARN of s3"),
    ],
)
def test_wrong_secrets_are_refused(words: list[str], message: str, offline: Path, capsys: Capture) -> None:
    assert train.main([*WORDS, *words, "--dry-run"]) == 1
    error = capsys.readouterr().err
    assert message in error and KEY not in error


def test_the_roles_policy_has_the_rights(offline: Path, capsys: Capture) -> None:
    arn = "arn:aws:ssm:eu-central-1:123456789012:parameter/team/key"
    words = ["execution", "--role", ROLE, "--bucket", "films", "--region", "eu-central-1"]
    assert iam.main([*words, "--secret", "team/wandb", "--secret", f"HF_TOKEN={arn}"]) == 0
    found = {one["Sid"]: one for one in json.loads(capsys.readouterr().out)["Statement"]}
    assert found["ReadSecrets"]["Action"] == ["secretsmanager:GetSecretValue"]
    assert found["ReadSecrets"]["Resource"] == [
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:team/wandb-??????"
    ]
    assert (found["ReadParameters"]["Action"], found["ReadParameters"]["Resource"]) == (["ssm:GetParameter"], [arn])
    assert found["DecryptThem"]["Condition"]["StringEquals"]["kms:ViaService"] == [
        "secretsmanager.eu-central-1.amazonaws.com",
        "ssm.eu-central-1.amazonaws.com",
    ]
