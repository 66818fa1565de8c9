"""The job that a request describes is run.

Hyperparameters, channels and code come from what was sent to AWS, nothing else.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, clean_environment
from contract.test_toolkit import OLD, old_toolkit
from thorax_launch.cli import train

BUCKET = "films"
SMALL = TINY | {"network": "shufflenet_v2_x0_5", "epochs": "1", "bootstrap_samples": "0", "threshold_views": "0"}


def send(aws: Any, images: Path, *more: str) -> dict[str, Any]:
    """Launches a small job and returns the request that AWS got."""
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    place = ["--bucket", BUCKET, "--role", "thorax-execution", "--yes"]
    assert (
        train.main(
            [
                "demo",
                "--train",
                str(images / "train"),
                "--test",
                str(images / "test"),
                "--job-name",
                "one",
                *settings,
                *place,
                *more,
            ]
        )
        == 0
    )
    (request,) = aws.sent("CreateTrainingJob")
    return dict(request)


def lay_out(aws: Any, request: dict[str, Any], base: Path, host: str, hosts: Sequence[str]) -> None:
    """What SageMaker puts into a container's /opt/ml before it starts the job of a request."""
    s3 = aws.client("s3")
    config = base / "input" / "config"
    config.mkdir(parents=True)
    for name in ("model", "output/data", "checkpoints"):
        (base / name).mkdir(parents=True)
    source = json.loads(request["HyperParameters"]["sagemaker_submit_directory"])
    start_from = (
        source.replace("/opt/ml", str(base)) if source.startswith("/opt/ml") else unpacked(s3, source, base / "source")
    )
    inputs = {}
    for channel in request["InputDataConfig"]:
        uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
        folder = base / "input" / "data" / channel["ChannelName"]
        for page in s3.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=uri.removeprefix(f"s3://{BUCKET}/")
        ):
            for one in page["Contents"]:
                file = folder / one["Key"].removeprefix(uri.removeprefix(f"s3://{BUCKET}/"))
                file.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(BUCKET, one["Key"], str(file))
        inputs[channel["ChannelName"]] = {
            "TrainingInputMode": channel["InputMode"],
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        }
    hyperparameters = {**request["HyperParameters"], "sagemaker_submit_directory": json.dumps(start_from)}
    resources = {
        "current_host": host,
        "hosts": list(hosts),
        "current_instance_type": request["ResourceConfig"]["InstanceType"],
        "network_interface_name": "lo",
        "current_group_name": "homogeneousCluster",
        "instance_groups": [
            {
                "instance_group_name": "homogeneousCluster",
                "instance_type": request["ResourceConfig"]["InstanceType"],
                "hosts": list(hosts),
            }
        ],
    }
    for name, content in (
        ("hyperparameters", hyperparameters),
        ("inputdataconfig", inputs),
        ("resourceconfig", resources),
    ):
        (config / f"{name}.json").write_text(json.dumps(content))


