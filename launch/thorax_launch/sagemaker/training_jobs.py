"""One training job: from recipe, settings and data to the request, and to the files that must be in S3 before it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from thorax.errors import ThoraxError
from thorax.tracking.metric_log import metric_definitions
from thorax_launch.paths import LAUNCH, source_dir
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker import debugger, disks
from thorax_launch.sagemaker.package import ChannelFiles, Upload, how_to_get_wheels, images, tarball
from thorax_launch.sagemaker.requests import AwsRequest
from thorax_launch.settings import AwsSettings

PROGRAM = "train_model.py"
TORCH = "2.10.0"
#: Hours.
LONGEST = 672
#: Channel that brings the code into a container without a network.
CODE = "code"
#: Machines with GPUs begin so.
GPU = ("ml.p", "ml.g")
#: Channels of a file or two, which are copied even where images are streamed.
_COPIED = {"weights", "model"}


@dataclass(frozen=True)
class Task:
    """What a person asks for, besides recipe and settings.

    Attributes:
        name: of the job.
        channels: name -> folder, file or s3:// address.
        hyperparameters: name -> text, checked.
        content_types: channel -> SageMaker's content type, where it is not told from the files.
        environment: variables in the container.
        wheels: folder of wheels to install from.
        resume: an earlier job whose checkpoints to go on from.
        processes: per machine, under torchrun; 0: one per GPU.
        debugger: SageMaker Debugger's hook and rules.
        profiler: SageMaker's profiler.
        source_dir: code to run.
    """

    name: str
    channels: Mapping[str, str]
    hyperparameters: Mapping[str, str]
    content_types: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    wheels: Path | None = None
    resume: str = ""
    processes: int = 0
    debugger: bool = False
    profiler: bool = False
    source_dir: Path = field(default_factory=source_dir)


@dataclass(frozen=True)
class Plan:
    """A request, and what must be in S3 before it is sent."""

    request: AwsRequest
    uploads: tuple[Upload, ...]
    name: str
    recipe: Recipe
    jobs: int = 1
    parallel: int = 1


def plan(recipe: Recipe, settings: AwsSettings, task: Task) -> Plan:
    """A training job, checked against AWS's model; asks nothing of AWS and sends nothing.

    Raises:
        ThoraxError: what AWS would refuse or the container could not do, in one line.
    """
    from sagemaker.core.shapes import AlgorithmSpecification, MetricDefinition, ProfilerConfig

    check(recipe, settings, task)
    check_processes(recipe, task)
    channels, uploads, digest = data(recipe, settings, task)
    definitions = [MetricDefinition(name=one["Name"], regex=one["Regex"]) for one in metric_definitions()]
    watch = debugger.arguments(settings, task.name, rules=task.debugger, profile=task.profiler)
    request = AwsRequest(
        "TrainingJob",
        {
            "training_job_name": task.name,
            "role_arn": settings.role,
            "algorithm_specification": AlgorithmSpecification(
                training_image=image(recipe, settings),
                training_input_mode=recipe.input_mode,
                metric_definitions=definitions,
            ),
            "hyper_parameters": encoded(
                {**watch.hyperparameters, **task.hyperparameters, **start(recipe, settings, task)}
            ),
            "input_data_config": channels,
            **machines(recipe, settings, task),
            "environment": dict(task.environment) or None,
            "tags": tags(recipe, settings, digest),
            **(watch.arguments or {"profiler_config": ProfilerConfig(disable_profiler=True)}),
        },
    )
    request.check()
    return Plan(request, uploads, task.name, recipe)


def check(recipe: Recipe, settings: AwsSettings, task: Task) -> None:
    """What can be refused before any file is read."""
    if "train" not in task.channels:
        raise ThoraxError(
            "--train is missing: give the training images, a folder or s3://BUCKET/PREFIX (with --local a recipe draws"
            " its own)"
        )
    if recipe.max_hours < 1 / 60:
        raise ThoraxError(
            f"--max-hours {recipe.max_hours:g} is less than a minute, in which no job even starts; give more"
        )
    if max(recipe.max_hours, recipe.max_wait_hours) > LONGEST:
        raise ThoraxError(
            f"--max-hours {recipe.max_hours:g}: AWS lets a job run and wait {LONGEST} hours (28 days) at most"
        )
    if recipe.spot and recipe.warm_pool_minutes:
        raise ThoraxError(
            f"--spot with --warm-pool-minutes {recipe.warm_pool_minutes}: AWS keeps no warm pool of spot machines;"
            " choose one"
        )
    if recipe.max_wait_hours and not recipe.spot:
        raise ThoraxError(f"--max-wait-hours {recipe.max_wait_hours:g} is for --spot; leave it out")
    if recipe.max_wait_hours and recipe.max_wait_hours < recipe.max_hours:
        raise ThoraxError(
            f"--max-wait-hours {recipe.max_wait_hours:g} is less than --max-hours {recipe.max_hours:g}; it counts both"
            " waiting and running"
        )
    if settings.network_isolation and task.wheels is None and not settings.training_image:
        raise ThoraxError(
            "--network-isolation: the container cannot pip install source_dir/requirements.txt; take the packages"
            f" along, --wheels wheels after `{how_to_get_wheels()}`, or give a --training-image that has them"
        )
    if task.resume and not re.fullmatch(r"[A-Za-z0-9](-*[A-Za-z0-9]){0,62}", task.resume):
        raise ThoraxError(
            f"--resume {task.resume!r} must be the name of a training job: up to 63 letters, digits and hyphens"
        )
    if task.debugger and distributed(recipe, task):
        raise ThoraxError(
            f"--debugger with {recipe.instance_count} x {recipe.instance_type}: AWS takes no Debugger where distributed"
            " training and checkpoints are both on; choose one machine with one GPU or none"
        )
    disks.key(settings, recipe.instance_type)


def check_processes(recipe: Recipe, task: Task) -> None:
    """What the trainer refuses on such a machine, before it is paid for.

    Raises:
        ThoraxError: the batch does not divide by the processes, or the precision needs a GPU.
    """
    from thorax.config import TrainingConfig
    from thorax.config.rules import check_machine

    here = task.processes or gpus(recipe.instance_type) or 1
    device = "cuda" if recipe.instance_type.startswith(GPU) else "cpu"
    config = TrainingConfig.parse(dict(task.hyperparameters))
    try:
        check_machine(config, device=device, processes=here * recipe.instance_count, processes_here=here)
    except ThoraxError as error:
        raise ThoraxError(f"{recipe.instance_type}: {error}") from None


def data(recipe: Recipe, settings: AwsSettings, task: Task) -> tuple[list[Any], tuple[Upload, ...], str]:
    """The channels, the uploads (code first), and a hash of names and contents of all images (of addresses as they
    are).
    """
    import hashlib

    uploads = [Upload(source_uri(settings, task.name), tarball(task.source_dir, task.wheels))]
    channels, digest = [], hashlib.sha256()
    for name, path in task.channels.items():
        if path.startswith("s3://"):
            uri, kind, found_digest = prefix(path), "application/x-image", path
        elif "://" in path:
            raise ThoraxError(f"--{name} {path} must be a folder or s3://BUCKET/PREFIX")
        else:
            found = images(f"--{name}", Path(path))
            uri, kind, found_digest = f"{settings.root}/data/{found.digest[:16]}/", found.content_type, found.digest
            uploads += uploads_of(found, uri)
        digest.update(f"{name}={found_digest}\n".encode())
        channels.append(
            channel(name, uri, task.content_types.get(name, kind), "File" if name in _COPIED else recipe.input_mode)
        )
    if settings.network_isolation:  # the container cannot fetch its code; SageMaker brings it, as a channel
        channels.append(
            channel(CODE, source_uri(settings, task.name).rpartition("/")[0] + "/", "application/x-tar", "File")
        )
    if unknown := set(task.content_types) - set(task.channels):
        raise ThoraxError(
            f"--content-type {sorted(unknown)[0]}: there is no such channel; the channels are"
            f" {', '.join(task.channels)}"
        )
    return channels, tuple({one.uri: one for one in uploads}.values()), digest.hexdigest()


def prefix(address: str) -> str:
    """The address with a last "/", lest S3 also matches images/train-old with images/train.

    A bucket, or an object such as weights.pt, as it is.
    """
    key = address.removeprefix("s3://").partition("/")[2]
    return address if not key or key.endswith("/") or PurePosixPath(key).suffix else f"{address}/"


def uploads_of(found: ChannelFiles, uri: str) -> list[Upload]:
    return [Upload(uri + name, file, uri) for name, file in found.files.items()]


def channel(name: str, uri: str, kind: str, mode: str) -> Any:
    """One input channel out of an S3 prefix."""
    from sagemaker.core.shapes import Channel, DataSource, S3DataSource

    source = S3DataSource(s3_data_type="S3Prefix", s3_uri=uri, s3_data_distribution_type="FullyReplicated")
    return Channel(
        channel_name=name,
        data_source=DataSource(s3_data_source=source),
        content_type=kind,
        input_mode=mode,
        compression_type="None",
        record_wrapper_type="None",
    )


def machines(recipe: Recipe, settings: AwsSettings, task: Task, own_checkpoints: bool = True) -> dict[str, Any]:
    """Where the job runs, how long, how secured, where its output goes: the same for training and tuning jobs."""
    from sagemaker.core.shapes import CheckpointConfig, OutputDataConfig, ResourceConfig, StoppingCondition, VpcConfig

    longest = round(recipe.max_hours * 3600)
    waits = round(min(recipe.max_wait_hours or 2 * recipe.max_hours, LONGEST) * 3600) if recipe.spot else None
    checkpoints = (  # with a last "/": S3 also matches job-1 with job-10
        f"{settings.root}/{task.resume or task.name}/checkpoints/"
    )
    return {
        "resource_config": ResourceConfig(
            instance_type=recipe.instance_type,
            instance_count=recipe.instance_count,
            volume_size_in_gb=recipe.volume_gb,
            **_given(
                volume_kms_key_id=disks.key(settings, recipe.instance_type),
                keep_alive_period_in_seconds=recipe.warm_pool_minutes * 60,
            ),
        ),
        "stopping_condition": StoppingCondition(
            max_runtime_in_seconds=longest, **_given(max_wait_time_in_seconds=waits)
        ),
        "output_data_config": OutputDataConfig(s3_output_path=settings.root, **_given(kms_key_id=settings.kms_key)),
        "checkpoint_config": CheckpointConfig(s3_uri=checkpoints) if own_checkpoints or recipe.spot else None,
        "enable_managed_spot_training": recipe.spot,
        "enable_network_isolation": settings.network_isolation,
        "enable_inter_container_traffic_encryption": settings.encrypt_traffic,
        "vpc_config": (
            VpcConfig(subnets=list(settings.subnets), security_group_ids=list(settings.security_groups))
            if settings.subnets
            else None
        ),
    }


def start(recipe: Recipe, settings: AwsSettings, task: Task) -> dict[str, object]:
    """The platform's own hyperparameters: which program, from where, and torchrun where there are several processes."""
    source = (
        f"/opt/ml/input/data/{CODE}/sourcedir.tar.gz" if settings.network_isolation else source_uri(settings, task.name)
    )
    own: dict[str, object] = {
        "sagemaker_program": PROGRAM,
        "sagemaker_submit_directory": source,
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
    return (
        recipe.instance_count > 1
        or task.processes > 1
        or (not task.processes and gpus(recipe.instance_type) not in (0, 1))
    )


def gpus(instance_type: str) -> int | None:
    """By the SDK's table; None for a GPU machine that it does not know, which is taken to have several.

    Torchrun also starts one process.
    """
    from sagemaker.core import instance_types_gpu_info

    if not instance_type.startswith(GPU):
        return 0
    table: dict[str, dict[str, int]] = instance_types_gpu_info.retrieve("us-east-1") or {}
    return table.get(instance_type, {}).get("Count", 1 if instance_type.endswith(".xlarge") else None)


def image(recipe: Recipe, settings: AwsSettings) -> str:
    """The training image: the setting's, or AWS's for torch 2.10 with CPU or GPU as the machine has."""
    if settings.training_image:
        return settings.training_image
    from sagemaker.core import image_uris

    try:
        return str(
            image_uris.retrieve(
                "pytorch", settings.region, version=TORCH, instance_type=recipe.instance_type, image_scope="training"
            )
        )
    except ValueError as error:
        raise ThoraxError(
            f"no AWS image for --region {settings.region} and --instance-type {recipe.instance_type}:"
            f" {str(error).splitlines()[0]}"
        ) from None


def source_uri(settings: AwsSettings, name: str) -> str:
    return f"{settings.root}/{name}/source/sourcedir.tar.gz"


def tags(recipe: Recipe, settings: AwsSettings, digest: str) -> list[Any]:
    """Project, recipe, git commit and data hash, then the user's own, which win."""
    from sagemaker.core.shapes import Tag

    own = {"project": "thorax", "recipe": recipe.name, "commit": commit(), "data": digest[:16]}
    return [Tag(key=key, value=value) for key, value in {**own, **settings.tags}.items() if value]


def commit() -> str:
    """The git commit of this code, "-changed" where files differ from it; empty outside a repository."""
    words = ["git", "-C", str(LAUNCH), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=-changed"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if re.fullmatch(r"[0-9a-f]{40}(-changed)?", done.stdout.strip()) else ""


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
