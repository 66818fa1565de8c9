"""One training job: from recipe, settings and data to the request, and to the files that must be in S3 before it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from thorax.config import TrainingConfig
from thorax.config.validate import check_machine
from thorax.errors import ThoraxError
from thorax.tracking.metric_log import metric_definitions
from thorax_launch import job_requirements
from thorax_launch.options import LONGEST, request_fields
from thorax_launch.paths import source_dir
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker import debugger, preflight
from thorax_launch.sagemaker.cost import ONE_JOB, SearchScale, price_variable
from thorax_launch.sagemaker.job_extras import (
    check_content_type,
    check_secrets,
    environment,
    installs,
    requirements,
    secret_notes,
)
from thorax_launch.sagemaker.machines import aws_image, disk_key, gpu_count, has_gpu, kinds
from thorax_launch.sagemaker.package import ChannelFiles, Upload, how_to_get_wheels, images, tarball
from thorax_launch.sagemaker.requests import AwsRequest, commit, ordered, tags, vpc, without_empty
from thorax_launch.settings import AwsSettings
from thorax_launch.wheels import PYTHON

PROGRAM = "train_model.py"
TORCH = "2.10.0"
#: Channel that brings the code into a container without a network.
CODE = "code"
#: Channels of a file or two, which are copied even where images are streamed.
_COPIED = {"weights", "model"}
#: Endings of single objects that a channel may be.
_OBJECTS = (
    *(".pt", ".pth", ".gz", ".tar", ".tgz", ".zip", ".rec", ".idx", ".lst", ".csv", ".tsv", ".json", ".jsonl"),
    *(".parquet", ".npz", ".npy", ".h5", ".hdf5", ".safetensors", ".ckpt", ".bin"),
)
_ORDER = (
    *("TrainingJobName", "RoleArn", "AlgorithmSpecification", "HyperParameters", "InputDataConfig", "ResourceConfig"),
    *("StoppingCondition", "OutputDataConfig", "CheckpointConfig", "EnableManagedSpotTraining"),
)


@dataclass(frozen=True)
class Task:
    """What a person asks for, besides recipe and settings.

    Attributes:
        name: of the job.
        channels: name -> folder, file or s3:// address.
        hyperparameters: name -> text, checked.
        content_type: channel -> SageMaker's content type, where the files do not show it.
        env: variables in the container.
        secrets: variable -> name or ARN in Secrets Manager or SSM, from where the job fetches it.
        wheels: folder of wheels to install from.
        locked: install exact versions, compared with their hashes (thorax_launch.locks).
        resume: an earlier job, to go on from its checkpoints.
        processes: per machine, under torchrun; 0: one per GPU.
        debugger: SageMaker Debugger's hook and rules.
        rule: of those rules, with their parameters, in place of the usual ones.
        profiler: SageMaker's profiler.
        source_dir: code to run.
    """

    name: str
    channels: Mapping[str, str]
    hyperparameters: Mapping[str, str]
    content_type: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    wheels: Path | None = None
    locked: bool = False
    resume: str = ""
    processes: int = 0
    debugger: bool = False
    rule: Sequence[str] = ()
    profiler: bool = False
    source_dir: Path = field(default_factory=source_dir)


@dataclass(frozen=True)
class JobPlan:
    """A request, what must be in S3 before it is sent, how many jobs it starts, and lines for the person to read."""

    request: AwsRequest
    uploads: tuple[Upload, ...]
    name: str
    recipe: Recipe
    scale: SearchScale = ONE_JOB
    notes: tuple[str, ...] = ()


def plan(recipe: Recipe, settings: AwsSettings, task: Task) -> JobPlan:
    """A training job, checked against AWS's model; asks nothing of AWS and sends nothing.

    Raises:
        ThoraxError: what AWS would refuse or the container could not do, in one line.
    """
    check(recipe, settings, task)
    check_processes(recipe, task)
    notes = preflight.notes(recipe, task.channels, task.hyperparameters, task.processes)
    source = code(settings, task)
    channels, uploads, digest = data(recipe, settings, task, source)
    watch = debugger.arguments(settings, task.name, rules=task.debugger, profile=task.profiler, chosen=task.rule)
    start = start_hyperparameters(recipe, settings, task, source)
    parameters = {
        "TrainingJobName": task.name,
        **job_fields(recipe, settings, task),
        "HyperParameters": encoded({**watch.hyperparameters, **task.hyperparameters, **start}),
        "InputDataConfig": channels,
        "Environment": {**price_variable(recipe, settings), **environment(task)},
        "Tags": job_tags(recipe, settings, digest),
        **watch.arguments,
    }
    # by boto3: the SDK's shapes do not know InstancePreferences
    by_boto3 = "," in recipe.instance_type
    request = AwsRequest.checked("TrainingJob", ordered(parameters, _ORDER), by_boto3)
    notes += [*installs(task, settings), *secret_notes(task)]
    return JobPlan(request, uploads, task.name, recipe, notes=tuple(notes))


def check(recipe: Recipe, settings: AwsSettings, task: Task) -> None:
    """Raises ThoraxError for what can be refused before any file is read."""
    if "train" not in task.channels:
        raise ThoraxError(
            "--train is missing: give the training images, a folder or s3://BUCKET/PREFIX (with --local a recipe draws"
            " its own)"
        )
    _check_hours(recipe)
    check_secrets(settings, task)
    if settings.network_isolation and task.wheels is None and not settings.training_image:
        raise ThoraxError(
            "--network-isolation: the container cannot pip install source_dir/requirements.txt; take the packages"
            f" along, --wheels wheels after `{how_to_get_wheels()}`, or give a --training-image that has them"
        )
    if task.resume and not re.fullmatch(r"[A-Za-z0-9](-*[A-Za-z0-9]){0,62}", task.resume):
        raise ThoraxError(
            f"--resume {task.resume!r} must be the name of a training job: up to 63 letters, digits and hyphens"
        )
    if task.rule and not task.debugger:
        raise ThoraxError(
            f"--rule {task.rule[0]} is for --debugger; for our own rules: --set debug_rules={task.rule[0]}"
        )
    if task.debugger and distributed(recipe, task):
        raise ThoraxError(
            f"--debugger with {recipe.instance_count} x {recipe.instance_type}: AWS takes no Debugger where distributed"
            " training and checkpoints are both on; choose one machine with one GPU or none"
        )
    _disk_key(recipe, settings)
    if recipe.spot and "," in recipe.instance_type:
        raise ThoraxError(
            f"--spot with --instance-type {recipe.instance_type}: AWS waits for spot machines of one type; name one, or"
            " leave --spot out"
        )


def _disk_key(recipe: Recipe, settings: AwsSettings) -> str:
    """KMS key of the machines' disks; see disk_key.

    Raises:
        ThoraxError: some of the types take a key and others do not.
    """
    found = {disk_key(settings, kind) for kind in kinds(recipe.instance_type)}
    if len(found) > 1:
        raise ThoraxError(
            f"--instance-type {recipe.instance_type}: AWS takes a key for the disks of some of them and none for the"
            " others; name types that are alike in this, such as ml.g5 and ml.g6"
        )
    return found.pop()


def _check_hours(recipe: Recipe) -> None:
    longest, waits = recipe.max_hours, recipe.max_wait_hours
    if longest < 1 / 60:
        raise ThoraxError(f"--max-hours {longest:g} is less than a minute, in which no job even starts; give more")
    if max(longest, waits) > LONGEST:
        raise ThoraxError(f"--max-hours {longest:g}: AWS lets a job run and wait {LONGEST} hours (28 days) at most")
    if recipe.spot and recipe.warm_pool_minutes:
        raise ThoraxError(
            f"--spot with --warm-pool-minutes {recipe.warm_pool_minutes}: AWS keeps no warm pool of spot machines;"
            " choose one"
        )
    if waits and not recipe.spot:
        raise ThoraxError(f"--max-wait-hours {waits:g} is for --spot; leave it out")
    if waits and waits < longest:
        raise ThoraxError(
            f"--max-wait-hours {waits:g} is less than --max-hours {longest:g}; it counts both waiting and running"
        )


def check_processes(recipe: Recipe, task: Task) -> None:
    """Raises ThoraxError for what the trainer refuses on such a machine, before it is paid for.

    The batch does not divide by the processes, or the precision needs a GPU.
    """
    config = TrainingConfig.parse(dict(task.hyperparameters))
    for kind in kinds(recipe.instance_type):
        per_machine = task.processes or gpu_count(kind) or 1
        device = "cuda" if has_gpu(kind) else "cpu"
        processes = per_machine * recipe.instance_count
        try:
            check_machine(config, device=device, processes=processes, processes_here=per_machine)
        except ThoraxError as error:
            raise ThoraxError(f"{kind}: {error}") from None


def code(settings: AwsSettings, task: Task) -> Upload:
    """The code that a job runs, under an address by its content: what another job of that name runs stays as it is.

    Its requirements.txt is made for the job; see job_requirements.

    Raises:
        ThoraxError: see tarball; or the wheels lack a package.
    """
    extra = requirements(task)
    if task.wheels is not None and any(task.wheels.glob("*.whl")):
        job_requirements.check_wheels(task.wheels, extra, how_to_get_wheels(task.hyperparameters, extra))
    if task.locked and settings.training_image:
        raise ThoraxError("--locked is for AWS's image, whose Python is known; leave it or --training-image out")
    content = tarball(task.source_dir, task.wheels, extra, PYTHON if task.locked else "")
    folder = f"{settings.root}/{task.name}/source/{hashlib.sha256(content).hexdigest()[:16]}/"
    return Upload(f"{folder}sourcedir.tar.gz", content, once=folder)


def data(
    recipe: Recipe, settings: AwsSettings, task: Task, source: Upload
) -> tuple[list[Any], tuple[Upload, ...], str]:
    """(the channels, the uploads with the code, `source`, first, a hash of names and contents of all images).

    What is in S3 already is hashed by its address.
    """
    uploads = [source]
    channels, digest = [], hashlib.sha256()
    for name, path in task.channels.items():
        if path.startswith("s3://"):
            uri, kind, found_digest = prefix(path), "application/x-image", path
        elif "://" in path:
            raise ThoraxError(f"--{name} {path} must be a folder or s3://BUCKET/PREFIX")
        else:
            found = images(f"--{name}", Path(path))
            uri, kind, found_digest = data_uri(found, settings), found.content_type, found.digest
            uploads += uploads_of(found, uri)
        digest.update(f"{name}={found_digest}\n".encode())
        if name in task.content_type:
            check_content_type(name, task.content_type[name], kind, path)
        mode = "File" if name in _COPIED else recipe.input_mode
        channels.append(channel(name, uri, task.content_type.get(name, kind), mode))
    if settings.network_isolation:  # the container cannot fetch its code; SageMaker brings it, as a channel
        channels.append(channel(CODE, source.once, "application/x-tar", "File"))
    if unknown := set(task.content_type) - set(task.channels):
        raise ThoraxError(
            f"--content-type {sorted(unknown)[0]}: there is no such channel; the channels are"
            f" {', '.join(task.channels)}"
        )
    return channels, tuple({upload.uri: upload for upload in uploads}.values()), digest.hexdigest()


def prefix(address: str) -> str:
    """The address with a last "/", because S3 also matches images/train-old with images/train.

    A bucket, or an object such as weights.pt, as it is; a folder may have a dot in its name too (images.v2).
    """
    key = address.removeprefix("s3://").partition("/")[2]
    is_object = PurePosixPath(key).suffix.lower() in _OBJECTS
    return address if not key or key.endswith("/") or is_object else f"{address}/"


def data_uri(found: ChannelFiles, settings: AwsSettings) -> str:
    """s3:// address of a folder's copy, by its content."""
    return f"{settings.root}/data/{found.digest[:16]}/"


