"""Tuning jobs on SageMaker: start a search, wait for it, see its jobs best first, take the best."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.text import counted
from thorax_launch.invocation import command
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker import tuning_jobs
from thorax_launch.sagemaker.account import completed
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.handles import JobHandle
from thorax_launch.sagemaker.jobs import TrainingJob, describe_job, start
from thorax_launch.sagemaker.kinds import SEARCH
from thorax_launch.sagemaker.status import Description
from thorax_launch.sagemaker.training_jobs import JobPlan
from thorax_launch.settings import AwsSettings
from thorax_launch.trials import Leaderboard, Trial

#: Characters that AWS takes for the name of a tuning job.
LONGEST_NAME = 32
_SEARCH = (
    *("strategy", "max_jobs", "parallel_jobs", "early_stopping", "total_hours", "target", "not_improving"),
    *("until_converged", "autotune"),
)


class TuningJob(JobHandle):
    """A search on SageMaker.

    Examples:
        >>> with sagemaker.tune("pneumonia-resnet18", {"train": "s3://my-images/train"}) as search:
        ...     search.wait()
        ...     search.leaderboard().print()
        ...     search.best.download("model")
    """

    resource, kind = SEARCH.resource, SEARCH

    def _log(self) -> None:
        """A search has none of its own; its jobs have."""

    def _line(self, job: Description) -> str:
        counts = job.get("TrainingJobStatusCounters", {})
        done, running = counts.get("Completed", 0), counts.get("InProgress", 0)
        idle = job.get("TuningJobCompletionDetails", {}).get("NumberOfTrainingJobsObjectiveNotImproving", 0)
        more = f", the last {idle} not better by 1 %" if idle else ""
        state = job["HyperParameterTuningJobStatus"]
        return f"search {self.name}: {state}, {counted(done, 'job')} done, {running} running{more}"

    def _counts(self, job: Description) -> dict[str, Any]:
        counts = job.get("TrainingJobStatusCounters", {})
        ended = sum(counts.get(name, 0) for name in ("Completed", "Stopped", "NonRetryableError"))
        most = job.get("HyperParameterTuningJobConfig", {}).get("ResourceLimits", {}).get("MaxNumberOfTrainingJobs", 0)
        return {"unit": "job", "done": ended, "total": most}

    @property
    def kept(self) -> str:
        """What stays when it is stopped, in words."""
        return f"its jobs are stopped too; what they came to: {command('leaderboard')} {self.name}"

    def leaderboard(self, metrics: tuple[str, ...] = ()) -> Leaderboard:
        """Its jobs so far, best first: `.trials`, `.best`, `.print()`, `.write_csv(file)`, `.write_plot(file)`.

        Args:
            metrics: further ones to show, by SageMaker's name, such as validation:f1; each job is asked about them.

        Raises:
            ThoraxError: there is no such search, or AWS refuses.
        """
        job = self.describe()
        goal = job["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
        with one_line_errors(self.settings):
            trials = [_trial(found) for found in _all_jobs(self.sagemaker, self.name)]
        trials.sort(key=lambda trial: (trial.began is None, trial.began))
        if metrics:  # a summary has the objective alone
            trials = [self._with_metrics(trial) if trial.value is not None else trial for trial in trials]
        again = (*command("train").split(), "--again")
        maximize = goal["Type"] == "Maximize"
        return Leaderboard(self.name, goal["MetricName"], maximize, tuple(trials), record=again, shown=metrics)

    def _with_metrics(self, trial: Trial) -> Trial:
        return dataclasses.replace(trial, metrics=TrainingJob(trial.name, self.settings).metrics)

    @property
    def best(self) -> TrainingJob:
        """Its best job so far.

        Raises:
            ThoraxError: no job has a value yet, or AWS refuses.
        """
        if (trial := self.leaderboard().best) is None:
            raise ThoraxError(f"no job of {self.name} has come to a value yet")
        return TrainingJob(trial.name, self.settings)


def tune(
    recipe: Recipe | str,
    channels: Mapping[str, str | Path],
    *,
    hyperparameters: Mapping[str, Any] | None = None,
    settings: AwsSettings | None = None,
    dry_run: bool = False,
    **options: Any,
) -> TuningJob:
    """Starts a search over the recipe's `tune:` part on SageMaker, without a question.

    Args:
        recipe: with a `tune:` part; else as for `train`.
        channels: as for `train`.
        settings: as for `train`.
        dry_run: as for `train`.
        hyperparameters: put over the recipe's; none that is searched.
        options: as for `train`, and strategy, max_jobs, parallel_jobs, early_stopping, total_hours, target,
            not_improving, until_converged, autotune, warm_start (names of earlier tuning jobs), transfer.

    Raises:
        ThoraxError: what AWS or the trainer would refuse, in one line.

    Examples:
        >>> search = sagemaker.tune(
        ...     "pneumonia-resnet18", {"train": "s3://my-images/train"}, max_jobs=20, spot=True
        ... )
        >>> search.wait(), search.best.bundle
        ('Completed', 's3://my-images/thorax/...-007/output/model.tar.gz')
    """
    chosen = completed(settings, offline=dry_run)
    plan = plan_search(recipe, channels, hyperparameters or {}, options, chosen)
    return start(TuningJob, plan, chosen, dry_run)


def plan_search(
    recipe: Recipe | str,
    channels: Mapping[str, str | Path],
    hyperparameters: Mapping[str, Any],
    options: Mapping[str, Any],
    settings: AwsSettings,
) -> JobPlan:
    """The plan of a tuning job; see `tune`. Raises ThoraxError: what AWS or the trainer would refuse, in one line."""
    given = dict(options)
    limits = {name: given.pop(name, None) for name in _SEARCH}
    warm_start, transfer = tuple(given.pop("warm_start", None) or ()), bool(given.pop("transfer", False))
    if minutes := given.get("warm_pool_minutes"):
        raise ThoraxError(f"--warm-pool-minutes {minutes}: {tuning_jobs.WARM}; leave it out")
    found, task = describe_job(recipe, channels, hyperparameters, given, LONGEST_NAME)
    search, static = found.search(limits, hyperparameters)
    return tuning_jobs.plan(
        found, search, settings, dataclasses.replace(task, hyperparameters=static), warm_start, transfer
    )


def _all_jobs(sagemaker: Any, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        page = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name, MaxResults=100, **token
        )
        found += page["TrainingJobSummaries"]
        if not page.get("NextToken"):
            return found
        token = {"NextToken": page["NextToken"]}


def _trial(job: Mapping[str, Any]) -> Trial:
    began, ended = job.get("TrainingStartTime"), job.get("TrainingEndTime")
    return Trial(
        job["TrainingJobName"],
        job["TrainingJobStatus"],
        job.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value"),
        {key: text.strip('"') for key, text in job.get("TunedHyperParameters", {}).items()},
        job.get("CreationTime") or began,
        (ended - began).total_seconds() if began and ended else None,
    )
