"""One tuning job: from recipe, settings and data to the request."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.tracking.metric_log import METRICS, objective_key
from thorax_launch.hyperparameters import meaning
from thorax_launch.ranges import Tune
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker.requests import AwsRequest, ordered, without_empty
from thorax_launch.sagemaker.training_jobs import (
    JobPlan,
    Task,
    check,
    check_processes,
    code,
    data,
    encoded,
    job_fields,
    job_tags,
    start_hyperparameters,
)
from thorax_launch.settings import AwsSettings

#: Tells the trainer to keep its files apart: the jobs of one search share a checkpoint address.
OWN_CHECKPOINTS = {"THORAX_CHECKPOINTS": "per-job"}
#: Hyperparameters on which the check of a machine depends.
_CHECKED = ("batch_size", "accumulation_steps", "precision_dtype")
_ORDER = (
    *("AlgorithmSpecification", "RoleArn", "OutputDataConfig", "StoppingCondition", "StaticHyperParameters"),
    *("InputDataConfig", "VpcConfig", "ResourceConfig", "EnableNetworkIsolation"),
    *("EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining", "CheckpointConfig"),
)


def plan(
    recipe: Recipe,
    tune: Tune,
    settings: AwsSettings,
    task: Task,
    warm_start: tuple[str, ...] = (),
    transfer: bool = False,
) -> JobPlan:
    """A tuning job, checked against AWS's model; asks nothing of AWS and sends nothing.

    Args:
        task: its name has 32 characters at most; its hyperparameters are those that stay the same.
        warm_start: earlier tuning jobs, to use their results.
        transfer: data or code changed since them (AWS: TransferLearning); else nothing but the ranges.

    Raises:
        ThoraxError: what AWS would refuse, in one line.
    """
    if task.debugger or task.profiler:
        raise ThoraxError(
            "--debugger and --profiler: AWS's tuning jobs carry neither; train the best job's hyperparameters once more"
            " with them"
        )
    if transfer and not warm_start:
        raise ThoraxError("--transfer is for --warm-start NAME: name the earlier tuning job, or leave it out")
    if len(task.name) > 32:
        raise ThoraxError(f"--job-name {task.name} has {len(task.name)} characters; AWS takes 32 for tuning jobs")
    check(recipe, settings, task)
    searched = {name: found.choices for name, found in tune.ranges.items() if meaning(name) in _CHECKED}
    for values in itertools.product(*searched.values()):  # none where one of them is a range of numbers
        changed = dict(zip(searched, values, strict=True))
        check_processes(recipe, replace(task, hyperparameters={**task.hyperparameters, **changed}))
    source = code(settings, task)
    channels, uploads, digest = data(recipe, settings, task, source)
    if "," in recipe.instance_type:
        raise ThoraxError(
            f"--instance-type {recipe.instance_type}: AWS takes one type for the jobs of a search; name one"
        )
    start = start_hyperparameters(recipe, settings, task, source)
    definition = {
        **job_fields(recipe, settings, task, own_checkpoints=False),
        "StaticHyperParameters": encoded({**task.hyperparameters, **start}),
        "InputDataConfig": channels,
        "Environment": {**task.env, **(OWN_CHECKPOINTS if recipe.spot else {})},
    }
    request = AwsRequest.checked(
        "HyperParameterTuningJob",
        {
            "HyperParameterTuningJobName": task.name,
            "HyperParameterTuningJobConfig": search_config(tune, task.hyperparameters),
            "TrainingJobDefinition": {name: value for name, value in ordered(definition, _ORDER).items() if value},
            "WarmStartConfig": _warm_start(warm_start, transfer),
            "Tags": job_tags(recipe, settings, digest),
        },
    )
    return JobPlan(request, uploads, task.name, recipe, jobs=tune.total, parallel=tune.parallel_jobs)


def objective(hyperparameters: Mapping[str, str]) -> tuple[str, bool]:
    """(SageMaker's name of the metric that chooses the best epoch, whether more is better).

    SageMaker takes the value of the last line of a job's log that has it.
    """
    chosen = TrainingConfig.parse(dict(hyperparameters)).objective
    return METRICS[objective_key(chosen)], chosen != "loss"


def search_config(tune: Tune, hyperparameters: Mapping[str, str]) -> dict[str, Any]:
    """AWS's HyperParameterTuningJobConfig."""
    metric, maximize = objective(hyperparameters)
    return without_empty(
        {
            "Strategy": tune.strategy.capitalize(),
            "ResourceLimits": _limits(tune),
            "StrategyConfig": _hyperband(tune, hyperparameters),
            "HyperParameterTuningJobObjective": {"Type": "Maximize" if maximize else "Minimize", "MetricName": metric},
            "ParameterRanges": _ranges(tune),
            "TrainingJobEarlyStoppingType": "Auto" if tune.early_stopping else "Off",
            "RandomSeed": tune.seed or None,
        }
    )


def _limits(tune: Tune) -> dict[str, int]:
    """Grid tries every combination; AWS counts them itself."""
    total = {} if tune.strategy == "grid" else {"MaxNumberOfTrainingJobs": tune.max_jobs}
    return {"MaxParallelTrainingJobs": min(tune.parallel_jobs, tune.max_jobs), **total}


def _ranges(tune: Tune) -> dict[str, list[Any]]:
    """AWS's ParameterRanges: lists of integer, continuous and categorical ones."""
    found: dict[str, list[Any]] = {}
    for kind in ("integer", "continuous"):
        found[f"{kind.capitalize()}ParameterRanges"] = [
            {
                "Name": name,
                "MinValue": values.write(values.low),
                "MaxValue": values.write(values.high),
                "ScalingType": "Logarithmic" if values.log else "Linear",
            }
            for name, values in tune.ranges.items()
            if values.kind == kind
        ]
    found["CategoricalParameterRanges"] = [
        {"Name": name, "Values": list(values.choices)}
        for name, values in tune.ranges.items()
        if values.kind == "categorical"
    ]
    return without_empty(found)


def _hyperband(tune: Tune, hyperparameters: Mapping[str, str]) -> dict[str, Any]:
    """Hyperband counts the epoch lines of the log: from one epoch to all of them."""
    if tune.strategy != "hyperband":
        return {}
    epochs = TrainingConfig.parse(dict(hyperparameters)).epochs
    return {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": epochs}}


def _warm_start(parents: tuple[str, ...], transfer: bool) -> dict[str, Any]:
    if not parents:
        return {}
    return {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": name} for name in parents],
        "WarmStartType": "TransferLearning" if transfer else "IdenticalDataAndAlgorithm",
    }
