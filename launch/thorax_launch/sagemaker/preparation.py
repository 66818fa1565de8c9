"""`check`, `stats` and `pack` on several machines: one SageMaker Processing job on a list of objects in S3.

All that a job writes is below one address, s3://BUCKET/PREFIX/NAME/: plan/ says what is done on which objects, units/
has what each unit came to, prepare.json names the job that works on it now. So what failed half-way goes on with
`--resume NAME`, and only units that lack are done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thorax.dataset.cluster.plan import (
    OBJECTS,
    PLAN,
    SPLIT,
    ClusterPlan,
    Entry,
    check_objects,
    objects_to_bytes,
    unit_size,
)
from thorax.errors import ThoraxError
from thorax.text import are, counted
from thorax_launch.names import dated
from thorax_launch.options import MachineOptions, PrepareOptions
from thorax_launch.paths import source_dir
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.cost import job_cost
from thorax_launch.sagemaker.endings import PREPARES, StoppedError, Terminated, ended
from thorax_launch.sagemaker.errors import if_there, one_line_errors
from thorax_launch.sagemaker.handles import ProcessingJob
from thorax_launch.sagemaker.kinds import PROCESSING
from thorax_launch.sagemaker.machines import check_family, disk_key
from thorax_launch.sagemaker.package import Upload, bucket_and_key, images, packed, source_files
from thorax_launch.sagemaker.processing import BASE, START, application, network, s3_input
from thorax_launch.sagemaker.requests import AwsRequest, commit, tags, without_empty
from thorax_launch.sagemaker.smoke_tests import read_object
from thorax_launch.sagemaker.submission import may_have_started, send_once, upload_all
from thorax_launch.sagemaker.summaries import Summary, rows
from thorax_launch.sagemaker.training_jobs import data_uri, uploads_of
from thorax_launch.sagemaker.transfers import download
from thorax_launch.settings import AwsSettings

#: What --wait fetches, below a plan's state.
RESULT = "result.json"
#: What every machine runs; $1 is the job's name.
_SCRIPT = f"""{START}pip install -q 'boto3>=1.34'
exec python -m thorax.dataset.cluster {BASE}/plan "$1" --work {BASE}/work \\
    --config /opt/ml/config/resourceconfig.json --message /opt/ml/output/message
"""


@dataclass(frozen=True)
class Preparation:
    """A job on several machines, checked.

    Attributes:
        name: of the job.
        batch: what --resume takes: the name of the first job.
        plan: what all machines do.
        request: CreateProcessingJob.
        uploads: images of folders, and the code.
        split: table of parts, for pack.
        running: an earlier job still works on it.
        done: its results are there.
    """

    name: str
    batch: str
    plan: ClusterPlan
    request: AwsRequest
    uploads: tuple[Upload, ...]
    options: PrepareOptions
    settings: AwsSettings
    split: bytes = b""
    running: bool = False
    done: bool = False

    @property
    def root(self) -> str:
        """s3:// address of all that the job reads and writes, but the images and what it packs."""
        return f"{self.settings.root}/{self.batch}"

    def summary(self) -> Summary:
        """What would be made, read and uploaded, and the most that it costs."""
        does = [f"processing job {self.name}: {self.plan.command}"]
        does += [f"shards in {self.plan.out}"] if self.plan.command == "pack" else []
        units = f"{self.plan.state}: a later job with --resume {self.batch} does only those that lack"
        reads = tuple(f"{name}: {address}" for name, address in self.plan.sources.items())
        machines = MachineOptions(
            instance_type=self.options.instance_type,
            instance_count=self.options.instances,
            max_hours=self.options.max_hours,
        )
        cost = job_cost(machines, self.settings)
        return Summary(tuple(does), (cost,), reads, self.uploads, tuple(rows("units", [units])))

    def again(self) -> str:
        """The words that end a line about a job that is not done."""
        return f"the same command with --resume {self.batch} --wait fetches what it found, or does what is missing"


