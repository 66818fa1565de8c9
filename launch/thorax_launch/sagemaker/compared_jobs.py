"""A training job on AWS as a run to compare: its predictions, its history, its time and its cost."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.scoring.compared.sources import MODEL, OUTPUT, RunSource, find_run, source_of_outputs
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.cost import Prices
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.jobs import TrainingJob
from thorax_launch.sagemaker.package import bucket_and_key
from thorax_launch.settings import AwsSettings


def job_source(given: str, settings: AwsSettings, with_bundle: bool = False, prices: Prices | None = None) -> RunSource:
    """The run of a training job, downloaded into a temporary folder that goes when the source does.

    The time is what AWS counted as training; the cost is what it billed, at the price table's price on demand.

    Args:
        given: the job's name, perhaps as NAME=JOB.
        settings: where to look.
        with_bundle: whether its bundle is needed, to score images.
        prices: of its machines; None: the cost is not known, unless the job wrote it.

    Raises:
        ThoraxError: there is no such job, it did not come to its end, or its files are gone.
    """
    name, _, job_name = given.rpartition("=")
    job = TrainingJob(job_name, settings)
    described = job.describe()
    if described["TrainingJobStatus"] != "Completed":
        raise ThoraxError(f"job {job_name} is {described['TrainingJobStatus']}: only a job that completed is compared")
    folder = tempfile.TemporaryDirectory(prefix="thorax-compare-")
    place = Path(folder.name)
    model = str(described.get("ModelArtifacts", {}).get("S3ModelArtifacts", ""))
    outputs = f"{model.rpartition('/')[0]}/{OUTPUT}"
    fetched = _fetch(job.session, settings, outputs, place / OUTPUT)
    if with_bundle or not fetched:
        _fetch(job.session, settings, model, place / MODEL)
    bundle = place / MODEL if (place / MODEL).is_file() else None
    if fetched:
        source = source_of_outputs(name or job_name, job_name, place / OUTPUT, bundle)
    elif bundle is not None:
        source = RunSource(name or job_name, job_name, bundle)
    else:
        raise ThoraxError(f"job {job_name} left neither {outputs} nor {model} that can be read")
    training = dict(source.training) | _machines(described, prices)
    return dataclasses.replace(source, training=training, folder=(folder, source.folder))


def s3_source(given: str, settings: AwsSettings, with_bundle: bool = False) -> RunSource:
    """The run of a model.tar.gz or a table of predictions in S3, downloaded into a temporary folder.

    Args:
        given: s3://BUCKET/KEY, perhaps as NAME=s3://BUCKET/KEY. Beside a model.tar.gz the job's output.tar.gz is looked
            for, which has its predictions.
        settings, with_bundle: as of `job_source`.

    Raises:
        ThoraxError: there is no such object, or it is none of these.
    """
    name, sign, address = given.partition("=s3://")
    address = f"s3://{address}" if sign else given
    folder = tempfile.TemporaryDirectory(prefix="thorax-compare-")
    place, session = Path(folder.name), open_session(settings)
    above, _, file = address.rpartition("/")
    if file == MODEL and not with_bundle and _fetch(session, settings, f"{above}/{OUTPUT}", place / OUTPUT):
        file = OUTPUT
    elif not _fetch(session, settings, address, place / file):
        raise ThoraxError(f"there is no {address}")
    found = find_run(str(place / file))
    assert found is not None
    job_name = above.removesuffix("/output").rpartition("/")[2]
    known = name if sign else job_name if file in (OUTPUT, MODEL) else found.name
    return dataclasses.replace(found, name=known, place=address, folder=(folder, found.folder))


def _fetch(session: Any, settings: AwsSettings, address: str, file: Path) -> bool:
    """Downloads one object; False where there is none."""
    from botocore.exceptions import ClientError

    if not address.startswith("s3://"):
        return False
    with one_line_errors(settings):
        try:
            client(session, "s3").download_file(*bucket_and_key(address), str(file))
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey"):
                return False
            raise
    return True


def _machines(described: dict[str, Any], prices: Prices | None) -> dict[str, Any]:
    """What AWS knows of the job's machines, time and cost."""
    resources = described.get("ResourceConfig", {})
    kind, count = str(resources.get("InstanceType", "")), int(resources.get("InstanceCount", 1))
    found: dict[str, Any] = {"machines": f"{count} x {kind}"} if kind else {}
    seconds = described.get("TrainingTimeInSeconds")
    if seconds is not None:
        found["seconds"] = float(seconds)
    billed = described.get("BillableTimeInSeconds", seconds)
    if prices is not None and billed is not None and kind in prices.per_hour:
        found["cost"] = count * billed / 3600 * prices.per_hour[kind]
    return found
