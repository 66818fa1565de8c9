"""A SageMaker Pipeline: check the images, train, evaluate, and register the bundle where it is better than before.

The definition is JSON of version 2020-12-01. Each step's arguments are those of the call that it stands for
(CreateProcessingJob, CreateTrainingJob, CreateModelPackage), with {"Get": ...} where a value comes from a parameter or
an earlier step.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch import steps as commands
from thorax_launch.invocation import command
from thorax_launch.options import StepOptions
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker import hosting, job_extras, training_jobs
from thorax_launch.sagemaker.cost import job_cost, total_cost
from thorax_launch.sagemaker.definitions import check_definition
from thorax_launch.sagemaker.machines import check_family, disk_key
from thorax_launch.sagemaker.package import Upload, job_files, packed
from thorax_launch.sagemaker.processing import BASE, START, application, network, s3_input
from thorax_launch.sagemaker.requests import check_parameters, without_empty
from thorax_launch.sagemaker.summaries import Summary, channels
from thorax_launch.sagemaker.training_jobs import Task
from thorax_launch.settings import AwsSettings

BEST = "BestAuc"
#: An AUC by chance: what a bundle must be above where none is registered.
CHANCE = 0.5
AUC = "scores.test.macro.auc.value"
#: What is tried again, by the exceptions of the pipeline service: its own faults, and machines that AWS has not.
RETRIES = [
    {
        "ExceptionType": ["Step.SERVICE_FAULT", "Step.THROTTLING"],
        "IntervalSeconds": 30,
        "BackoffRate": 2.0,
        "MaxAttempts": 5,
    },
    {
        "ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR", "SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT"],
        "IntervalSeconds": 300,
        "BackoffRate": 2.0,
        "MaxAttempts": 4,
    },
]


@dataclass(frozen=True)
class Pipeline:
    """What is sent: the definition, and the files that its steps read."""

    name: str
    group: str
    definition: dict[str, Any]
    uploads: tuple[Upload, ...]
    settings: AwsSettings
    tags: hosting.Tags
    costs: tuple[str, ...] = ()
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def request(self) -> dict[str, Any]:
        """Parameters of CreatePipeline."""
        return {
            "PipelineName": self.name,
            "PipelineDefinition": json.dumps(self.definition),
            "RoleArn": self.settings.role,
            "ClientRequestToken": self.token,  # of this try alone: AWS remembers it when the pipeline is deleted
            "Tags": self.tags,
        }

    def summary(self) -> Summary:
        """The steps and their costs, and what would be uploaded."""
        steps = ", ".join(step["Name"] for step in self.definition["Steps"])
        does = (f"pipeline {self.name}: {steps}", f"registers the bundle in {self.group} where it is better")
        train = next(step["Arguments"] for step in self.definition["Steps"] if step["Name"] == "Train")
        defaults = {one["Name"]: one["DefaultValue"] for one in self.definition["Parameters"]}
        return Summary(does, self.costs, channels(train, self.uploads, defaults), self.uploads)


def plan(recipe: Recipe, settings: AwsSettings, task: Task, group: str, steps: StepOptions | None = None) -> Pipeline:
    """The pipeline of a recipe, checked; asks nothing of AWS and sends nothing.

    Args:
        recipe: with the machine of the training step.
        steps: machines of the other steps, and caching.

    Raises:
        ThoraxError: there are no test images, or what AWS would refuse.
    """
    if "test" not in task.channels:
        raise ThoraxError("--test is missing: the pipeline evaluates on these images before it registers")
    if settings.network_isolation:
        raise ThoraxError(
            "--network-isolation: the steps that check and evaluate install packages; leave it out, or train with"
            f" `{command('train')}`"
        )
    if task.locked:
        raise ThoraxError("--locked: the steps that check and evaluate install more than the lock has; leave it out")
    if "," in recipe.instance_type:
        raise ThoraxError(f"--instance-type {recipe.instance_type}: a pipeline takes one type, a parameter of its runs")
    options = steps or StepOptions()
    _check_steps(options)
    train = training_jobs.plan(recipe, settings, task)
    request = dict(train.request.parameters)
    del request["TrainingJobName"]
    # one checkpoint address for each run: else the next run goes on from this one's end
    request["CheckpointConfig"] = {"S3Uri": _of_this_run(settings, task.name, "checkpoints")}
    files = {
        "sourcedir.tar.gz": packed(job_files(task.source_dir, job_extras.requirements(task))),
        **_scripts(request, task),
    }
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
    tools = f"{settings.root}/{task.name}/tools/{digest}/"  # by content: a run that is on its way keeps its own
    processing = _Processing(task.name, options, settings, tools, request)
    made_steps = _steps(request, processing, task, group)
    parameters = [{"Name": BEST, "Type": "Float", "DefaultValue": CHANCE}, *_parameters(request, options)]
    definition = {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": parameters,
        "PipelineExperimentConfig": {
            "ExperimentName": {"Get": "Execution.PipelineName"},
            "TrialName": {"Get": "Execution.PipelineExecutionId"},
        },
        "Steps": _parameterized(made_steps),
    }
    check_definition(definition)
    uploads = (*train.uploads, *(Upload(tools + name, content) for name, content in files.items()))
    small = dataclasses.replace(
        recipe, instance_type=options.step_instance_type, instance_count=1, max_hours=options.step_hours, spot=False
    )
    costs = (
        *train.notes,
        *(f"{step}:\n{job_cost(small, settings)}" for step in ("Prepare", "Evaluate")),
        f"Train:\n{job_cost(recipe, settings)}",
        *([line] if (line := total_cost((small, small, recipe), settings)) else []),
    )
    made = Pipeline(task.name, group, definition, uploads, settings, request["Tags"], costs)
    check_parameters("CreatePipeline", made.request())
    return made


def _check_steps(options: StepOptions) -> None:
    """Raises ThoraxError for a machine or a time that the steps cannot have."""
    kind = options.step_instance_type
    check_family(kind, "--step-instance-type")
    if "," in kind:
        raise ThoraxError(f"--step-instance-type {kind}: a step takes one type, a parameter of the pipeline's runs")
    if options.step_hours < 1 / 60:
        raise ThoraxError(
            f"--step-hours {options.step_hours:g} is less than a minute, in which no step even starts; give more"
        )


def _parameters(request: Mapping[str, Any], options: StepOptions) -> list[dict[str, Any]]:
    """The pipeline's parameters: the addresses of its data, and the machines.

    A run with other machines must stay with GPU or CPU as it is: the image is one for that.
    """
    values = {"TrainInstanceType": request["ResourceConfig"]["InstanceType"]}
    values |= {"StepInstanceType": options.step_instance_type}
    values |= {f"{name}_data": address for name, address in _addresses(request).items() if name != training_jobs.CODE}
    return [{"Name": _camel(name), "Type": "String", "DefaultValue": value} for name, value in values.items()]


def _camel(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def _parameterized(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps with references to the parameters in place of their values."""
    for step in steps:
        arguments = step["Arguments"]
        if step["Type"] == "Training":
            arguments["ResourceConfig"] = {
                **arguments["ResourceConfig"],
                "InstanceType": {"Get": "Parameters.TrainInstanceType"},
            }
            arguments["InputDataConfig"] = [_channel(channel) for channel in arguments["InputDataConfig"]]
        if step["Type"] == "Processing":
            cluster = arguments["ProcessingResources"]["ClusterConfig"]
            cluster["InstanceType"] = {"Get": "Parameters.StepInstanceType"}
            for entry in arguments["ProcessingInputs"]:
                if entry["InputName"] in (*commands.PARTS, *commands.LISTS):
                    entry["S3Input"]["S3Uri"] = {"Get": f"Parameters.{_camel(entry['InputName'] + '_data')}"}
    return steps