def uploads_of(found: ChannelFiles, uri: str) -> list[Upload]:
    return [Upload(uri + name, file, uri) for name, file in found.files.items()]


def channel(name: str, uri: str, content_type: str, mode: str) -> dict[str, Any]:
    """One input channel out of an S3 prefix."""
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {
        "ChannelName": name,
        "DataSource": {"S3DataSource": source},
        "ContentType": content_type,
        "CompressionType": "None",
        "RecordWrapperType": "None",
        "InputMode": mode,
    }


def job_fields(recipe: Recipe, settings: AwsSettings, task: Task, own_checkpoints: bool = True) -> dict[str, Any]:
    """Request fields that training and tuning jobs share: machines, image, times, security, output, checkpoints."""
    fields = request_fields(recipe)
    machines = kinds(recipe.instance_type)
    image = settings.training_image or aws_image("pytorch", TORCH, machines[0], settings.region, "training")
    several = [{"InstanceType": kind} for kind in machines] if len(machines) > 1 else []
    checkpoints = f"{settings.root}/{task.resume or task.name}/checkpoints/"  # last "/": S3 matches job-1 with job-10
    shared: dict[str, Any] = {
        "RoleArn": settings.role,
        "AlgorithmSpecification": {"TrainingImage": image, "MetricDefinitions": metric_definitions()},
        "ResourceConfig": without_empty(
            {"VolumeKmsKeyId": _disk_key(recipe, settings), "InstancePreferences": several}
        ),
        "OutputDataConfig": without_empty({"S3OutputPath": settings.root, "KmsKeyId": settings.kms_key}),
        "CheckpointConfig": {"S3Uri": checkpoints} if own_checkpoints or recipe.spot else None,
        "EnableNetworkIsolation": settings.network_isolation,
        "EnableInterContainerTrafficEncryption": settings.encrypt_traffic,
        "VpcConfig": vpc(settings),
    }
    both = fields.keys() & shared.keys()
    return {**fields, **shared, **{name: {**fields[name], **shared[name]} for name in both}}


