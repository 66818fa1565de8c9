"""SageMaker, its runtime, Application Auto Scaling and CloudWatch's alarms as a table of things with states.

moto makes every job complete at once, takes a name twice, and has no Stop, no UpdateEndpoint and no warm pools; this
has them. What it answers follows the API reference (docs.aws.amazon.com/sagemaker/latest/APIReference: "Errors" of each
Create names ResourceInUse for a taken job name; Describe and Stop answer ResourceNotFound or a ValidationException),
and moto's words where moto has the call. botocore holds every request against AWS's model before it comes here.
"""

# ruff: noqa: N802  the methods have the names of AWS's calls

from __future__ import annotations

import io
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

WHERE = "eu-central-1:123456789012"
JOBS = ("TrainingJob", "HyperParameterTuningJob", "TransformJob", "ProcessingJob")
RUNNING = ("InProgress", "Stopping", "Executing", "Creating", "Updating", "InService")
_ARN = {"HyperParameterTuningJob": "hyper-parameter-tuning-job", "EndpointConfig": "endpoint-config"}


@dataclass
class StandIn:
    """The account's things.

    Attributes:
        things: (resource, name) -> what was sent, with its state.
        looks: how often a running job is described before it ends; None: it never ends.
        ends: the state of a job that has ended.
        answer, verbose: what endpoints answer.
        not_ready: how many questions to an endpoint find a bundle that is still being loaded.
        metrics: (variant, CloudWatch's metric) -> values, one a day.
        failing: variants whose model fails.
    """

    things: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    looks: int | None = None
    ends: str = "Completed"
    answer: bytes = b"[0.25]"
    verbose: bytes = (
        b'{"labels": ["A"], "probabilities": [0.25], "predicted": [], "thresholds": [0.5], "decisions": [0]}'
    )
    not_ready: int = 0
    metrics: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    _asked: threading.local = field(default_factory=threading.local)

    def clear(self) -> None:
        self.things.clear()
        self.failing.clear()

    def billed(self) -> set[str]:
        """Names of all that costs now."""
        costs = (*JOBS, "PipelineExecution", "Endpoint", "Alarm")
        found = {
            name
            for (kind, name), one in self.things.items()
            if kind in costs and one.get("state", "InService") in RUNNING
        }
        return found | {
            name for (_, name), one in self.things.items() if one.get("WarmPoolStatus", {}).get("Status") == "Available"
        }

    # -- botocore's hooks --

    def remember(self, params: dict[str, Any], **_: Any) -> None:
        """provide-client-params"""
        self._asked.parameters = params

    def respond(self, model: Any, **_: Any) -> Any:
        """before-call: the answer, or None where moto has it."""
        service = model.service_model.service_name
        if service not in ("sagemaker", "sagemaker-runtime", "application-autoscaling", "cloudwatch"):
            return None
        try:
            found = self.call(model.name, dict(self._asked.parameters))
        except ClientError as error:
            return _Http(400), error.response
        return _Http(200), found

    def call(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """What AWS answers."""
        if found := getattr(self, f"_{operation}", None):
            answer: dict[str, Any] = found(asked)
            return answer
        for verb in ("Create", "Describe", "Delete", "Stop", "List"):
            if operation.startswith(verb):
                answer = getattr(self, f"_{verb.lower()}")(operation.removeprefix(verb), asked)
                return answer
        raise AssertionError(f"the stand-in has no {operation}")

    # -- the table --

    def _create(self, resource: str, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked[f"{resource}Name"]
        if (resource, name) in self.things:
            code = "ResourceInUse" if resource in JOBS else "ValidationException"
            raise failed(code, f"{resource} already exists: {name}")
        arn = f"arn:aws:sagemaker:{WHERE}:{_ARN.get(resource, _dashed(resource))}/{name}"
        state = {"Endpoint": "InService"}.get(resource, "InProgress")
        now = datetime.now(UTC)
        self.things[resource, name] = {
            **asked,
            "state": state,
            f"{resource}Arn": arn,
            "CreationTime": now,
            "looks": 0,
            "LastModifiedTime": now,
        }
        return {f"{resource}Arn": arn}

    def thing(self, resource: str, name: str) -> dict[str, Any]:
        if (resource, name) not in self.things:
            raise failed("ValidationException", f"Could not find {_dashed(resource)} '{name}'.")
        return self.things[resource, name]

    def _describe(self, resource: str, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.thing(resource, asked[f"{resource}Name"])
        if resource in JOBS:
            one["looks"] += 1
            if one["state"] == "Stopping":
                one["state"] = "Stopped"
            elif one["state"] == "InProgress" and self.looks is not None and one["looks"] > self.looks:
                one["state"] = self.ends
        found = {**one, f"{resource}Status": one["state"]}
        if resource == "TrainingJob":
            found |= {"SecondaryStatus": "Training" if one["state"] == "InProgress" else one["state"]}
            found |= {"TrainingStartTime": one["CreationTime"]}
            place = one["OutputDataConfig"]["S3OutputPath"]
            if one["state"] in ("Completed", "Stopped"):
                found["ModelArtifacts"] = {"S3ModelArtifacts": f"{place}/{one['TrainingJobName']}/output/model.tar.gz"}
        if resource == "Endpoint":
            config = self.things.get(("EndpointConfig", one["EndpointConfigName"]), {})
            found["ProductionVariants"] = [
                self._variant(one, variant) for variant in config.get("ProductionVariants", [{"VariantName": "main"}])
            ]
            if config.get("ShadowProductionVariants"):
                found["ShadowProductionVariants"] = [{"VariantName": "shadow", "CurrentInstanceCount": 1}]
        return found

    def _variant(self, endpoint: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
        """As DescribeEndpoint has it."""
        name, found = described["VariantName"], {"CurrentInstanceCount": 1}
        weight = endpoint.get("weights", {}).get(name, described.get("InitialVariantWeight", 1.0))
        return {"VariantName": name, **found, "CurrentWeight": weight, "DesiredWeight": weight}

    def _delete(self, resource: str, asked: dict[str, Any]) -> dict[str, Any]:
        self.thing(resource, asked[f"{resource}Name"])
        del self.things[resource, asked[f"{resource}Name"]]
        return {}

    def _stop(self, resource: str, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.thing(resource, asked[f"{resource}Name"])
        if one["state"] != "InProgress":
            raise failed(
                "ValidationException", f"The request was rejected because the job is in status {one['state']}."
            )
        one["state"] = "Stopping"
        if resource == "HyperParameterTuningJob":
            for (kind, name), child in self.things.items():
                if (
                    kind == "TrainingJob"
                    and name.startswith(f"{asked[f'{resource}Name']}-")
                    and child["state"] == "InProgress"
                ):
                    child["state"] = "Stopping"
        return {}

    def _list(self, plural: str, asked: dict[str, Any]) -> dict[str, Any]:
        resource = plural.removesuffix("s")
        found = []
        for (kind, _), one in self.things.items():
            if kind != resource or asked.get("StatusEquals", one["state"]) != one["state"]:
                continue
            if asked.get("WarmPoolStatusEquals") not in (None, one.get("WarmPoolStatus", {}).get("Status")):
                continue
            found.append({**one, f"{resource}Status": one["state"]})
        key = plural if resource in ("Model", "Endpoint", "EndpointConfig") else f"{resource}Summaries"
        return {key: found}

    # -- what fits no pattern --

    def _ListTags(self, asked: dict[str, Any]) -> dict[str, Any]:
        for one in self.things.values():
            if asked["ResourceArn"] in one.values():
                return {"Tags": one.get("Tags", [])}
        raise failed("ValidationException", f"Could not find {asked['ResourceArn']}")

    def _ListTrainingJobsForHyperParameterTuningJob(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["HyperParameterTuningJobName"]
        self.thing("HyperParameterTuningJob", name)
        value = {"MetricName": "validation:auc", "Value": 0.9}
        jobs = [
            {
                "TrainingJobName": job,
                "TrainingJobStatus": one["state"],
                "CreationTime": one["CreationTime"],
                "TunedHyperParameters": {"learning_rate": "0.001"},
                "FinalHyperParameterTuningJobObjectiveMetric": value,
            }
            for (kind, job), one in self.things.items()
            if kind == "TrainingJob" and job.startswith(f"{name}-")
        ]
        return {"TrainingJobSummaries": jobs}

    def _UpdateTrainingJob(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.thing("TrainingJob", asked["TrainingJobName"])
        one["WarmPoolStatus"] = {"Status": "Terminated"}
        return {"TrainingJobArn": one["TrainingJobArn"]}

    def _UpdateEndpoint(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.thing("Endpoint", asked["EndpointName"])
        self.thing("EndpointConfig", asked["EndpointConfigName"])
        one["EndpointConfigName"] = asked["EndpointConfigName"]
        if not asked.get("RetainAllVariantProperties"):
            one.pop("weights", None)
        return {"EndpointArn": one["EndpointArn"]}

    def _UpdateEndpointWeightsAndCapacities(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.thing("Endpoint", asked["EndpointName"])
        config = self.thing("EndpointConfig", one["EndpointConfigName"])
        known = [variant["VariantName"] for variant in config["ProductionVariants"]]
        for wanted in asked["DesiredWeightsAndCapacities"]:
            if wanted["VariantName"] not in known:
                raise failed("ValidationException", f"Could not find variant {wanted['VariantName']}")
            if "DesiredWeight" in wanted:
                one.setdefault("weights", {})[wanted["VariantName"]] = wanted["DesiredWeight"]
        return {"EndpointArn": one["EndpointArn"]}

    def _InvokeEndpoint(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.thing("Endpoint", asked["EndpointName"])
        if self.not_ready:
            self.not_ready -= 1
            raise failed("ModelNotReadyException", "the model is being loaded", 429)
        if asked.get("TargetVariant") in self.failing:
            error = failed("ModelError", "the model failed", 424)
            error.response |= {"OriginalStatusCode": 500, "OriginalMessage": '{"error": "out of order"}'}  # type: ignore[typeddict-unknown-key]
            raise error
        answer = self.verbose if "verbose" in asked.get("Accept", "") else self.answer
        return {"Body": io.BytesIO(answer), "ContentType": "application/json"}

    def _InvokeEndpointAsync(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.thing("Endpoint", asked["EndpointName"])
        return {"OutputLocation": asked["InputLocation"].rpartition("/")[0] + "/answer.out"}

    def _ListModelPackages(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.thing("ModelPackageGroup", asked["ModelPackageGroupName"])
        return {"ModelPackageSummaryList": []}

    def _CreateModelPackage(self, asked: dict[str, Any]) -> dict[str, Any]:
        arn = f"arn:aws:sagemaker:{WHERE}:model-package/{asked['ModelPackageGroupName']}/1"
        return {"ModelPackageArn": arn}

    def _UpdatePipeline(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"PipelineArn": self.thing("Pipeline", asked["PipelineName"])["PipelineArn"]}

    def _StartPipelineExecution(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["PipelineName"]
        pipeline = self.thing("Pipeline", name)
        token = asked.get("ClientRequestToken", "")
        for (kind, arn), one in self.things.items():
            if kind == "PipelineExecution" and one["token"] == token:
                return {"PipelineExecutionArn": arn}
        arn = f"{pipeline['PipelineArn']}/execution/{sum(kind == 'PipelineExecution' for kind, _ in self.things)}"
        self.things["PipelineExecution", arn] = {
            "state": "Executing",
            "pipeline": name,
            "PipelineExecutionArn": arn,
            "StartTime": datetime.now(UTC),
            "token": token,
        }
        return {"PipelineExecutionArn": arn}

    def _ListPipelineExecutions(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.thing("Pipeline", asked["PipelineName"])
        found = [
            {**one, "PipelineExecutionStatus": one["state"]}
            for (kind, _), one in self.things.items()
            if kind == "PipelineExecution" and one["pipeline"] == asked["PipelineName"]
        ]
        return {"PipelineExecutionSummaries": found[::-1]}

    def _DescribePipelineExecution(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.thing("PipelineExecution", asked["PipelineExecutionArn"])
        return {**one, "PipelineExecutionStatus": one["state"]}

    def _ListPipelineExecutionSteps(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.thing("PipelineExecution", asked["PipelineExecutionArn"])
        return {"PipelineExecutionSteps": []}

    def _StopPipelineExecution(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.thing("PipelineExecution", asked["PipelineExecutionArn"])["state"] = "Stopping"
        return {"PipelineExecutionArn": asked["PipelineExecutionArn"]}

    # -- autoscaling and alarms --

    def _RegisterScalableTarget(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.things["Target", asked["ResourceId"]] = asked
        return {}

    def _DeregisterScalableTarget(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self.things.pop(("Target", asked["ResourceId"]), None) is None:
            raise failed("ObjectNotFoundException", "No scalable target found")
        return {}

    def _DescribeScalableTargets(self, asked: dict[str, Any]) -> dict[str, Any]:
        wanted = asked.get("ResourceIds")
        found = [
            one for (kind, name), one in self.things.items() if kind == "Target" and (not wanted or name in wanted)
        ]
        return {"ScalableTargets": found}

    def _PutScalingPolicy(self, asked: dict[str, Any]) -> dict[str, Any]:
        if ("Target", asked["ResourceId"]) not in self.things:
            raise failed("ObjectNotFoundException", "No scalable target found")
        return {"PolicyARN": "arn:aws:autoscaling:policy"}

    def _DescribeScalingPolicies(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"ScalingPolicies": []}

    def _DeleteScalingPolicy(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _PutMetricAlarm(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.things["Alarm", asked["AlarmName"]] = asked
        return {}

    def _DescribeAlarms(self, asked: dict[str, Any]) -> dict[str, Any]:
        wanted = asked.get("AlarmNames")
        found = [one for (kind, name), one in self.things.items() if kind == "Alarm" and (not wanted or name in wanted)]
        return {"MetricAlarms": found}

    def _GetMetricStatistics(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A day's point of each metric that `metrics` names by (variant, metric)."""
        (variant,) = (one["Value"] for one in asked["Dimensions"] if one["Name"] == "VariantName")
        values = self.metrics.get((variant, asked["MetricName"]), [])
        return {"Datapoints": [dict.fromkeys(asked["Statistics"], value) for value in values]}

    def _DeleteAlarms(self, asked: dict[str, Any]) -> dict[str, Any]:
        for name in asked["AlarmNames"]:
            self.things.pop(("Alarm", name), None)
        return {}


def failed(code: str, message: str, status: int = 400) -> ClientError:
    """AWS's own error."""
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "")


@dataclass
class _Http:
    status_code: int


def _dashed(resource: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in resource).strip("-")
