"""One tuning job: from recipe, settings and data to the request."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from thorax.errors import ThoraxError
from thorax.tracking.metric_log import METRICS, metric_definitions, objective_key
from thorax_launch.hyperparameters import meaning
from thorax_launch.ranges import Tune
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker.requests import AwsRequest
from thorax_launch.sagemaker.training_jobs import (
    Plan,
    Task,
    check,
    check_processes,
    data,
    encoded,
    image,
    machines,
    start,
    tags,
)
from thorax_launch.settings import AwsSettings

#: What the trainer is told so that the jobs of one search, which share a checkpoint address, keep their files apart.
OWN_CHECKPOINTS = {"THORAX_CHECKPOINTS": "per-job"}


def plan(
    recipe: Recipe,
    tune: Tune,
    settings: AwsSettings,
    task: Task,
    warm_start: tuple[str, ...] = (),
    transfer: bool = False,
) -> Plan:
    """A tuning job, checked against AWS's model; asks nothing of AWS and sends nothing.

    Args:
        task: its name has 32 characters at most; its hyperparameters are those that stay the same.
        warm_start: earlier tuning jobs whose results are used.
        transfer: the data or code changed since them (AWS: TransferLearning); else nothing but the ranges.

    Raises:
        ThoraxError: what AWS would refuse, in one line.
    """
    from sagemaker.core import shapes

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
    searched = {
        name: one.choices
        for name, one in tune.ranges.items()
        if meaning(name) in ("batch_size", "accumulation_steps", "precision_dtype")
    }
    for chosen in itertools.product(*searched.values()):  # none where one of them is a range of numbers
        check_processes(
            recipe, replace(task, hyperparameters={**task.hyperparameters, **dict(zip(searched, chosen, strict=True))})
        )
    channels, uploads, digest = data(recipe, settings, task)
    definitions = [shapes.MetricDefinition(name=one["Name"], regex=one["Regex"]) for one in metric_definitions()]
    metric, maximize = objective(task.hyperparameters)
    definition = shapes.HyperParameterTrainingJobDefinition(
        role_arn=settings.role,
        algorithm_specification=shapes.HyperParameterAlgorithmSpecification(
            training_image=image(recipe, settings),
            training_input_mode=recipe.input_mode,
            metric_definitions=definitions,
        ),
        static_hyper_parameters=encoded({**task.hyperparameters, **start(recipe, settings, task)}),
        input_data_config=channels,
        environment={**task.environment, **(OWN_CHECKPOINTS if recipe.spot else {})} or None,
        **{
            key: value
            for key, value in machines(recipe, settings, task, own_checkpoints=False).items()
            if value is not None
        },
    )
    request = AwsRequest(
        "HyperParameterTuningJob",
        {
            "hyper_parameter_tuning_job_name": task.name,
            "hyper_parameter_tuning_job_config": shapes.HyperParameterTuningJobConfig(
                strategy=tune.strategy.capitalize(),
                hyper_parameter_tuning_job_objective=shapes.HyperParameterTuningJobObjective(
                    type="Maximize" if maximize else "Minimize", metric_name=metric
                ),
                resource_limits=_limits(tune),
                parameter_ranges=_ranges(tune),
                training_job_early_stopping_type="Auto" if tune.early_stopping else "Off",
                random_seed=tune.seed,
                **_hyperband(tune, task.hyperparameters),
            ),
            "training_job_definition": definition,
            "warm_start_config": _warm(warm_start, transfer),
            "tags": tags(recipe, settings, digest),
        },
    )
    request.check()
    return Plan(request, uploads, task.name, recipe, jobs=tune.total, parallel=tune.parallel_jobs)


def objective(hyperparameters: Mapping[str, str]) -> tuple[str, bool]:
    """(SageMaker's name of the metric that chooses the best epoch, whether more is better).

    What the last line of a job's log tells.
    """
    from thorax.config import TrainingConfig

    chosen = TrainingConfig.parse(dict(hyperparameters)).objective
    return METRICS[objective_key(chosen)], chosen != "loss"


def _limits(tune: Tune) -> Any:
    """Grid tries every combination; AWS counts them itself."""
    from sagemaker.core.shapes import ResourceLimits

    total = {} if tune.strategy == "grid" else {"max_number_of_training_jobs": tune.max_jobs}
    return ResourceLimits(max_parallel_training_jobs=min(tune.parallel_jobs, tune.max_jobs), **total)


def _ranges(tune: Tune) -> Any:
    from sagemaker.core.shapes import (
        CategoricalParameterRange,
        ContinuousParameterRange,
        IntegerParameterRange,
        ParameterRanges,
    )

    def numbers(shape: Any, kind: str) -> list[Any]:
        return [
            shape(
                name=name,
                min_value=one.write(one.low),
                max_value=one.write(one.high),
                scaling_type="Logarithmic" if one.log else "Linear",
            )
            for name, one in tune.ranges.items()
            if one.kind == kind
        ]

    choices = [
        CategoricalParameterRange(name=name, values=list(one.choices))
        for name, one in tune.ranges.items()
        if one.kind == "categorical"
    ]
    found = {
        "continuous_parameter_ranges": numbers(ContinuousParameterRange, "continuous"),
        "integer_parameter_ranges": numbers(IntegerParameterRange, "integer"),
        "categorical_parameter_ranges": choices,
    }
    return ParameterRanges(**{key: value for key, value in found.items() if value})


def _hyperband(tune: Tune, hyperparameters: Mapping[str, str]) -> dict[str, Any]:
    """Hyperband counts the epoch lines of the log: from one epoch to all of them."""
    from sagemaker.core.shapes import HyperbandStrategyConfig, HyperParameterTuningJobStrategyConfig

    from thorax.config import TrainingConfig

    if tune.strategy != "hyperband":
        return {}
    epochs = TrainingConfig.parse(dict(hyperparameters)).epochs
    return {
        "strategy_config": HyperParameterTuningJobStrategyConfig(
            hyperband_strategy_config=HyperbandStrategyConfig(min_resource=1, max_resource=epochs)
        )
    }


def _warm(parents: tuple[str, ...], transfer: bool) -> Any:
    from sagemaker.core.shapes import HyperParameterTuningJobWarmStartConfig, ParentHyperParameterTuningJob

    if not parents:
        return None
    jobs = [ParentHyperParameterTuningJob(hyper_parameter_tuning_job_name=name) for name in parents]
    return HyperParameterTuningJobWarmStartConfig(
        parent_hyper_parameter_tuning_jobs=jobs,
        warm_start_type="TransferLearning" if transfer else "IdenticalDataAndAlgorithm",
    )
