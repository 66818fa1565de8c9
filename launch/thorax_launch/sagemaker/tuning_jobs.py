"""One tuning job: from recipe, settings and data to the request."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.text import counted
from thorax.tracking.metric_log import METRICS, objective_key
from thorax_launch.hyperparameters import meaning
from thorax_launch.ranges import Tune
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker import preflight
from thorax_launch.sagemaker.cost import SearchScale, price_variable
from thorax_launch.sagemaker.job_extras import environment, installs, secret_notes
from thorax_launch.sagemaker.machines import kinds
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
#: Why a search has no warm pool of ours (API reference of HyperParameterTuningResourceConfig).
WARM = "AWS's tuning jobs reuse their machines from job to job by themselves, and take no KeepAlivePeriod"
#: Seconds that AWS lets a search last, and the fewest jobs without a better one, by botocore's model.
_SECONDS = (120, 15_768_000)
_FEWEST = 3
#: Hyperparameters on which the check of a machine depends.
_CHECKED = ("batch_size", "accumulation_steps", "precision_dtype")
_ORDER = (
    *("AlgorithmSpecification", "RoleArn", "OutputDataConfig", "StoppingCondition", "StaticHyperParameters"),
    *("InputDataConfig", "VpcConfig", "ResourceConfig", "HyperParameterTuningResourceConfig", "EnableNetworkIsolation"),
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
    notes = preflight.notes(recipe, task.channels, task.hyperparameters, task.processes)
    source = code(settings, task)
    channels, uploads, digest = data(recipe, settings, task, source)
    _check_end(tune)
    notes += _end_notes(tune, objective(task.hyperparameters)[0])
    if recipe.warm_pool_minutes:
        notes.append(f"note:     warm_pool_minutes of recipe {recipe.name} is left out: {WARM}")
        recipe = replace(recipe, warm_pool_minutes=0)
    start = start_hyperparameters(recipe, settings, task, source)
    definition = {
        **_machines(recipe, job_fields(recipe, settings, task, own_checkpoints=False)),
        "StaticHyperParameters": encoded({**task.hyperparameters, **start}),
        "InputDataConfig": channels,
        "Environment": {
            **price_variable(recipe, settings),
            **environment(task),
            **(OWN_CHECKPOINTS if recipe.spot else {}),
        },
    }
    request = AwsRequest.checked(
        "HyperParameterTuningJob",
        {
            "HyperParameterTuningJobName": task.name,
            "HyperParameterTuningJobConfig": search_config(tune, task.hyperparameters),
            "TrainingJobDefinition": {name: value for name, value in ordered(definition, _ORDER).items() if value},
            "WarmStartConfig": _warm_start(warm_start, transfer),
            "Autotune": {"Mode": "Enabled"} if tune.autotune else None,
            "Tags": job_tags(recipe, settings, digest),
        },
    )
    notes += [*installs(task, settings), *secret_notes(task)]
    scale = SearchScale(tune.total, min(tune.parallel_jobs, tune.total), tune.total_hours)
    return JobPlan(request, uploads, task.name, recipe, scale, tuple(notes))


def _machines(recipe: Recipe, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a job, with AWS's way to name several machine types for the jobs of a search."""
    machines = kinds(recipe.instance_type)
    if len(machines) == 1:
        return fields
    each = {"InstanceCount": recipe.instance_count, "VolumeSizeInGB": recipe.volume_gb}
    key = fields["ResourceConfig"].get("VolumeKmsKeyId")
    resources = {
        "AllocationStrategy": "Prioritized",
        "InstanceConfigs": [{"InstanceType": machine, **each} for machine in machines],
        "VolumeKmsKeyId": key,
    }
    return {**fields, "ResourceConfig": None, "HyperParameterTuningResourceConfig": without_empty(resources)}


def _check_end(tune: Tune) -> None:
    """Raises ThoraxError for an end of the search that AWS does not take."""
    low, high = _SECONDS
    if tune.total_hours and not low <= round(tune.total_hours * 3600) <= high:
        raise ThoraxError(
            f"--total-hours {tune.total_hours:g}: AWS takes {low // 60} minutes to {high // 3600:,} hours for a search"
        )
    if tune.not_improving and tune.not_improving < _FEWEST:
        raise ThoraxError(f"--not-improving {tune.not_improving}: AWS takes {_FEWEST} jobs or more")


def _end_notes(tune: Tune, metric: str) -> list[str]:
    """A line that says when the search ends before its last job."""
    idle = f"after {counted(tune.not_improving, 'job')} without a best that is 1 % better" if tune.not_improving else ""
    ends = [
        *([f"after {tune.total_hours:g} h, and its running jobs with it"] if tune.total_hours else []),
        *([f"when {metric} reaches {tune.target:g}"] if tune.target is not None else []),
        *([idle] if idle else []),
        *(["when AWS finds that it has converged"] if tune.until_converged else []),
    ]
    chosen = ["note:     autotune: AWS chooses what is not set, also ranges within the bounds that it finds"]
    return [*([f"ends:     {'; '.join(ends)}"] if ends else []), *(chosen if tune.autotune else [])]


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
            "TrainingJobEarlyStoppingType": _early_stopping(tune),
            "TuningJobCompletionCriteria": _completion(tune),
            "RandomSeed": tune.seed or None,
        }
    )


def _early_stopping(tune: Tune) -> str | None:
    """None leaves it to Autotune."""
    return "Auto" if tune.early_stopping else None if tune.autotune else "Off"


def _completion(tune: Tune) -> dict[str, Any]:
    """AWS's TuningJobCompletionCriteria: the search ends at the first of them."""
    found: dict[str, Any] = {}
    if tune.target is not None:
        found["TargetObjectiveMetricValue"] = float(tune.target)
    if tune.not_improving:
        found["BestObjectiveNotImproving"] = {"MaxNumberOfTrainingJobsNotImproving": tune.not_improving}
    if tune.until_converged:
        found["ConvergenceDetected"] = {"CompleteOnConvergence": "Enabled"}
    return found


def _limits(tune: Tune) -> dict[str, int]:
    """Grid tries every combination; AWS counts them itself."""
    total = {} if tune.strategy == "grid" else {"MaxNumberOfTrainingJobs": tune.max_jobs}
    if tune.total_hours:
        total["MaxRuntimeInSeconds"] = round(tune.total_hours * 3600)
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
    found["AutoParameters"] = [
        {"Name": name, "ValueHint": values.choices[0]} for name, values in tune.ranges.items() if values.kind == "auto"
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
