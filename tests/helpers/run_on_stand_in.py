"""A command in a process of its own, over the stand-in for AWS: run_on_stand_in.py BUNDLE OUT COMMAND WORD ..."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import boto3
import pytest
from moto import mock_aws

from aws_calls import BUCKET, REGION
from aws_scenes import Case, benches


def main() -> int:
    bundle, out, name, *words = sys.argv[1:]
    account = SimpleNamespace(client=lambda service: boto3.client(service, region_name=REGION), calls=[], tags={})
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        place = {"LocationConstraint": REGION}
        account.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
        for bench in benches(account, {"BUNDLE": bundle, "OUT": out}, patch):
            return bench.run(Case(name, " ".join(words)))
    return 1


if __name__ == "__main__":
    sys.exit(main())
