"""AWS inside a notebook's kernel: moto, jobs that are done at once, and an endpoint that answers."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import lambda_stand_ins

BUCKET = "my-bucket"
_CONFTEST = Path(__file__).resolve().parents[1] / "aws" / "conftest.py"
_ENTERED: list[Any] = []


def start(folder: str, bundle: str) -> Any:
    """Everything that follows in this process talks to a new account. The working folder is below `folder`.

    Args:
        bundle: a folder whose model.tar.gz the training jobs are to leave.
    """
    from thorax_launch.sagemaker.package import packed, source_files

    spec = importlib.util.spec_from_file_location("aws_conftest", _CONFTEST)
    assert spec is not None and spec.loader is not None
    conftest = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = conftest
    spec.loader.exec_module(conftest)
    patch = pytest.MonkeyPatch()
    account = _enter(conftest.an_account(patch, Path(folder), BUCKET))
    patch.setattr("thorax_launch.sagemaker.status.POLL", 0.0)
    patch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    patch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", _enter(lambda_stand_ins.serving(_respond)))
    account.answers |= {
        "DescribeTrainingJob": _training_job,
        "DescribeHyperParameterTuningJob": _search,
        "ListTrainingJobsForHyperParameterTuningJob": _jobs,
        "ListTags": lambda _: {"Tags": []},
    }
    archive = packed(source_files(Path(bundle)), 1)
    account.client("s3").put_object(Bucket=BUCKET, Key="thorax/chest-1/output/model.tar.gz", Body=archive)
    return account


def _enter(context: Any) -> Any:
    """What the context gives; it is left when the kernel ends."""
    _ENTERED.append(context)
    return context.__enter__()


def _respond(method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
    assert (method, path) == ("POST", "/endpoints/chest/invocations")
    answer = {"labels": ["PNEUMONIA"], "probabilities": [0.75], "predicted": "PNEUMONIA"}
    content = answer if headers["Accept"] == "application/json;verbose" else answer["probabilities"]
    return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


def _training_job(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "TrainingJobName": asked["TrainingJobName"],
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "ModelArtifacts": {"S3ModelArtifacts": f"s3://{BUCKET}/thorax/chest-1/output/model.tar.gz"},
        "FinalMetricDataList": [{"MetricName": "validation:auc", "Value": 0.981, "Timestamp": 0}],
    }


def _search(asked: dict[str, Any]) -> dict[str, Any]:
    name = asked["HyperParameterTuningJobName"]
    return {
        **asked,
        "HyperParameterTuningJobStatus": "Completed",
        "HyperParameterTuningJobArn": f"arn:aws:sagemaker:eu-central-1:123456789012:hyper-parameter-tuning-job/{name}",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "ResourceLimits": {"MaxParallelTrainingJobs": 1},
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:auc"},
        },
        "CreationTime": datetime.now(UTC),
        "TrainingJobStatusCounters": {"Completed": 2},
        "ObjectiveStatusCounters": {},
    }


def _jobs(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "TrainingJobSummaries": [
            {
                "TrainingJobName": f"{asked['HyperParameterTuningJobName']}-{number:03d}",
                "TrainingJobStatus": "Completed",
                "CreationTime": datetime.now(UTC),
                "TunedHyperParameters": {"learning_rate": rate},
                "FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "validation:auc", "Value": auc},
            }
            for number, (rate, auc) in enumerate([("0.001", 0.97), ("0.01", 0.91)], 1)
        ]
    }
