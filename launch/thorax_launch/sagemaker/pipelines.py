"""A SageMaker Pipeline: check the images, train, evaluate on the test images, register where that is better than
before.

The definition is JSON of version 2020-12-01. Each step's arguments are those of the call that it stands for
(CreateProcessingJob,
CreateTrainingJob, CreateModelPackage), with {"Get": ...} where a value comes from a parameter or an earlier step.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import dataclass, replace
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch import steps as commands
from thorax_launch.paths import LAUNCH, source_dir
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker import disks, endpoints, submission, training_jobs
from thorax_launch.sagemaker.account import client, one_line_errors, open_session
from thorax_launch.sagemaker.endpoints import Host
from thorax_launch.sagemaker.package import Upload, packed, source_files
from thorax_launch.sagemaker.requests import _model, _wrong
from thorax_launch.sagemaker.training_jobs import Task
from thorax_launch.settings import AwsSettings

BASE = "/opt/ml/processing"
BEST = "BestAuc"
AUC = "scores.test.macro.auc.value"
_OPERATIONS = {
    "Processing": "CreateProcessingJob",
    "Training": "CreateTrainingJob",
    "RegisterModel": "CreateModelPackage",
}
#: Names that the pipeline service gives itself.
_GIVEN = {"ProcessingJobName": "x", "TrainingJobName": "x"}


@dataclass(frozen=True)
class Pipeline:
    """What is sent: the definition, and the files that its steps read."""

    name: str
    group: str
    definition: dict[str, Any]
    uploads: tuple[Upload, ...]
    settings: AwsSettings
    tags: tuple[dict[str, str], ...]

    def request(self) -> dict[str, Any]:
        """Parameters of CreatePipeline."""
        return {
            "PipelineName": self.name,
            "PipelineDefinition": json.dumps(self.definition),
            "RoleArn": self.settings.role,
            "ClientRequestToken": re.sub("[^a-zA-Z0-9]", "", self.name).ljust(32, "0")[:64],
            "Tags": list(self.tags),
        }


def plan(recipe: Recipe, settings: AwsSettings, task: Task, group: str) -> Pipeline:
    """The pipeline of a recipe, checked; asks nothing of AWS and sends nothing.

    Raises:
        ThoraxError: there are no test images, or what AWS would refuse.
    """
    if "test" not in task.channels:
        raise ThoraxError("--test is missing: the pipeline evaluates on these images before it registers")
    if settings.network_isolation:
        raise ThoraxError(
            "--network-isolation: the steps that check and evaluate install packages; leave it out, or train with"
            " launch/train.py"
        )
    train = training_jobs.plan(recipe, settings, task)
    request = train.request.as_dict()
    del request["TrainingJobName"]
    request["CheckpointConfig"] = {
        "S3Uri": _of_this_run(settings, task.name, "checkpoints")
    }  # else the next run would go on from this one's end
    channels = {one["ChannelName"]: one["DataSource"]["S3DataSource"]["S3Uri"] for one in request["InputDataConfig"]}
    folder = f"{settings.root}/{task.name}/tools/"
    image = request["AlgorithmSpecification"]["TrainingImage"]
    processing = _Processing(task.name, image, recipe, settings, folder, request["Tags"])
    checked = {name: f"{BASE}/{name}" for name in (*commands.PARTS, *commands.LISTS) if name in channels}
    tested = {name: channels[name] for name in ("test", "test_lst") if name in channels}
    check = (
        f"python launch/prepare.py {shlex.join(commands.check(task.hyperparameters, checked))} --json"
        f" {BASE}/out/check.json"
    )
    score = (
        f"python launch/evaluate.py {shlex.join(commands.evaluate(task.hyperparameters, 'model', checked))} --json"
        f" {BASE}/out/scores.json"
    )
    evaluate = f"mkdir model\ntar xzf {BASE}/bundle/model.tar.gz -C model\n{score}"
    tools = {"tools.tar.gz": packed(_tools()), "prepare.sh": script(check), "evaluate.sh": script(evaluate)}
    model = {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}
    steps: list[dict[str, Any]] = [
        {
            "Name": "Prepare",
            "Type": "Processing",
            "Arguments": processing.job("prepare.sh", {name: channels[name] for name in checked}, "check"),
        },
        {"Name": "Train", "Type": "Training", "DependsOn": ["Prepare"], "Arguments": request},
        {
            "Name": "Evaluate",
            "Type": "Processing",
            "Arguments": processing.job("evaluate.sh", {**tested, "bundle": model}, "scores"),
            "PropertyFiles": [{"PropertyFileName": "Scores", "OutputName": "scores", "FilePath": "scores.json"}],
        },
    ]
    auc = {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.Scores"}, "Path": AUC}}
    condition = {"Type": "GreaterThan", "LeftValue": auc, "RightValue": {"Get": f"Parameters.{BEST}"}}
    register = {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": _package(task.name, group, settings, model, auc),
    }
    steps.append(
        {
            "Name": "Better",
            "Type": "Condition",
            "Arguments": {"Conditions": [condition], "IfSteps": [register], "ElseSteps": []},
        }
    )
    definition = {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": [{"Name": BEST, "Type": "Float", "DefaultValue": 0.5}],
        "PipelineExperimentConfig": {
            "ExperimentName": {"Get": "Execution.PipelineName"},
            "TrialName": {"Get": "Execution.PipelineExecutionId"},
        },
        "Steps": steps,
    }
    made = Pipeline(
        task.name,
        group,
        definition,
        (*train.uploads, *(Upload(folder + name, content) for name, content in tools.items())),
        settings,
        tuple(request["Tags"]),
    )
    check_definition(definition)
    _first(_model().operation_model("CreatePipeline").input_shape, made.request(), "")
    return made


@dataclass(frozen=True)
class _Processing:
    """What the two processing steps share.

    The training image on a CPU or GPU machine of the recipe, with launch/ and source_dir/.
    """

    name: str
    image: str
    recipe: Recipe
    settings: AwsSettings
    tools: str
    tags: list[dict[str, str]]

    def job(self, command: str, inputs: dict[str, Any], output: str) -> dict[str, Any]:
        """Arguments of CreateProcessingJob: `command`, a script among the tools.

        Images are below /opt/ml/processing.
        """
        where = {"tools": self.tools, **inputs}
        key = {"KmsKeyId": self.settings.kms_key} if self.settings.kms_key else {}
        disk = disks.key(self.settings, self.recipe.instance_type)
        network: dict[str, Any] = {
            "EnableInterContainerTrafficEncryption": self.settings.encrypt_traffic,
            "EnableNetworkIsolation": False,
        }
        if self.settings.subnets:
            network["VpcConfig"] = {
                "Subnets": list(self.settings.subnets),
                "SecurityGroupIds": list(self.settings.security_groups),
            }
        return {
            "AppSpecification": {
                "ImageUri": self.image,
                "ContainerEntrypoint": ["/bin/bash", f"{BASE}/tools/{command}"],
            },
            "RoleArn": self.settings.role,
            "ProcessingInputs": [
                {
                    "InputName": name,
                    "S3Input": {
                        "S3Uri": uri,
                        "LocalPath": f"{BASE}/{name}",
                        "S3DataType": "S3Prefix",
                        "S3InputMode": "File",
                    },
                }
                for name, uri in where.items()
            ],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": output,
                        "S3Output": {
                            "S3Uri": _of_this_run(self.settings, self.name, output),
                            "LocalPath": f"{BASE}/out",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ],
                **key,
            },
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceType": self.recipe.instance_type,
                    "InstanceCount": 1,
                    "VolumeSizeInGB": self.recipe.volume_gb,
                    **({"VolumeKmsKeyId": disk} if disk else {}),
                }
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": min(round(self.recipe.max_hours * 3600), 7 * 24 * 3600)},
            "NetworkConfig": network,
            "Tags": self.tags,
        }


def _of_this_run(settings: AwsSettings, name: str, *parts: str) -> dict[str, Any]:
    """An address below the pipeline's that each of its runs has for itself."""
    return {
        "Std:Join": {"On": "/", "Values": [f"{settings.root}/{name}", {"Get": "Execution.PipelineExecutionId"}, *parts]}
    }


