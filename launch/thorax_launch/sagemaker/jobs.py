"""Training jobs on SageMaker: start one, watch it, stop it, take its bundle and its metrics."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from thorax.errors import ThoraxError
from thorax.unpacking import open_tar
from thorax_launch.invocation import command
from thorax_launch.names import LONGEST, dated
from thorax_launch.options import MachineOptions, did_you_mean, entries
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker import training_jobs
from thorax_launch.sagemaker.account import client, completed
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.handles import JobHandle
from thorax_launch.sagemaker.kinds import TRAINING
from thorax_launch.sagemaker.package import ARCHIVE, bucket_and_key
from thorax_launch.sagemaker.status import Description, JobLog
from thorax_launch.sagemaker.submission import submit
from thorax_launch.sagemaker.training_jobs import JobPlan, Task
from thorax_launch.sagemaker.transfers import download
from thorax_launch.settings import AwsSettings

if TYPE_CHECKING:
    from thorax_launch.sagemaker.endpoints import Endpoint

Job = TypeVar("Job", bound=JobHandle)
_MACHINE = [entry.name for entry in entries(MachineOptions)]
_TASK = [name for name in Task.__dataclass_fields__ if name not in ("name", "channels", "hyperparameters")]


class TrainingJob(JobHandle):
    """A training job on SageMaker.

    Examples:
        >>> with sagemaker.train("pneumonia-resnet18", {"train": "s3://my-images/train"}) as job:
        ...     job.wait()
        ...     job.download("model")
        >>> sagemaker.TrainingJob("pneumonia-resnet18-261121-101500").status()
        'Completed'
    """

    resource, kind = TRAINING.resource, TRAINING

    def _line(self, job: Description) -> str:
        return f"job {self.name}: {job['TrainingJobStatus']} {job.get('SecondaryStatus', '')}".strip()

    def _report(self, job: Description, log: JobLog | None, logs: bool) -> None:
        seconds, billed = job.get("TrainingTimeInSeconds"), job.get("BillableTimeInSeconds")
        if logs and seconds is not None:
            minutes = f"{seconds / 60:.1f} min of training, {(billed or seconds) / 60:.1f} min billed per machine"
            print(f"job {self.name}: {minutes}")
        super()._report(job, log, logs)
        if logs and (model := job.get("ModelArtifacts", {}).get("S3ModelArtifacts")):
            print(f"bundle: {model}")

    @property
    def kept(self) -> str:
        """What stays when it is stopped, in words."""
        return f"its checkpoints stay, and {command('train')} --resume {self.name} goes on from them"

    @property
    def bundle(self) -> str:
        """s3:// address of the model.tar.gz that the job left.

        Raises:
            ThoraxError: it left none, or AWS refuses.
        """
        if not (address := self.describe().get("ModelArtifacts", {}).get("S3ModelArtifacts")):
            raise ThoraxError(f"job {self.name} left no bundle")
        return str(address)

    def deploy(self, endpoint_name: str = "", *, settings: AwsSettings | None = None, **options: Any) -> Endpoint:
        """Puts the bundle that the job left behind an endpoint; see `sagemaker.deploy`.

        Args:
            endpoint_name: default: the job's name.
            settings: None: role, bucket, network, key and isolation are those of the job's own record.
            options: as for `deploy`.

        Raises:
            ThoraxError: the job left no bundle, or see `deploy`.
        """
        from thorax_launch.sagemaker import endpoints, records  # late: they know jobs

        where = settings or records.settings_of(self.describe(), self.settings)
        return endpoints.deploy(self.bundle, endpoint_name, settings=where, **options)

    def download(self, folder: str | Path) -> Path:
        """Unpacks the bundle into a folder of this machine, which is made where it is missing; returns it.

        Raises:
            ThoraxError: the job left no bundle, or AWS refuses.
        """
        target = Path(folder)
        with tempfile.TemporaryDirectory() as temporary, one_line_errors(self.settings):
            archive = Path(temporary) / ARCHIVE
            download(client(self.session, "s3"), {bucket_and_key(self.bundle): archive}, "downloading the bundle")
            target.mkdir(parents=True, exist_ok=True)
            with open_tar(archive) as tar:
                tar.extractall(target, filter="data")
        return target

    @property
    def metrics(self) -> dict[str, float]:
        """SageMaker's metric name, such as validation:auc -> the last value that AWS found in the log."""
        return {found["MetricName"]: found["Value"] for found in self.describe().get("FinalMetricDataList", [])}