def _channel(channel: Mapping[str, Any]) -> dict[str, Any]:
    source = channel["DataSource"]["S3DataSource"]
    if channel["ChannelName"] == training_jobs.CODE:
        return dict(channel)
    address = {"Get": f"Parameters.{_camel(channel['ChannelName'] + '_data')}"}
    return {**channel, "DataSource": {"S3DataSource": {**source, "S3Uri": address}}}


def _steps(request: dict[str, Any], processing: _Processing, task: Task, group: str) -> list[dict[str, Any]]:
    """Prepare, Train, Evaluate, and Better with Register in it, or NotBetter, which ends the run with the reason."""
    channels = _addresses(request)
    model = {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}
    tested: dict[str, Any] = {name: channels[name] for name in ("test", "test_lst") if name in channels}
    auc = {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.Scores"}, "Path": AUC}}
    condition = {"Type": "GreaterThan", "LeftValue": auc, "RightValue": {"Get": f"Parameters.{BEST}"}}
    register = {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": _package(task.name, group, processing.settings, model, auc),
    }
    words = ["The test AUC of this bundle, ", auc, ", is not above BestAuc, ", {"Get": f"Parameters.{BEST}"}]
    message = {"Std:Join": {"On": "", "Values": [*words, ": it is not registered."]}}
    worse = {"Name": "NotBetter", "Type": "Fail", "Arguments": {"ErrorMessage": message}}
    again = {"RetryPolicies": RETRIES}
    prepare = {**again, **_cached(processing.options)}
    checked = {name: channels[name] for name in _checked(channels)}
    return [
        {
            "Name": "Prepare",
            "Type": "Processing",
            **prepare,
            "Arguments": processing.job("prepare.sh", checked, "check"),
        },
        {"Name": "Train", "Type": "Training", **again, "DependsOn": ["Prepare"], "Arguments": request},
        {
            "Name": "Evaluate",
            "Type": "Processing",
            **again,
            "Arguments": processing.job("evaluate.sh", {**tested, "bundle": model}, "scores"),
            "PropertyFiles": [{"PropertyFileName": "Scores", "OutputName": "scores", "FilePath": "scores.json"}],
        },
        {
            "Name": "Better",
            "Type": "Condition",
            "Arguments": {"Conditions": [condition], "IfSteps": [register], "ElseSteps": [worse]},
        },
    ]


def _cached(options: StepOptions) -> dict[str, Any]:
    """Skips the check where an earlier run has made it with the same arguments; a training is never skipped."""
    return {"CacheConfig": {"Enabled": True, "ExpireAfter": f"P{options.cache_days}D"}} if options.cache_days else {}


def _scripts(request: dict[str, Any], task: Task) -> dict[str, bytes]:
    """What the two processing steps run, in a folder with the content of source_dir/."""
    places = {name: f"{BASE}/{name}" for name in _checked(_addresses(request))}
    check = shlex.join(commands.check(task.hyperparameters, places))
    evaluate = shlex.join(commands.evaluate(task.hyperparameters, "model", places))
    prepare = f"{START}python -m thorax.dataset {check} --json {BASE}/out/check.json\n"
    score = (
        f"{START}mkdir model\ntar xzf {BASE}/bundle/model.tar.gz -C model\n"
        f"python -m thorax.scoring {evaluate} --json {BASE}/out/scores.json\n"
    )
    return {"prepare.sh": prepare.encode(), "evaluate.sh": score.encode()}


def _addresses(request: Mapping[str, Any]) -> dict[str, str]:
    """Channel -> s3:// address."""
    return {
        channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in request["InputDataConfig"]
    }


def _checked(channels: Mapping[str, str]) -> list[str]:
    return [name for name in (*commands.PARTS, *commands.LISTS) if name in channels]


@dataclass(frozen=True)
class _Processing:
    """What the two processing steps share: the training image, on one machine of their own, with source_dir/."""

    name: str
    options: StepOptions
    settings: AwsSettings
    tools: str
    request: Mapping[str, Any]

    def job(self, script: str, inputs: dict[str, Any], output: str) -> dict[str, Any]:
        """Arguments of CreateProcessingJob that runs one of the scripts; its inputs are below /opt/ml/processing."""
        settings, options = self.settings, self.options
        # a place of each run would be another argument each time, and no run's check would count for the next
        same = output == "check" and options.cache_days
        folder = f"{settings.root}/{self.name}/check" if same else _of_this_run(settings, self.name, output)
        kind = options.step_instance_type
        machine = {
            "InstanceType": kind,
            "InstanceCount": 1,
            "VolumeSizeInGB": options.step_volume_gb,
            "VolumeKmsKeyId": disk_key(settings, kind),
        }
        return {
            "AppSpecification": application(script, kind, settings),
            "RoleArn": settings.role,
            "ProcessingInputs": [s3_input(name, uri) for name, uri in {"tools": self.tools, **inputs}.items()],
            "ProcessingOutputConfig": without_empty(
                {
                    "Outputs": [
                        {
                            "OutputName": output,
                            "S3Output": {"S3Uri": folder, "LocalPath": f"{BASE}/out", "S3UploadMode": "EndOfJob"},
                        }
                    ],
                    "KmsKeyId": settings.kms_key,
                }
            ),
            "ProcessingResources": {"ClusterConfig": without_empty(machine)},
            "StoppingCondition": {"MaxRuntimeInSeconds": round(options.step_hours * 3600)},
            "NetworkConfig": network(settings),
            "Tags": self.request["Tags"],
        }


def _of_this_run(settings: AwsSettings, name: str, *parts: str) -> dict[str, Any]:
    """An address below the pipeline's that each of its runs has for itself."""
    return {
        "Std:Join": {"On": "/", "Values": [f"{settings.root}/{name}", {"Get": "Execution.PipelineExecutionId"}, *parts]}
    }


def _package(
    name: str, group: str, settings: AwsSettings, model: dict[str, str], auc: dict[str, Any]
) -> dict[str, Any]:
    """Arguments of RegisterModel: the bundle with its scores; the AUC is kept beside it, for the next comparison."""
    spec = hosting.HostingSpec(name, "s3://x/model.tar.gz")
    made = dict(hosting.model_package(spec, group, settings, "s3://x/scores.json", "{}").parameters)
    del made["ModelCard"]
    made["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"] = _of_this_run(settings, name, "scores", "scores.json")
    made["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] = model
    return {**made, "CustomerMetadataProperties": {"auc": {"Std:Join": {"On": "", "Values": [auc]}}}}
