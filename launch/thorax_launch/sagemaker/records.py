"""A job's own record at AWS: sent once more as it was, whole, or continued from its checkpoints.

Role, keys, subnets, isolation, encryption, environment, channels, code, image and hyperparameters are those of the job:
nothing comes from recipe or thorax.yaml.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.secrets import remember
from thorax_launch.hyperparameters import changes as over
from thorax_launch.hyperparameters import overridden
from thorax_launch.names import clean, dated
from thorax_launch.options import MachineOptions, request_fields
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.jobs import TrainingJob
from thorax_launch.sagemaker.package import bucket_and_key
from thorax_launch.sagemaker.requests import MARK, AwsRequest, own_marks
from thorax_launch.sagemaker.schema import input_shape
from thorax_launch.sagemaker.training_jobs import JobPlan
from thorax_launch.settings import AwsSettings

#: Machine options that fit any image and network, and so may change.
CHANGEABLE = ("max_hours", "max_wait_hours", "spot", "volume_gb", "warm_pool_minutes")
#: Begins the hyperparameters that the platform sets, and those that it adds to the jobs of a search.
_PLATFORM = ("sagemaker_", "_tuning")
_PER_JOB = "THORAX_CHECKPOINTS"


@dataclasses.dataclass(frozen=True)
class Changes:
    """What differs from the record.

    Attributes:
        job_name: of the new job; "": the old name and the time.
        hyperparameters: name -> value, put over the record's.
        machine: of CHANGEABLE.
    """

    job_name: str = ""
    hyperparameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    machine: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def plan_again(name: str, place: AwsSettings, changes: Changes, *, resume: bool) -> tuple[JobPlan, AwsSettings]:
    """(the plan of a job with the record of another, the settings that the record holds).

    Args:
        name: of the earlier training job.
        place: profile and region.
        changes: what differs.
        resume: go on from its checkpoints; else from the start, with checkpoints of its own.

    Raises:
        ThoraxError: there is no such job, it kept no checkpoints to go on from, or AWS would refuse the change.
    """
    job = TrainingJob(name, place)
    described = job.describe()
    with one_line_errors(place):
        listed = client(open_session(place), "sagemaker").list_tags(ResourceArn=described["TrainingJobArn"])["Tags"]
    request = {key: value for key, value in described.items() if key in input_shape("CreateTrainingJob").members}
    settings = settings_of(request, place)
    remember(request.get("Environment") or {})
    new = changes.job_name or dated(_stem(name))
    request["TrainingJobName"] = new
    request["Tags"] = [tag for tag in listed if not tag["Key"].startswith("aws:") and tag["Key"] != MARK]
    request["Tags"] += [{"Key": key, "Value": value} for key, value in own_marks().items()]
    request["HyperParameters"] = _hyperparameters(request.get("HyperParameters", {}), changes.hyperparameters)
    _checkpoints(request, settings, name, new, resume)
    machine = _machine(request, name).on(**changes.machine)
    if "max_hours" in changes.machine and "max_wait_hours" not in changes.machine:
        machine = dataclasses.replace(machine, max_wait_hours=0.0)  # twice the new --max-hours
    _overlay(request, machine)
    checked_request = AwsRequest.checked("TrainingJob", _filled(request))
    return JobPlan(checked_request, (), new, machine), settings


def settings_of(request: Mapping[str, Any], place: AwsSettings) -> AwsSettings:
    """The settings that a training job's record holds: role, bucket, network, keys, isolation, encryption."""
    output, network = request.get("OutputDataConfig", {}), request.get("VpcConfig") or {}
    bucket, prefix = bucket_and_key(output.get("S3OutputPath", "s3:///"))
    return dataclasses.replace(
        place,
        role=request.get("RoleArn", ""),
        bucket=bucket,
        prefix=prefix.strip("/"),
        subnets=tuple(network.get("Subnets", ())),
        security_groups=tuple(network.get("SecurityGroupIds", ())),
        kms_key=output.get("KmsKeyId", ""),
        volume_kms_key=request.get("ResourceConfig", {}).get("VolumeKmsKeyId", ""),
        network_isolation=bool(request.get("EnableNetworkIsolation")),
        encrypt_traffic=bool(request.get("EnableInterContainerTrafficEncryption")),
    )