def unpacked(s3: Any, uri: str, folder: Path) -> str:
    """The code that the toolkit would fetch from S3."""
    packed = s3.get_object(Bucket=BUCKET, Key=uri.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        tar.extractall(folder, filter="data")
    return str(folder)


def start(bases: Sequence[Path], toolkit: str = "", alone: bool = False) -> list[str]:
    """Runs the real toolkit over one job directory a machine, all at once; their logs."""
    script = str(Path(sys.executable).with_name("train"))
    lines = []
    for base in bases:
        variables = {
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_TRAINING_MODULE": "sagemaker_pytorch_container.training:main",
            "SM_STUDIO_LOCAL_MODE": "True",
            "TRAINING_JOB_NAME": "one",
            "PIP_QUIET": "1",
            "PIP_NO_DEPS": "1",  # a second instead of three
            "PYTHONPATH": toolkit,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        words = " ".join(f"{key}={value}" for key, value in variables.items())
        lines.append(f'env {words} {sys.executable} -u {script} > {base}/log 2>&1 & pids="$pids $!"')
    waits = "code=0; for pid in $pids; do wait $pid || code=1; done; exit $code"
    command = ["bash", "-c", "\n".join([*(["ip link set lo up"] if alone else []), *lines, waits])]
    if alone:
        command = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-n", *command]
    done = subprocess.run(command, env=clean_environment(GLOO_SOCKET_IFNAME="lo"), timeout=280, check=False)
    logs = [(base / "log").read_text() for base in bases]
    assert done.returncode == 0, "\n".join(logs)
    return logs


def own_network() -> bool:
    """Whether a test may have a loopback of its own: torchrun's port is fixed in the toolkit."""
    words = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-n", "ip", "link", "set", "lo", "up"]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


TOOLKITS = [pytest.param("", marks=pytest.mark.slow), pytest.param(OLD, marks=pytest.mark.slow)]


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_one_machine(toolkit: str, aws: Any, images: Path, tmp_path: Path) -> None:
    request = send(aws, images)
    base = tmp_path / "ml"
    lay_out(aws, request, base, "algo-1", ["algo-1"])
    (log,) = start([base], str(old_toolkit()) if toolkit else "")
    check_result(request, base, log)
    assert (base / "output" / "success").exists()


@pytest.mark.parametrize("toolkit", ["", *TOOLKITS[1:]])
@pytest.mark.skipif(not own_network(), reason="unshare -n is not allowed here")
def test_two_machines_train_together(toolkit: str, aws: Any, images: Path, tmp_path: Path) -> None:
    request = send(aws, images, "--instance-count", "2")
    assert request["HyperParameters"]["sagemaker_torch_distributed_enabled"] == "true"
    hosts = ["127.0.0.1", "127.0.0.2"]  # a name of a machine must be an address that the other one can reach
    bases = [tmp_path / "first", tmp_path / "second"]
    for base, host in zip(bases, hosts, strict=True):
        lay_out(aws, request, base, host, hosts)
    logs = start(bases, str(old_toolkit()) if toolkit else "", alone=True)
    check_result(request, bases[0], logs[0])
    assert "machine: 2 processes on 2 hosts" in logs[0]
    assert "machine:" not in logs[1]  # the first machine alone speaks and writes
    assert not list((bases[1] / "model").iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not own_network(), reason="unshare -n is not allowed here")
def test_without_a_network(aws: Any, images: Path, tmp_path: Path) -> None:
    """Code from its channel, packages from the wheels beside it.

    The container has its own loopback and nothing else.
    """
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "unused-1-py3-none-any.whl").write_bytes(b"")
    request = send(aws, images, "--network-isolation", "--wheels", str(tmp_path / "wheels"))
    base = tmp_path / "ml"
    lay_out(aws, request, base, "algo-1", ["algo-1"])
    (log,) = start([base], alone=True)
    check_result(request, base, log)
    assert (base / "code" / "requirements.txt").read_text().startswith("--no-index\n--find-links wheels\n")


def check_result(request: dict[str, Any], base: Path, log: str) -> None:
    """The bundle is that of the hyperparameters that were sent, and SageMaker finds the metrics of the request in the
    log.
    """
    configuration = json.loads((base / "model" / "bundle.json").read_text())["configuration"]
    names = ("network", "epochs", "batch_size", "seed")
    assert {key: str(configuration[key]) for key in names} == {key: SMALL[key] for key in names}
    metrics = json.loads((base / "output" / "data" / "metrics.json").read_text())
    assert metrics["test"]["n"] == 16
    found = {
        one["Name"]: re.findall(one["Regex"], log) for one in request["AlgorithmSpecification"]["MetricDefinitions"]
    }
    assert float(found["validation:auc"][-1]) == pytest.approx(metrics["at_best_epoch"]["validation_auc"], abs=1e-6)