def train(
    recipe: Recipe | str,
    channels: Mapping[str, str | Path],
    *,
    hyperparameters: Mapping[str, Any] | None = None,
    settings: AwsSettings | None = None,
    dry_run: bool = False,
    **options: Any,
) -> TrainingJob:
    """Starts a training job on SageMaker, without a question; folders are uploaded first.

    Args:
        recipe: a Recipe, the name of one of launch/recipes, or a path to a YAML file.
        channels: train, validation, test, weights, model ... -> a folder, or s3://BUCKET/PREFIX.
        hyperparameters: put over the recipe's.
        settings: None: see load_settings; empty region, role and bucket are those of the AWS session.
        dry_run: send nothing and ask nothing of AWS: `.request` is what would be sent.
        options: the flags of `thorax train`, with _ for -: instance_type, instance_count, volume_gb, max_hours, spot,
            max_wait_hours, warm_pool_minutes, input_mode, job_name, processes, resume, debugger, profiler, wheels,
            locked, content_type, env and secrets (mappings), rule (a list), source_dir.

    Raises:
        ThoraxError: what AWS or the trainer would refuse, in one line.

    Examples:
        >>> job = sagemaker.train(
        ...     "pneumonia-resnet18", {"train": "images/train"}, hyperparameters={"epochs": 5}, spot=True
        ... )
        >>> job.wait(), job.metrics["validation:auc"]
        ('Completed', 0.981)
    """
    chosen = completed(settings, offline=dry_run)
    plan = plan_training(recipe, channels, hyperparameters or {}, options, chosen)
    return start(TrainingJob, plan, chosen, dry_run)


def request(recipe: Recipe | str, channels: Mapping[str, str | Path], **more: Any) -> dict[str, Any]:
    """The request that `train` would send with the same arguments: CreateTrainingJob's parameters, checked.

    Examples:
        >>> sagemaker.request("demo", {"train": "s3://my-images/train"})["ResourceConfig"]
        {'InstanceType': 'ml.m5.xlarge', 'InstanceCount': 1, 'VolumeSizeInGB': 50}
    """
    return train(recipe, channels, **more, dry_run=True).request


def start(kind: type[Job], plan: JobPlan, settings: AwsSettings, dry_run: bool = False) -> Job:
    """Uploads and sends a plan, unless it is a dry run; its handle."""
    if not dry_run:
        submit(plan, settings)
    return kind(plan.name, settings, request=plan.request.parameters, sent=not dry_run)


def plan_training(
    recipe: Recipe | str,
    channels: Mapping[str, str | Path],
    hyperparameters: Mapping[str, Any],
    options: Mapping[str, Any],
    settings: AwsSettings,
) -> JobPlan:
    """The plan of a training job; see `train`.

    Raises:
        ThoraxError: what AWS or the trainer would refuse, in one line.
    """
    found, task = describe_job(recipe, channels, hyperparameters, options)
    return training_jobs.plan(found, settings, task)


def describe_job(
    recipe: Recipe | str,
    channels: Mapping[str, str | Path],
    hyperparameters: Mapping[str, Any],
    options: Mapping[str, Any],
    longest_name: int = LONGEST,
) -> tuple[Recipe, Task]:
    """The recipe on its machine, and what a job of it does. Options that are None are not given.

    Raises:
        ThoraxError: a wrong recipe, hyperparameter or option.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in (*_MACHINE, *_TASK, "job_name"):
            raise ThoraxError(f"unknown option {name}{did_you_mean(name, [*_MACHINE, *_TASK, 'job_name'])}")
    if (processes := given.get("processes", 1)) < 1:
        raise ThoraxError(f"--processes {processes} must be 1 or more")
    loaded = Recipe.load(recipe) if isinstance(recipe, str) else recipe
    placed = loaded.on(**{name: given[name] for name in _MACHINE if name in given})
    task = Task(
        name=given.get("job_name") or dated(placed.name, longest_name),
        channels={name: str(path) for name, path in channels.items()},
        hyperparameters=placed.merged(hyperparameters),
    )
    return placed, dataclasses.replace(task, **{name: given[name] for name in _TASK if name in given})
