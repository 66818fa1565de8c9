"""A tuning job's jobs so far, as a leaderboard."""

from __future__ import annotations

import time
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.account import client, one_line_errors, open_session
from thorax_launch.settings import AwsSettings
from thorax_launch.trials import Leaderboard, Trial

POLL = 30.0


def leaderboard(name: str, settings: AwsSettings) -> Leaderboard:
    """Asks AWS for a tuning job, running or ended, and for all of its jobs.

    Raises:
        ThoraxError: there is no such job, or AWS refuses.
    """
    session = open_session(settings)
    sagemaker = client(session, "sagemaker")
    with one_line_errors(settings):
        job = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        jobs = _all(sagemaker, name)
        tags = {
            tag["Key"]: tag["Value"]
            for tag in sagemaker.list_tags(ResourceArn=job["HyperParameterTuningJobArn"])["Tags"]
        }
    goal = job["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    command = ("python", "launch/train.py", tags["recipe"]) if "recipe" in tags else ()
    trials = sorted((_trial(one) for one in jobs), key=lambda trial: (trial.began is None, trial.began))
    return Leaderboard(name, goal["MetricName"], goal["Type"] == "Maximize", tuple(trials), command)


def bundle_of(job: str, settings: AwsSettings) -> str:
    """s3:// address of the model.tar.gz that a training job left.

    Raises:
        ThoraxError: it left none, or AWS refuses.
    """
    with one_line_errors(settings):
        found = client(open_session(settings), "sagemaker").describe_training_job(TrainingJobName=job)
    if not (address := found.get("ModelArtifacts", {}).get("S3ModelArtifacts")):
        raise ThoraxError(f"job {job} left no bundle")
    return str(address)


def wait(name: str, settings: AwsSettings) -> None:
    """Returns once a tuning job has ended.

    Raises:
        ThoraxError: it failed (AWS's reason), or AWS cannot be asked any more; then it goes on.
    """
    sagemaker, told = client(open_session(settings), "sagemaker"), ""
    while True:
        with one_line_errors(
            settings, f"; search {name} goes on; when it is done: python launch/leaderboard.py {name} --deploy-best"
        ):
            job = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        counts = job.get("TrainingJobStatusCounters", {})
        line = (
            f"search {name}: {job['HyperParameterTuningJobStatus']}, {counts.get('Completed', 0)} jobs done,"
            f" {counts.get('InProgress', 0)} running"
        )
        if line != told:
            print(line, flush=True)
            told = line
        if job["HyperParameterTuningJobStatus"] == "Failed":
            raise ThoraxError(
                f"search {name} failed: {' '.join(str(job.get('FailureReason', 'no reason given')).split())}"
            )
        if job["HyperParameterTuningJobStatus"] in ("Completed", "Stopped"):
            return
        time.sleep(POLL)


def _all(sagemaker: Any, name: str) -> list[dict[str, Any]]:
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


def _trial(job: dict[str, Any]) -> Trial:
    value = job.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value")
    began, ended = job.get("TrainingStartTime"), job.get("TrainingEndTime")
    return Trial(
        job["TrainingJobName"],
        job["TrainingJobStatus"],
        value,
        {key: text.strip('"') for key, text in job.get("TunedHyperParameters", {}).items()},
        job.get("CreationTime") or began,
        (ended - began).total_seconds() if began and ended else None,
    )
