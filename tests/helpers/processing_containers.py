"""A SageMaker Processing job without SageMaker: each machine a process whose /opt/ml is a folder.

What the containers find is AWS's contract ("How Amazon SageMaker Processing Configures Your Processing Container", and
the API reference of CreateProcessingJob): inputs below their LocalPath, /opt/ml/config/resourceconfig.json with
current_host and hosts, the request's entrypoint, arguments and environment.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warm_python import PYTHON

OPT = "/opt/ml"
SECONDS = 120


def run_job(request: Mapping[str, Any], s3: Any, root: Path) -> list[subprocess.CompletedProcess[str]]:
    """Runs all machines at once; what each printed and its exit code.

    Args:
        request: of CreateProcessingJob.
        s3: a client of the server that the machines ask too.
        root: a folder for the machines' folders.
    """
    count = request["ProcessingResources"]["ClusterConfig"]["InstanceCount"]
    hosts = [f"algo-{k + 1}" for k in range(count)]
    started = [_start(request, s3, root / host, hosts) for host in hosts]
    ended = []
    for process in started:
        out, err = process.communicate(timeout=SECONDS)
        ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return ended


def _start(request: Mapping[str, Any], s3: Any, folder: Path, hosts: list[str]) -> subprocess.Popen[str]:
    for one in request["ProcessingInputs"]:
        place = one["S3Input"]
        assert (place["S3DataType"], place["S3InputMode"]) == ("S3Prefix", "File")
        assert place.get("S3DataDistributionType", "FullyReplicated") == "FullyReplicated"
        bucket, _, prefix = place["S3Uri"].removeprefix("s3://").partition("/")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for found in page.get("Contents", []):
                file = folder / place["LocalPath"].removeprefix(f"{OPT}/") / found["Key"].removeprefix(prefix)
                file.parent.mkdir(parents=True, exist_ok=True)
                content = s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()
                file.write_bytes(
                    content.replace(OPT.encode(), str(folder).encode()) if file.suffix == ".sh" else content
                )
    config = folder / "config" / "resourceconfig.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps({"current_host": folder.name, "hosts": hosts[::-1]}))
    pip = folder / "bin" / "pip"  # all packages are there
    pip.parent.mkdir(exist_ok=True)
    pip.write_text("#!/bin/sh\nexit 0\n")
    pip.chmod(0o755)
    spec = request["AppSpecification"]
    words = [word.replace(OPT, str(folder)) for word in (*spec["ContainerEntrypoint"], *spec["ContainerArguments"])]
    environment = {
        "PATH": f"{pip.parent}:{Path(PYTHON).parent}:/usr/bin:/bin",
        "TMPDIR": str(folder),
        "HOME": str(folder),
        "AWS_ENDPOINT_URL": s3.meta.endpoint_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "OMP_NUM_THREADS": "1",
        **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE")},
        **request.get("Environment", {}),
    }
    return subprocess.Popen(
        words, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
