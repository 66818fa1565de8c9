"""Secrets by name from Secrets Manager and SSM (moto), and masked wherever they could be printed."""

from __future__ import annotations

import json
import subprocess
import sys

import boto3
import pytest
from moto import mock_aws

from conftest import SCRIPT, clean_environment
from thorax import secrets
from thorax.console import guarded
from thorax.errors import ThoraxError
from thorax.job import Job
from thorax.tracking.progress import say

REGION = "eu-central-1"
KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def store(monkeypatch):
    """An account with one secret of each kind; the environment's region is not that of all of them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing-testing")
    monkeypatch.setattr(secrets, "_known", set())
    with mock_aws():
        manager = boto3.client("secretsmanager", region_name=REGION)
        manager.create_secret(Name="team/wandb", SecretString=f"{KEY}\n")
        arn = manager.create_secret(Name="json", SecretString=json.dumps({"WANDB_API_KEY": KEY, "HF_TOKEN": "hf"}))[
            "ARN"
        ]
        manager.create_secret(Name="bytes", SecretBinary=b"x")
        boto3.client("ssm", region_name=REGION).put_parameter(Name="/team/wandb", Value=KEY, Type="SecureString")
        yield arn


def fetched(reference, name="WANDB_API_KEY"):
    environment = {f"THORAX_SECRET_{name}": reference, "AWS_REGION": REGION}
    assert secrets.resolve(environment) == [name]
    return environment[name]


@pytest.mark.parametrize(
    "reference", ["team/wandb", "secretsmanager:team/wandb", "/team/wandb", "ssm:/team/wandb", "json"]
)
def test_a_secret_by_its_name(reference, store):
    assert fetched(reference) == KEY


def test_a_secret_by_its_arn_is_of_the_arns_region(store):
    environment = {"THORAX_SECRET_HF_TOKEN": store, "AWS_REGION": "us-west-2"}
    secrets.resolve(environment)
    assert environment["HF_TOKEN"] == "hf"
    environment = {"THORAX_SECRET_WANDB_API_KEY": f"arn:aws:ssm:{REGION}:123456789012:parameter/team/wandb"}
    secrets.resolve(environment)
    assert environment["WANDB_API_KEY"] == KEY


def test_what_is_set_stays(store):
    environment = {"THORAX_SECRET_WANDB_API_KEY": "nowhere", "WANDB_API_KEY": "mine"}
    assert secrets.resolve(environment) == [] and environment["WANDB_API_KEY"] == "mine"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "gone",
            r"secret WANDB_API_KEY \(gone\) cannot be read: ResourceNotFoundException; is it there.*--secret gone",
        ),
        ("/gone", "ParameterNotFound"),
        ("bytes", "holds bytes; store it as a text"),
        ("arn:aws:s3:::bucket", "is an ARN of s3; give one of Secrets Manager"),
        ("a b", "is no name of a secret"),
    ],
)
def test_a_secret_that_cannot_be_had_is_one_line(reference, message, store):
    with pytest.raises(ThoraxError, match=message) as caught:
        fetched(reference)
    assert "\n" not in str(caught.value)


def test_json_without_the_variables_name(store):
    with pytest.raises(ThoraxError, match="is JSON with the members WANDB_API_KEY, HF_TOKEN; call one of them OTHER"):
        fetched("json", "OTHER")


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *[(name, True) for name in ("WANDB_API_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY")],
        *[(name, False) for name in ("NCCL_DEBUG", "MONKEY", "THORAX_SECRET_WANDB_API_KEY", "KEYBOARD", "TOKENIZERS")],
    ],
)
def test_secrets_are_known_by_their_names(name, secret):
    assert secrets.is_secret(name) is secret


def test_nothing_that_is_printed_shows_one(store, capsys, tmp_path):
    fetched("team/wandb")
    say(f"warning: W&B failed (401 for {KEY})")
    Job.below(tmp_path, {}).fail(f"MLflow at https://me:word@host/x refused {KEY}")
    shown = "".join(capsys.readouterr()) + (tmp_path / "output" / "failure").read_text()
    assert KEY not in shown and "word@" not in shown
    assert "warning: W&B failed (401 for ***)" in shown and "https://me:***@host/x refused ***" in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261127&X-Amz-Expires=60"
            "&X-Amz-Security-Token=FwoGZX&X-Amz-Signature=0a1b refused",
            "https://b.s3.amazonaws.com/k?X-Amz-Credential=***&X-Amz-Expires=60&X-Amz-Security-Token=***"
            "&X-Amz-Signature=*** refused",
        ),
        (
            "k?AWSAccessKeyId=ASIAIOSFODNN7EXAMPLE&Signature=a%2Fb&Expires=1",
            "k?AWSAccessKeyId=***&Signature=***&Expires=1",
        ),
        ("the key ASIAIOSFODNN7EXAMPLE is expired", "the key *** is expired"),
        ("signature=none is no hyperparameter; ASIA, AKIA", "signature=none is no hyperparameter; ASIA, AKIA"),
    ],
)
def test_addresses_that_aws_signed_let_nobody_in(text, shown):
    assert secrets.mask(text) == shown


def test_credentials_of_the_process_are_in_no_error(capsys, monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "THORAX_BUNDLE_KEY"):
        monkeypatch.setenv(name, f"{name.lower()}-of-this-process")

    def work():
        raise ThoraxError("no: aws_secret_access_key-of-this-process aws_session_token-of-this-process")

    assert guarded(work) == 1
    assert capsys.readouterr().err == "error: no: *** ***\n"


def test_requests_are_shown_without_them():
    request = {"Environment": {"WANDB_API_KEY": "abc", "NCCL_DEBUG": "INFO"}, "Tags": [{"Key": "KEY", "Value": "v"}]}
    shown = secrets.masked({**request, "KmsKeyId": "alias/x"})
    assert shown == {
        "Environment": {"WANDB_API_KEY": "***", "NCCL_DEBUG": "INFO"},
        "Tags": [{"Key": "KEY", "Value": "v"}],
        "KmsKeyId": "alias/x",
    }


def test_a_job_whose_secret_cannot_be_read_ends_at_once(tmp_path):
    words = [sys.executable, str(SCRIPT), "--train", str(tmp_path), "--model-dir", str(tmp_path / "m")]
    environment = clean_environment(THORAX_SECRET_WANDB_API_KEY="arn:aws:s3:::b")
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 1
    assert done.stderr == (
        "error: arn:aws:s3:::b is an ARN of s3; give one of Secrets Manager or of a parameter of SSM\n"
    )