def planned(
    command: str,
    places: Mapping[str, Path | str],
    flags: Mapping[str, Any],
    options: PrepareOptions,
    settings: AwsSettings,
) -> Preparation:
    """The job, checked; asks nothing of AWS and sends nothing.

    Args:
        command: check, stats or pack.
        places: images or train, validation ..., train_lst ..., for pack also out (in S3) and perhaps split -> a folder,
            a file, or an s3:// address.
        flags: the command's other flags by name.

    Raises:
        ThoraxError: a folder that is not there, or what AWS would refuse.
    """
    if settings.network_isolation:
        raise ThoraxError("--network-isolation: the machines read images from S3 and install packages; leave it out")
    if "," in options.instance_type:
        raise ThoraxError(f"--instance-type {options.instance_type}: a processing job takes one type; name one")
    check_family(options.instance_type)
    if options.max_hours < 1 / 60:
        raise ThoraxError(
            f"--max-hours {options.max_hours:g} is less than a minute, in which no job even starts; give more"
        )
    sources, uploads = _sources(places, settings)
    first = next(iter(sources.values())).rstrip("/").rpartition("/")[2]
    name = options.job_name or dated(options.resume or f"{command}-{first}")
    if name == options.resume:
        raise ThoraxError(f"--job-name {name} is what --resume names; choose another name for the new job")
    batch = options.resume or name
    root = f"{settings.root}/{batch}"
    plan = ClusterPlan(
        command, dict(flags), sources, _out(places, settings), f"{root}/units/", kms_key=settings.kms_key
    )
    code = {"sourcedir.tar.gz": packed(source_files(source_dir())), "prepare.sh": _SCRIPT.encode()}
    digest = hashlib.sha256(repr(sorted(code.items())).encode()).hexdigest()[:16]
    tools = f"{root}/tools/{digest}/"  # by content: a job that is about to start keeps its own
    uploads += [Upload(tools + file, content, once=tools) for file, content in code.items()]
    request = _request(name, tools, f"{root}/plan/", options, settings)
    return Preparation(name, batch, plan, request, tuple(uploads), options, settings, _split(places.get("split")))


def _split(file: Path | str | None) -> bytes:
    """The table of parts."""
    try:
        return Path(file).read_bytes() if file else b""
    except OSError as error:
        raise ThoraxError(f"--split {file} cannot be read: {error.strerror}") from None


def _sources(places: Mapping[str, Path | str], settings: AwsSettings) -> tuple[dict[str, str], list[Upload]]:
    """(source -> s3:// address, what must be put there first)."""
    sources, uploads = {}, []
    for name, place in places.items():
        if name in ("out", "split") or not place:
            continue
        if isinstance(place, str):
            if not place.startswith("s3://") or not bucket_and_key(place)[0]:
                raise ThoraxError(f"{place} must be a folder or s3://BUCKET/PREFIX")
            sources[name] = f"{place.rstrip('/')}/"  # S3 also matches images-2 with images
            continue
        found = images("IMAGES" if name == "images" else f"--{name.replace('_', '-')}", place)
        sources[name] = data_uri(found, settings)
        uploads += uploads_of(found, sources[name])
    return sources, uploads


def _out(places: Mapping[str, Path | str], settings: AwsSettings) -> str:
    """s3:// address of what is packed; "" for the other commands."""
    if "out" not in places:
        return ""
    out, root = f"{str(places['out'] or '').rstrip('/')}/", f"{settings.root}/"
    if not out.startswith(root) or out == root:
        raise ThoraxError(
            f"OUT {places['out'] or '(none)'}: with --instances what is packed goes to S3, below {root}, where the"
            f" job's role may write; give {root}NAME"
        )
    return out