def script(command: str) -> bytes:
    """What a processing step runs: `command` in a folder with launch/ and source_dir/."""
    start = (
        f"set -euo pipefail\ncd $(mktemp -d)\ntar xzf {BASE}/tools/tools.tar.gz\npip install -q -r"
        " source_dir/requirements.txt 'rich>=13,<16'"
    )
    return f"{start}\n{command}\n".encode()


def _package(
    name: str, group: str, settings: AwsSettings, model: dict[str, str], auc: dict[str, Any]
) -> dict[str, Any]:
    """Arguments of RegisterModel: the bundle with its scores; the AUC is kept beside it, for the next comparison."""
    made = dict(
        endpoints.model_package(
            Host(name, "s3://x/model.tar.gz"), group, settings, "s3://x/scores.json", "{}"
        ).arguments
    )
    del made["ModelCard"]
    made["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"] = _of_this_run(settings, name, "scores", "scores.json")
    made["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] = model
    return {**made, "CustomerMetadataProperties": {"auc": {"Std:Join": {"On": "", "Values": [auc]}}}}


def check_definition(definition: dict[str, Any]) -> None:
    """Holds every step's arguments against AWS's model of the call that it stands for, and every reference against what
    comes before it.

    Raises:
        ThoraxError: the first that is wrong.
    """
    known = {f"Parameters.{one['Name']}" for one in definition["Parameters"]}
    _check_steps(definition["Steps"], known, [])


def _check_steps(steps: list[dict[str, Any]], known: set[str], before: list[str]) -> None:
    for step in steps:
        name, arguments = step["Name"], step["Arguments"]
        if name in before or not re.fullmatch(r"[A-Za-z0-9\-_]{1,64}", name):
            raise ThoraxError(
                f"pipeline step {name}: the name is there twice or has a character that AWS does not take"
            )
        inside = {key: value for key, value in arguments.items() if key not in ("IfSteps", "ElseSteps")}
        for place in [*_references(inside), *(f"Steps.{other}." for other in step.get("DependsOn", []))]:
            if (
                place not in known
                and not place.startswith("Execution.")
                and not any(place.startswith(f"Steps.{other}.") for other in before)
            ):
                raise ThoraxError(f"pipeline step {name}: {place} names no parameter or earlier step")
        before.append(name)
        if step["Type"] == "Condition":
            _check_steps([*arguments["IfSteps"], *arguments["ElseSteps"]], known, before)
        else:
            shape = _model().operation_model(_OPERATIONS[step["Type"]]).input_shape
            named = {key: value for key, value in _GIVEN.items() if key in shape.members}
            _first(shape, {**_filled(arguments), **named}, f"pipeline step {name}: ")


def _first(shape: Any, parameters: dict[str, Any], where: str) -> None:
    if wrong := next(iter(_wrong(shape, parameters, "")), None):
        raise ThoraxError(f"{where}{wrong}")


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        return (
            [value["Get"]] if set(value) == {"Get"} else [found for one in value.values() for found in _references(one)]
        )
    return [found for one in value for found in _references(one)] if isinstance(value, list) else []


def _filled(value: Any) -> Any:
    """With a text such as the run would put there in place of every reference."""
    if isinstance(value, dict):
        return (
            "s3://x/y"
            if set(value) in ({"Get"}, {"Std:JsonGet"}, {"Std:Join"})
            else {key: _filled(one) for key, one in value.items()}
        )
    return [_filled(one) for one in value] if isinstance(value, list) else value


def _tools() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for folder in (LAUNCH, source_dir()):
        found |= {
            f"{folder.name}/{name}": content
            for name, content in source_files(folder).items()
            if not name.startswith("web/build/")
        }
    return found


def submit_pipeline(pipeline: Pipeline, *, start: bool, yes: bool) -> bool:
    """Asks, uploads, makes the pipeline or replaces its definition, and starts it. False where the person said no.

    Raises:
        ThoraxError: AWS refuses.
    """
    from botocore.exceptions import ClientError

    print(summary(pipeline), file=sys.stderr)
    if not yes and not submission.confirmed("make and start it?" if start else "make it?"):
        return False
    session = open_session(pipeline.settings)
    submission.put(pipeline.uploads, session, pipeline.settings)
    sagemaker, request = client(session, "sagemaker"), pipeline.request()
    with one_line_errors(pipeline.settings):
        try:
            sagemaker.create_pipeline(**request)
        except ClientError as error:
            if "already exists" not in str(error):
                raise
            sagemaker.update_pipeline(
                **{key: request[key] for key in ("PipelineName", "PipelineDefinition", "RoleArn")}
            )
        print(f"Pipeline {pipeline.name} is there; it costs nothing until it is started", flush=True)
        if start:
            best = best_so_far(sagemaker, pipeline.group)
            made = sagemaker.start_pipeline_execution(
                PipelineName=pipeline.name, PipelineParameters=[{"Name": BEST, "Value": f"{best:.6f}"}]
            )
            print(f"started: {made['PipelineExecutionArn']}; registers where the test AUC is above {best:.6f}")
    return True


def best_so_far(sagemaker: Any, group: str) -> float:
    """The highest AUC that a pipeline has registered in the group and nobody has rejected; 0.5 where there is none."""
    from botocore.exceptions import ClientError

    best = 0.5
    try:
        for page in sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group):
            for one in page["ModelPackageSummaryList"]:
                found = sagemaker.describe_model_package(ModelPackageName=one["ModelPackageArn"])
                if found.get("ModelApprovalStatus") != "Rejected":
                    best = max(best, float(found.get("CustomerMetadataProperties", {}).get("auc", 0.5)))
        return best
    except ClientError as error:
        if "does not exist" in str(error) or "Could not find" in str(error):
            sagemaker.create_model_package_group(ModelPackageGroupName=group)
            return best
        raise


def summary(pipeline: Pipeline) -> str:
    """What would be uploaded, and the steps."""
    steps = ", ".join(step["Name"] for step in pipeline.definition["Steps"])
    return "\n".join(
        [f"pipeline: {pipeline.name}: {steps} -> Register into {pipeline.group}", *submission.files(pipeline.uploads)]
    )


def named(task: Task, name: str) -> Task:
    """The task under the pipeline's own, lasting name."""
    return replace(task, name=name)
