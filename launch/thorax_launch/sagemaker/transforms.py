"""A batch transform: images in S3 through a bundle, then its answers as the one scored table."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.scoring.batch import read_outputs
from thorax_launch.invocation import command
from thorax_launch.names import dated
from thorax_launch.options import TransformOptions
from thorax_launch.sagemaker import deletion, hosting
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.bundles import S3Bundle, description_folder, in_s3
from thorax_launch.sagemaker.cost import hosting_cost
from thorax_launch.sagemaker.deployment import bundle_tags, with_image
from thorax_launch.sagemaker.errors import failure_reason, one_line_errors
from thorax_launch.sagemaker.hosting import HostingSpec
from thorax_launch.sagemaker.package import Upload, bucket_and_key, images
from thorax_launch.sagemaker.requests import AwsRequest
from thorax_launch.sagemaker.status import ENDED, wait_until
from thorax_launch.sagemaker.submission import file_lines, may_have_started, upload_all
from thorax_launch.sagemaker.training_jobs import data_uri, uploads_of
from thorax_launch.settings import AwsSettings


@dataclass(frozen=True)
class Transform:
    """A batch transform, checked: its two requests and what must be in S3 first."""

    name: str
    bundle: S3Bundle
    settings: AwsSettings
    requests: tuple[AwsRequest, AwsRequest]
    uploads: tuple[Upload, ...]
    options: TransformOptions

    @property
    def output(self) -> str:
        """s3:// address of the answers."""
        return hosting.transform_output(self.name, self.settings)

    def summary(self) -> str:
        """What would be uploaded, and what the machines cost."""
        machine, count = self.options.instance_type, self.options.instance_count
        cost = hosting_cost(machine, count, self.settings, "until the last image is scored")
        return "\n".join([f"batch transform: {self.name}, answers in {self.output}", *file_lines(self.uploads), cost])

    def later(self, out: Path) -> str:
        """The commands that read the answers once the job is done."""
        return (
            f"aws s3 cp --recursive {self.output} out/ && {command('batch')} --local BUNDLE --outputs out --out {out}"
        )


def plan(bundle: str, images_at: str, options: TransformOptions, settings: AwsSettings) -> Transform:
    """The two requests of a batch transform; asks nothing of AWS and sends nothing.

    Args:
        bundle: a folder, a model.tar.gz or its s3:// address.
        images_at: a folder, or an s3:// address.

    Raises:
        ThoraxError: no bundle, no images, or what AWS would refuse.
    """
    settings, server = with_image(settings, options.image)
    packed = in_s3(bundle, settings)
    name, own_tags = options.job_name or dated(packed.name), bundle_tags(settings, packed)
    uploads = packed.uploads
    if images_at.startswith("s3://"):
        source = images_at if images_at.endswith("/") else f"{images_at}/"  # S3 also matches test-2 with test
    else:
        found = images("--data", Path(images_at))
        source = data_uri(found, settings)
        uploads += tuple(uploads_of(found, source))
    spec = HostingSpec(name, packed.uri, server=server, instance_type=options.instance_type)
    job = hosting.transform(name, source, settings, own_tags, options)
    return Transform(name, packed, settings, (hosting.model(spec, settings, own_tags), job), uploads, options)


def start(transform: Transform) -> None:
    """Uploads, makes the model and starts the job. Raises ThoraxError: AWS refuses; the model is deleted then."""
    settings = transform.settings
    session = open_session(settings)
    upload_all(transform.uploads, session, settings)
    model, job = transform.requests
    with one_line_errors(settings):
        model.send(session)
    try:
        with one_line_errors(settings, may_have_started(transform.name)):
            job.send(session)
    except ThoraxError:
        delete_model(transform)
        raise


def delete_model(transform: Transform) -> None:
    """Deletes the job's model, of which nothing is needed once it has ended."""
    deletion.delete_all([deletion.model(transform.name)], transform.settings)


def wait(transform: Transform, unsure: str) -> None:
    """Returns once the job is done. `unsure` ends the message where AWS cannot be asked any more.

    Raises:
        ThoraxError: it failed or was stopped (AWS's reason), or AWS refuses.
    """
    settings, name = transform.settings, transform.name
    sagemaker = client(open_session(settings), "sagemaker")
    with one_line_errors(settings, unsure):
        job = wait_until(
            lambda found: found["TransformJobStatus"] in ENDED,
            lambda: sagemaker.describe_transform_job(TransformJobName=name),
            lambda found: f"job {name}: {found['TransformJobStatus']}",
        )
    if (status := str(job["TransformJobStatus"])) != "Completed":
        log = "its log: CloudWatch /aws/sagemaker/TransformJobs"
        raise ThoraxError(
            f"job {name} {status.lower()}: {failure_reason(job)}; {log}; what it did answer is in {transform.output}"
        )


def write_table(transform: Transform, out: Path, data: Path | None) -> None:
    """Fetches the answers and writes the table; the images' labels come from the folder `data`."""
    s3 = client(open_session(transform.settings), "s3")
    with tempfile.TemporaryDirectory() as folder, one_line_errors(transform.settings):
        _fetch(s3, transform.output, Path(folder))
        with description_folder(transform.bundle, s3) as described:
            read_outputs(Path(folder), out, bundle=described, data=data)


def _fetch(s3: Any, address: str, folder: Path) -> None:
    bucket, prefix = bucket_and_key(address)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            file = (folder / found["Key"].removeprefix(prefix)).resolve()
            if not file.is_relative_to(folder.resolve()):
                raise ThoraxError(f"the answer s3://{bucket}/{found['Key']} has a name that leads out of its folder")
            file.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, found["Key"], str(file))