def _request(name: str, tools: str, plan: str, options: PrepareOptions, settings: AwsSettings) -> AwsRequest:
    kind = options.instance_type
    machines = {
        "InstanceType": kind,
        "InstanceCount": options.instances,
        "VolumeSizeInGB": options.volume_gb,
        "VolumeKmsKeyId": disk_key(settings, kind),
    }
    parameters = {
        "ProcessingJobName": name,
        "RoleArn": settings.role,
        "AppSpecification": application("prepare.sh", kind, settings, name),
        # both to every machine: each has the whole list, and fetches the images of its own units
        "ProcessingInputs": [s3_input("tools", tools), s3_input("plan", plan)],
        "ProcessingResources": {"ClusterConfig": without_empty(machines)},
        "StoppingCondition": {"MaxRuntimeInSeconds": round(options.max_hours * 3600)},
        "Environment": {"AWS_DEFAULT_REGION": settings.region, PREPARES: options.resume or name},
        "NetworkConfig": network(settings),
        "Tags": tags(settings, commit=commit()),
    }
    return AwsRequest.checked("ProcessingJob", parameters, by_boto3=True)


def start(prepared: Preparation) -> Preparation:
    """Uploads, lists the objects and starts the job; with --resume the earlier job's list is taken.

    Returns:
        The preparation with its plan. `running` or `done`: nothing was started, because nothing is missing.

    Raises:
        ThoraxError: what is resumed is about something else, or AWS refuses; nothing runs then, or the line says so.
        StoppedError: Ctrl-C or a signal; its line says what is left.
    """
    settings = prepared.settings
    session = open_session(settings)
    s3, sagemaker = client(session, "s3"), client(session, "sagemaker")
    if prepared.options.resume:
        with one_line_errors(settings):
            prepared, files = _resumed(prepared, s3, sagemaker)
        if prepared.running or prepared.done:
            return prepared
        upload_all(prepared.uploads, session, settings)
    else:
        upload_all(prepared.uploads, session, settings)
        with one_line_errors(settings):
            prepared, files = _listed(prepared, s3)
            _check_free(prepared, files, s3, sagemaker)
    record = {"plan": json.loads(prepared.plan.to_json()), "job": prepared.name}
    files[f"{prepared.root}/prepare.json"] = json.dumps(record, ensure_ascii=False).encode()
    upload_all([Upload(uri, content) for uri, content in files.items()], session, settings)
    try:
        send_once(prepared.request, prepared.name, settings)
    except (KeyboardInterrupt, Terminated) as error:
        raise StoppedError(may_have_started(prepared.name).removeprefix("; "), error) from None
    return prepared


def _listed(prepared: Preparation, s3: Any) -> tuple[Preparation, dict[str, bytes]]:
    """With the plan of all objects there are now; and the plan's files."""
    objects = {name: _objects(name, address, s3) for name, address in prepared.plan.sources.items()}
    count = sum(map(len, objects.values()))
    plan = replace(prepared.plan, unit=unit_size(count, prepared.options.instances))
    print(f"{counted(count, 'object')} {are(count)} listed", flush=True)
    root = f"{prepared.root}/plan/"
    files = {f"{root}{PLAN}": plan.to_json(), f"{root}{OBJECTS}": objects_to_bytes(objects)}
    if prepared.split:
        files[f"{root}{SPLIT}"] = prepared.split
    return replace(prepared, plan=plan), files


def _objects(source: str, address: str, s3: Any) -> list[Entry]:
    bucket, prefix = bucket_and_key(address)
    entries = [
        Entry(
            found["Key"].removeprefix(prefix),
            found["Size"],
            round(found["LastModified"].timestamp()) * 10**9,
            found["ETag"],
        )
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for found in page.get("Contents", [])
    ]
    return check_objects("IMAGES" if source == "images" else f"--{source.replace('_', '-')}", address, entries)


