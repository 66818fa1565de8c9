"""A command in a process of its own, over the stand-in for AWS: run_on_stand_in.py BUNDLE OUT COMMAND WORD ..."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from aws_calls import BUCKET, REGION
from aws_scenes import Case, benches
from thorax_launch.sagemaker.package import packed, source_files


def _store(s3: Any, bundle: Path) -> None:
    """That bundle lies in S3, where training jobs one and two leave it."""
    content = packed(source_files(bundle), level=1)
    for name in ("one", "two"):
        s3.put_object(Bucket=BUCKET, Key=f"thorax/{name}/output/model.tar.gz", Body=content)


def main() -> int:
    bundle, out, name, *words = sys.argv[1:]
    account = SimpleNamespace(client=lambda service: boto3.client(service, region_name=REGION), calls=[], tags={})
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        place = {"LocationConstraint": REGION}
        account.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
        _store(account.client("s3"), Path(bundle))
        for bench in benches(account, {"BUNDLE": bundle, "OUT": out}, patch):
            return bench.run(Case(name, " ".join(words)))
    return 1


if __name__ == "__main__":
    sys.exit(main())
