"""What IAM would say: a small evaluator of policies, and which rights, on what, each recorded call asks for.

By AWS's documents: the evaluation logic (IAM User Guide), and the Service Authorization Reference for actions,
resources and condition keys. Wildcards * and ? in actions and resources; the operators below in conditions; an operator
that is not known is an error, never a match.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Context = Mapping[str, Any]


def matches(pattern: str, text: str) -> bool:
    """IAM's wildcards: * any characters, ? one."""
    return _compiled(pattern).fullmatch(text) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(letter, re.escape(letter)) for letter in pattern), re.S)


_OPERATORS = {
    "StringEquals": lambda wanted, found: wanted == found,
    "StringLike": matches,
    "ArnLike": matches,
    "ArnEquals": matches,
    "Bool": lambda wanted, found: wanted.lower() == str(found).lower(),
}


def allowed(policy: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    """Whether a policy alone allows a call: some statement allows it and none denies it."""
    fitting = [
        statement["Effect"]
        for statement in policy["Statement"]
        if _any(statement.get("Action", "*"), action.lower(), lower=True)
        and _any(statement.get("Resource", "*"), resource)
        and _conditions(statement.get("Condition", {}), context)
    ]
    return "Allow" in fitting and "Deny" not in fitting


def _any(patterns: str | Sequence[str], text: str, lower: bool = False) -> bool:
    found = [patterns] if isinstance(patterns, str) else patterns
    return any(matches(pattern.lower() if lower else pattern, text) for pattern in found)


def _conditions(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    return all(
        _condition(operator, wanted, context.get(key))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _condition(operator: str, wanted: Any, found: Any) -> bool:
    several = operator.startswith("ForAnyValue:")
    name = operator.removeprefix("ForAnyValue:")
    if name.endswith("IfExists"):
        name = name.removesuffix("IfExists")
        if found is None:
            return True
    compare = _OPERATORS[name]
    values = [] if found is None else found if several else [found]
    return any(compare(one, value) for one in ([wanted] if isinstance(wanted, str) else wanted) for value in values)


#: S3's calls whose right has another name.
_S3 = {
    "ListObjectsV2": "ListBucket",
    "HeadObject": "GetObject",
    "HeadBucket": "ListBucket",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CopyObject": "PutObject",
    "CompleteMultipartUpload": "PutObject",
}
#: Calls of SageMaker -> kind of resource and the parameters that name it, for what the operation's name does not say.
_KINDS = {
    "TrainingJob": "training-job",
    "HyperParameterTuningJob": "hyper-parameter-tuning-job",
    "ProcessingJob": "processing-job",
    "TransformJob": "transform-job",
    "ModelPackageGroup": "model-package-group",
    "ModelPackage": "model-package",
    "EndpointConfig": "endpoint-config",
    "EndpointWeightsAndCapacities": "endpoint",
    "Endpoint": "endpoint",
    "Model": "model",
    "PipelineExecution": "pipeline",
    "PipelineExecutions": "pipeline",
    "PipelineExecutionSteps": "pipeline",
    "Pipeline": "pipeline",
}
_VERB = re.compile("^(Create|Describe|Delete|Update|Stop|Start|ListTrainingJobsFor|List(?=PipelineExecution))")
#: Parameters that name what a call is about, where it has no name of its own.
_NAMED_BY = ("ModelPackageArn", "ModelPackageGroupName", "EndpointName", "PipelineName", "PipelineExecutionArn")
#: Calls that IAM knows no resource for.
_WITHOUT = re.compile(
    r"List(TrainingJobs|HyperParameterTuningJobs|TransformJobs|ProcessingJobs|Models|Endpoints|EndpointConfigs"
    r"|Pipelines|ModelPackages|ModelPackageGroups)|Search"
)


def target_arn(region: str, account: str, scaled: str) -> str:
    """Of a scalable target; AWS has a number of its own where here is what it scales."""
    return f"arn:aws:application-autoscaling:{region}:{account}:scalable-target/{scaled.replace('/', '-')}"


@dataclass
class Account:
    """Turns calls into questions to IAM; remembers the tags with which things were made.

    Attributes:
        key_aliases: alias -> ARN of its KMS key.
        tags: ARN -> tags.
    """

    region: str
    account: str
    key_aliases: Mapping[str, str] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)

    def questions(
        self, service: str, operation: str, parameters: Mapping[str, Any]
    ) -> Iterator[tuple[str, str, Context]]:
        """(action, resource, context) of every right that a call needs."""
        for key in ("RoleArn", "ExecutionRoleArn"):
            if service == "sagemaker" and key in parameters:
                yield "iam:PassRole", parameters[key], {"iam:PassedToService": "sagemaker.amazonaws.com"}
        if key := parameters.get("SSEKMSKeyId"):
            yield "kms:GenerateDataKey", *self._key(key)
        find = {
            "s3": self._s3,
            "sagemaker": self._sagemaker,
            "sagemaker-runtime": self._runtime,
            "iam": lambda _, found: [("iam:GetRole", f"arn:aws:iam::{self.account}:role/{found.get('RoleName')}", {})],
            "logs": self._logs,
            "cloudwatch": self._cloudwatch,
            "application-autoscaling": self._scaling,
        }.get(service)
        yield from find(operation, parameters) if find else [(f"{service}:{operation}", "*", {})]

    def _key(self, key: str) -> tuple[str, Context]:
        here = f"arn:aws:kms:{self.region}:{self.account}"
        if "alias/" in key:
            alias = key[key.index("alias/") :]
            return self.key_aliases.get(alias, f"{here}:key/of-{alias[6:]}"), {"kms:ResourceAliases": [alias]}
        return (key if key.startswith("arn:") else f"{here}:key/{key}"), {}

    def _s3(self, operation: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, str, Context]]:
        if source := parameters.get("CopySource"):
            yield "s3:GetObject", f"arn:aws:s3:::{source['Bucket']}/{source['Key']}", {}
        action, bucket = f"s3:{_S3.get(operation, operation)}", f"arn:aws:s3:::{parameters['Bucket']}"
        if "Key" in parameters:
            yield action, f"{bucket}/{parameters['Key']}", {}
        else:
            yield action, bucket, {"s3:prefix": parameters["Prefix"]} if "Prefix" in parameters else {}

    def _sagemaker(self, operation: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, str, Context]]:
        action = f"sagemaker:{operation}"
        if _WITHOUT.fullmatch(operation):
            yield action, "*", {}
            return
        if arn := parameters.get("ResourceArn"):
            yield action, arn, self._tags_of(arn)
            return
        thing = _VERB.sub("", operation)
        kind = _KINDS[thing]
        arn = self._arn(kind, self._name(kind, thing, parameters))
        if operation.startswith("Create") or operation == "UpdateTags":
            self.tags[arn] = {tag["Key"]: tag["Value"] for tag in parameters.get("Tags", [])}
            if self.tags[arn]:
                yield "sagemaker:AddTags", arn, {"sagemaker:TaggingAction": operation}
        yield action, arn, self._tags_of(arn)
        if operation in ("CreateEndpoint", "UpdateEndpoint"):
            config = self._arn("endpoint-config", parameters["EndpointConfigName"])
            yield action, config, self._tags_of(config)

    def _name(self, kind: str, thing: str, parameters: Mapping[str, Any]) -> str:
        for key in (f"{thing}Name", f"{thing}Arn", *_NAMED_BY):
            if key in parameters:
                return str(parameters[key]).rpartition(f":{kind}/")[2]
        raise AssertionError(f"{thing}: which one? {parameters}")

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:sagemaker:{self.region}:{self.account}:{kind}/{name}"

    def _tags_of(self, arn: str) -> Context:
        return {f"aws:ResourceTag/{key}": value for key, value in self.tags.get(arn, {}).items()}

    def _runtime(self, operation: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, str, Context]]:
        arn = self._arn("endpoint", parameters["EndpointName"])
        yield f"sagemaker:{operation}", arn, self._tags_of(arn)

    def _logs(self, operation: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, str, Context]]:
        group = f"arn:aws:logs:{self.region}:{self.account}:log-group:{parameters['logGroupName']}"
        stream = f":log-stream:{parameters['logStreamName']}" if "logStreamName" in parameters else ""
        yield f"logs:{operation}", f"{group}{stream}", {}

    def _scaling(self, operation: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, str, Context]]:
        action = f"application-autoscaling:{operation}"
        if operation.startswith("Describe"):
            yield action, "*", {}
            return
        arn = target_arn(self.region, self.account, parameters["ResourceId"])
        context = {
            "application-autoscaling:service-namespace": parameters["ServiceNamespace"],
            "application-autoscaling:scalable-dimension": parameters["ScalableDimension"],
        }
        wanted = {f"aws:RequestTag/{key}": value for key, value in parameters.get("Tags", {}).items()}
        if wanted:
            yield "application-autoscaling:TagResource", arn, wanted
        yield action, arn, {**context, **wanted, **self._tags_of(arn)}
        if operation == "RegisterScalableTarget":
            self.tags.setdefault(arn, dict(parameters.get("Tags", {})))
            endpoint = self._arn("endpoint", parameters["ResourceId"].split("/")[1])
            for call in ("DescribeEndpoint", "DescribeEndpointConfig", "UpdateEndpointWeightsAndCapacities"):
                on = endpoint if "Config" not in call else endpoint.replace(":endpoint/", ":endpoint-config/")
                yield f"sagemaker:{call}", on, self._tags_of(endpoint)

    def _cloudwatch(self, operation: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, str, Context]]:
        names = parameters.get("AlarmNames", [parameters.get("AlarmName")])
        for name in names if operation in ("PutMetricAlarm", "DeleteAlarms") else ():
            yield f"cloudwatch:{operation}", f"arn:aws:cloudwatch:{self.region}:{self.account}:alarm:{name}", {}
        if operation not in ("PutMetricAlarm", "DeleteAlarms"):
            yield f"cloudwatch:{operation}", "*", {}
