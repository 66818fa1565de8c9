"""A batch transform: images in S3 through a bundle, then its answers as the one scored table."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.cli import flags
from thorax_launch.names import dated
from thorax_launch.sagemaker import bundles, cost, deletion, endpoints, submission
from thorax_launch.sagemaker.account import client, one_line_errors, open_session
from thorax_launch.sagemaker.bundles import Shipped
from thorax_launch.sagemaker.deletion import DeleteCall
from thorax_launch.sagemaker.endpoint_command import place, tagged
from thorax_launch.sagemaker.endpoints import Host
from thorax_launch.sagemaker.package import Upload, images
from thorax_launch.sagemaker.requests import AwsRequest
from thorax_launch.sagemaker.training_jobs import uploads_of
from thorax_launch.settings import AwsSettings

POLL = 15.0
ENDED = ("Completed", "Failed", "Stopped")


@dataclass(frozen=True)
class Transform:
    """A batch transform, checked: its two requests and what must be in S3 first."""

    name: str
    bundle: Shipped
    settings: AwsSettings
    requests: tuple[AwsRequest, AwsRequest]
    uploads: tuple[Upload, ...]
    machine: str
    count: int

    @property
    def output(self) -> str:
        """s3:// address of the answers."""
        return f"{self.settings.root}/{self.name}/scores/"

    def summary(self) -> str:
        prices = cost.Prices.load(Path(self.settings.prices)) if self.settings.prices else None
        told = cost.hosting_told(self.machine, self.count, self.settings.region, prices).replace(
            "until the endpoint is deleted", "until the last image is scored"
        )
        return "\n".join(
            [f"batch transform: {self.name}, answers in {self.output}", *submission.files(self.uploads), told]
        )

    def later(self, out: Path) -> str:
        """The commands that read the answers once the job is done."""
        return (
            f"aws s3 cp --recursive {self.output} out/ && python launch/batch.py --local BUNDLE --outputs out --out"
            f" {out}"
        )


def batch(args: Namespace) -> int:
    """Shows (--dry-run) or starts the job; with --wait reads its answers into the table.

    Raises:
        ThoraxError: a wrong flag, the job failed (AWS's reason), or AWS refuses.
    """
    transform = plan(args)
    if args.dry_run:
        print(json.dumps({request.operation: request.as_dict() for request in transform.requests}, indent=2))
        print(transform.summary(), file=sys.stderr)
        return 0
    settings = transform.settings
    print(transform.summary(), file=sys.stderr)
    if not args.yes and not submission.confirmed("start it?"):
        return 1
    session = open_session(settings)
    submission.put(transform.uploads, session, settings)
    model, job = transform.requests
    with one_line_errors(settings):
        model.send(session)
    try:
        with one_line_errors(
            settings, f"; {transform.name} may have started all the same: look there before you try again"
        ):
            job.send(session)
    except ThoraxError:
        deletion.delete([_model(transform.name)], settings)
        raise
    print(f"TransformJob {transform.name} is started in {settings.region}", flush=True)
    if not args.wait:
        print(f"when it is done: {transform.later(args.out)}")
        return 0
    try:
        with one_line_errors(settings, f"; job {transform.name} goes on; when it is done: {transform.later(args.out)}"):
            _wait(client(session, "sagemaker"), transform)
    except KeyboardInterrupt:
        print(f"job {transform.name} goes on; when it is done: {transform.later(args.out)}", file=sys.stderr)
        return 130
    deletion.delete([_model(transform.name)], settings)
    return _table(transform, session, args)


def plan(args: Namespace) -> Transform:
    """What the flags mean; asks nothing of AWS but what the settings lack.

    Raises:
        ThoraxError: a wrong flag, no bundle, or what AWS would refuse.
    """
    settings, server = place(args)
    bundle = bundles.shipped(args.bundle, settings)
    name = args.job_name or dated(bundle.name)
    tags = tagged(settings, bundle)
    uploads = bundle.uploads
    if args.data.startswith("s3://"):
        source = args.data if args.data.endswith("/") else f"{args.data}/"  # S3 also matches test-2 with test
    else:
        found = images("--data", Path(args.data))
        source = f"{settings.root}/data/{found.digest[:16]}/"
        uploads += tuple(uploads_of(found, source))
    host = Host(name, bundle.uri, server=server, instance_type=args.instance_type or "ml.m5.xlarge")
    count = flags.positive("--instance-count", args.instance_count) or 1
    job = endpoints.transform(
        name,
        name,
        source,
        settings,
        tags,
        instance_type=host.instance_type,
        instance_count=count,
        concurrent=flags.positive("--concurrent", args.concurrent) or 4,
        payload_mb=flags.positive("--payload-mb", args.payload_mb) or 6,
    )
    return Transform(
        name, bundle, settings, (endpoints.model(host, settings, tags), job), uploads, host.instance_type, count
    )


def _model(name: str) -> DeleteCall:
    return DeleteCall(f"model {name}", "sagemaker", "delete_model", {"ModelName": name})


def _wait(sagemaker: Any, transform: Transform) -> None:
    told = ""
    while True:
        job = sagemaker.describe_transform_job(TransformJobName=transform.name)
        status = str(job["TransformJobStatus"])
        if status != told:
            print(f"job {transform.name}: {status}", flush=True)
            told = status
        if status in ENDED:
            break
        time.sleep(POLL)
    if status != "Completed":
        reason = " ".join(str(job.get("FailureReason", "no reason given")).split())
        log = "its log: CloudWatch /aws/sagemaker/TransformJobs"
        raise ThoraxError(
            f"job {transform.name} {status.lower()}: {reason}; {log}; what it did answer is in {transform.output}"
        )


def _table(transform: Transform, session: Any, args: Namespace) -> int:
    """Fetches the answers and writes the table; the images' labels come from --data where that is a folder here."""
    from thorax.scoring.batch import read_outputs

    s3 = client(session, "s3")
    with tempfile.TemporaryDirectory() as folder, one_line_errors(transform.settings):
        bucket, _, prefix = transform.output.removeprefix("s3://").partition("/")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for one in page.get("Contents", []):
                file = (Path(folder) / one["Key"].removeprefix(prefix)).resolve()
                if not file.is_relative_to(Path(folder).resolve()):
                    raise ThoraxError(f"the answer s3://{bucket}/{one['Key']} has a name that leads out of its folder")
                file.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(bucket, one["Key"], str(file))
        data = None if args.data.startswith("s3://") else Path(args.data)
        with bundles.described(transform.bundle, s3) as described:
            read_outputs(Path(folder), args.out, bundle=described, data=data)
    return 0