def _stem(name: str) -> str:
    """A job's name without the time at its end."""
    head, _, last = clean(name).rpartition("-")
    before, _, day = head.rpartition("-")
    dated_name = last.isdecimal() and len(last) == 6 and day.isdecimal() and len(day) == 6
    return before if dated_name and before else name


def _hyperparameters(record: Mapping[str, str], changes: Mapping[str, Any]) -> dict[str, str]:
    own = {key: value for key, value in record.items() if not key.startswith(_PLATFORM)}
    platform = {key: value for key, value in record.items() if key.startswith("sagemaker_")}
    if not changes:
        return {**own, **platform}
    given = over(changes)
    merged = overridden({key: _plain(value) for key, value in own.items()}, given)
    TrainingConfig.parse(merged)
    texts = {key: own[key] if key in own and key not in given else json.dumps(merged[key]) for key in merged}
    return {**texts, **platform}


def _plain(value: str) -> str:
    """A hyperparameter's text without its JSON."""
    return str(json.loads(value)) if value.startswith('"') else value


def _checkpoints(request: dict[str, Any], settings: AwsSettings, name: str, new: str, resume: bool) -> None:
    """The address of the checkpoints: the old job's to go on from, or one of the new job alone."""
    environment = dict(request.get("Environment") or {})
    per_job = environment.pop(_PER_JOB, "") == "per-job"
    request["Environment"] = environment
    if not resume:
        request["CheckpointConfig"] = {"S3Uri": f"{settings.root}/{new}/checkpoints/"}
        return
    address = (request.get("CheckpointConfig") or {}).get("S3Uri", "")
    if not address:
        raise ThoraxError(
            f"--resume {name}: it kept no checkpoints (a job of a search without --spot keeps none); to train it from"
            f" the start: --again {name}"
        )
    request["CheckpointConfig"] = {"S3Uri": f"{address.rstrip('/')}/{name}/" if per_job else address}


def _machine(request: Mapping[str, Any], name: str) -> Recipe:
    """The machine of a record, as a recipe of it."""
    resources, stop = request["ResourceConfig"], request["StoppingCondition"]
    wait = stop.get("MaxWaitTimeInSeconds", 0) / 3600
    return Recipe(
        name=name,
        instance_type=resources.get("InstanceType", ""),
        instance_count=resources.get("InstanceCount", 1),
        volume_gb=resources["VolumeSizeInGB"],
        max_hours=stop.get("MaxRuntimeInSeconds", 86400) / 3600,
        spot=bool(request.get("EnableManagedSpotTraining")),
        max_wait_hours=wait,
        warm_pool_minutes=resources.get("KeepAlivePeriodInSeconds", 0) // 60,
        input_mode=request["AlgorithmSpecification"].get("TrainingInputMode", "File"),
    )


def _overlay(request: dict[str, Any], machine: MachineOptions) -> None:
    if machine.max_wait_hours and machine.max_wait_hours < machine.max_hours:
        raise ThoraxError(
            f"--max-wait-hours {machine.max_wait_hours:g} is less than --max-hours {machine.max_hours:g}; it counts"
            " both waiting and running"
        )
    for key, value in request_fields(machine).items():
        request[key] = {**request.get(key, {}), **value} if isinstance(value, dict) else value
    if not machine.spot:
        request["StoppingCondition"].pop("MaxWaitTimeInSeconds", None)


def _filled(value: Any) -> Any:
    """Without what a description has empty, at every depth."""
    if isinstance(value, Mapping):
        found = {key: _filled(member) for key, member in value.items()}
        return {key: member for key, member in found.items() if member is not None and member not in ("", [], {})}
    return [_filled(member) for member in value] if isinstance(value, list) else value