def start_hyperparameters(recipe: Recipe, settings: AwsSettings, task: Task, source: Upload) -> dict[str, object]:
    """The platform's own hyperparameters: which program, from where, and torchrun where there are several processes."""
    place = f"/opt/ml/input/data/{CODE}/sourcedir.tar.gz" if settings.network_isolation else source.uri
    own: dict[str, object] = {
        "sagemaker_program": PROGRAM,
        "sagemaker_submit_directory": place,
        "sagemaker_region": settings.region,
        "sagemaker_container_log_level": 20,
    }
    if distributed(recipe, task):
        own["sagemaker_torch_distributed_enabled"] = True
    if task.processes:
        own["sagemaker_mpi_num_of_processes_per_host"] = task.processes
    return own


def encoded(values: Mapping[str, object]) -> dict[str, str]:
    """Hyperparameters as the toolkit reads them: JSON, so that a text stays the text that it is."""
    return {name: json.dumps(value) for name, value in values.items()}


def distributed(recipe: Recipe, task: Task) -> bool:
    """Whether the job has several processes: several machines, several GPUs, or as many as were asked for."""
    gpus = {gpu_count(kind) for kind in kinds(recipe.instance_type)}
    several_gpus = not task.processes and not gpus <= {0, 1}
    return recipe.instance_count > 1 or task.processes > 1 or several_gpus


def job_tags(recipe: Recipe, settings: AwsSettings, digest: str) -> list[dict[str, str]]:
    """Project, recipe, git commit and data hash, then the user's own, which win."""
    return tags(settings, recipe=recipe.name, commit=commit(), data=digest[:16])