def _check_free(prepared: Preparation, files: Mapping[str, bytes], s3: Any, sagemaker: Any) -> None:
    """Raises ThoraxError where a job of that name does something else, or OUT is not empty."""
    if if_there(lambda: PROCESSING.describe(sagemaker, prepared.name)) is not None:
        if any(read_object(s3, uri) != content for uri, content in files.items()):
            raise ThoraxError(
                f"--job-name {prepared.name} is taken by a job with another command or on other images: choose another"
                f" name, or --resume {prepared.name} to go on with that one"
            )
    elif prepared.plan.out:
        bucket, prefix = bucket_and_key(prepared.plan.out)
        if there := s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("Contents"):
            raise ThoraxError(
                f"OUT {prepared.plan.out} is not empty ({there[0]['Key'].removeprefix(prefix)} ...): choose another"
                " one, or --resume NAME to go on with the job that wrote it"
            )


def _resumed(prepared: Preparation, s3: Any, sagemaker: Any) -> tuple[Preparation, dict[str, bytes]]:
    """What --resume names: running, done, or what a new job needs."""
    batch = prepared.options.resume
    stored = read_object(s3, f"{prepared.root}/prepare.json")
    if stored is None:
        raise ThoraxError(f"--resume {batch}: there is no such job, {prepared.root}/prepare.json does not exist")
    about = json.loads(stored)
    plan = ClusterPlan.from_json(json.dumps(about["plan"]).encode())
    if what := _difference(plan, prepared.plan):
        raise ThoraxError(
            f"--resume {batch}: that job is about other {what}; give the same command as then, or leave --resume out"
        )
    last = str(about["job"])
    described = if_there(lambda: PROCESSING.describe(sagemaker, last))
    prepared = replace(prepared, plan=replace(plan, options=prepared.plan.options))
    if described is not None and not ended(PROCESSING, described):
        print(f"processing job {last} runs: none is started", flush=True)
        return replace(prepared, name=last, running=True), {}
    if read_object(s3, f"{plan.state}{RESULT}") is not None:
        return replace(prepared, name=last, done=True), {}
    return prepared, {f"{prepared.root}/plan/{PLAN}": prepared.plan.to_json()}


def _difference(then: ClusterPlan, now: ClusterPlan) -> str:
    """What differs between two plans, in words; images that cannot be read may be left out later."""
    for name, words in (("command", "commands"), ("sources", "images"), ("out", "places (OUT)")):
        if getattr(then, name) != getattr(now, name):
            return words
    before, after = ({**plan.options, "skip_corrupt": False} for plan in (then, now))
    return f"flags ({', '.join(name for name in after if before.get(name) != after[name])})" if before != after else ""


class PreparationJob(ProcessingJob):
    """The job of a preparation."""

    def __init__(self, prepared: Preparation) -> None:
        super().__init__(prepared.name, prepared.settings)
        self.prepared = prepared

    @property
    def kept(self) -> str:
        """What stays when it is stopped, in words."""
        return f"what is done stays: {self.prepared.again()}"

    @property
    def then(self) -> str:
        """What fetches its results."""
        return f"; {self.prepared.again()}"


def result(prepared: Preparation, files: Mapping[str, Path | None]) -> dict[str, Any]:
    """What a job that is done came to.

    Args:
        files: name below the plan's state -> where it goes here; None: nowhere.

    Raises:
        ThoraxError: there is no result, or AWS refuses.
    """
    settings, state = prepared.settings, prepared.plan.state
    s3 = client(open_session(settings), "s3")
    try:
        with one_line_errors(settings):
            stored = read_object(s3, f"{state}{RESULT}")
            if stored is None:
                raise ThoraxError(f"processing job {prepared.name} left no {state}{RESULT}")
            wanted = {name: file for name, file in files.items() if file is not None}
            download(s3, {bucket_and_key(f"{state}{name}"): file for name, file in wanted.items()})
    except ThoraxError as error:
        raise ThoraxError(f"{error}; {prepared.again()}") from None
    found: dict[str, Any] = json.loads(stored)
    return found
