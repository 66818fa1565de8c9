"""A cross-validation on SageMaker: parallel training jobs NAME-fold-0 ... NAME-fold-K-1, their results, the refit."""

from __future__ import annotations

import dataclasses
import json
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thorax.errors import ThoraxError
from thorax_launch.names import LONGEST
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker import training_jobs
from thorax_launch.sagemaker.account import client, completed
from thorax_launch.sagemaker.cost import SearchScale
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.jobs import TrainingJob, describe_job
from thorax_launch.sagemaker.package import Upload, bucket_and_key
from thorax_launch.sagemaker.records import Changes, plan_again
from thorax_launch.sagemaker.requests import AwsRequest
from thorax_launch.sagemaker.submission import submit
from thorax_launch.sagemaker.training_jobs import JobPlan
from thorax_launch.sagemaker.transfers import download
from thorax_launch.settings import AwsSettings

if TYPE_CHECKING:
    from thorax.cross_validation import Gathered

#: What SageMaker packs a job's output/data into, and what of it all folds together need.
OUTPUT, HELD_OUT = "output.tar.gz", "held_out.npz"


@dataclass(frozen=True)
class FoldJobs:
    """The jobs of a cross-validation on SageMaker.

    Examples:
        >>> found = sagemaker.cross_validate("pneumonia-resnet18", {"train": "s3://my-images/train"}, folds=5)
        >>> found.wait()
        >>> found.gather("runs").scores["macro"]["auc"]
        >>> found.refit("runs").wait()
    """

    name: str
    jobs: tuple[TrainingJob, ...]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The parameters of each job's Create call."""
        return [job.request for job in self.jobs]

    def wait(self) -> None:
        """Waits until all have ended, without their logs. Raises JobEndedError: one did not complete."""
        for job in self.jobs:
            job.wait(logs=False)

    def stop(self) -> None:
        """Stops those that run."""
        for job in self.jobs:
            if job.status() in job.kind.running:
                job.stop()

    def gather(self, runs: str | Path = "runs", say: Callable[[str], None] = print) -> Gathered:
        """Brings every fold's bundle and answers to runs/NAME/fold-K, and puts them together in runs/NAME/out-of-fold.

        What is there already is not brought again.

        Raises:
            ThoraxError: a job has not completed, or see thorax.cross_validation.gather.
        """
        from thorax.cross_validation import gather

        folder = Path(runs) / self.name
        places = [folder / f"fold-{fold}" for fold in range(len(self.jobs))]
        missing = [pair for pair in zip(self.jobs, places, strict=True) if not _is_here(pair[1])]
        states = {job.name: job.status() for job, _ in missing}
        if waiting := [f"{name} is {state}" for name, state in states.items() if state != "Completed"]:
            raise ThoraxError(f"not all folds have completed: {', '.join(waiting)}; wait for them, or start those anew")
        for job, place in missing:
            _bring(job, place)
        return gather(places, folder / "out-of-fold", say)

    def plan_refit(self, runs: str | Path = "runs", say: Callable[[str], None] = print) -> tuple[JobPlan, AwsSettings]:
        """(the plan of one job on all images, for the median of the folds' best epochs, from the first fold's own
        record; its settings). See `gather`, which it calls."""
        found = self.gather(runs, say)
        changed = {"folds": None, "fold": None, "epochs": found.held_out.epochs, "early_stopping": "false"}
        first = self.jobs[0]
        plan, settings = plan_again(first.name, first.settings, Changes(f"{self.name}-refit", changed), resume=False)
        folder = f"{settings.root}/{self.name}/out-of-fold/"
        brought = training_jobs.channel("held_out", folder, "application/octet-stream", "File")
        parameters = dict(plan.request.parameters)
        parameters["InputDataConfig"] = [*parameters["InputDataConfig"], brought]
        request = AwsRequest.checked("TrainingJob", parameters, plan.request.by_boto3)
        upload = Upload(folder + HELD_OUT, found.folder / HELD_OUT)
        return dataclasses.replace(plan, request=request, uploads=(upload,)), settings

    def refit(self, runs: str | Path = "runs") -> TrainingJob:
        """Starts the job of `plan_refit`, without a question."""
        plan, settings = self.plan_refit(runs)
        submit(plan, settings)
        return TrainingJob(plan.name, settings, request=plan.request.parameters)


def cross_validate(
    recipe: Recipe | str,
    channels: Mapping[str, str | Path],
    *,
    folds: int = 5,
    hyperparameters: Mapping[str, Any] | None = None,
    settings: AwsSettings | None = None,
    dry_run: bool = False,
    **options: Any,
) -> FoldJobs:
    """Starts a training job for each fold on SageMaker, all at once, without a question.

    Args:
        folds: the training images are cut by patient into so many.
        recipe, channels, hyperparameters, settings, dry_run, options: as of `train`; channel test is kept for the
            refit.

    Raises:
        ThoraxError: what AWS or the trainer would refuse, in one line.
    """
    chosen = completed(settings, offline=dry_run)
    name, plans = plan_folds(recipe, channels, hyperparameters or {}, options, chosen, folds)
    if not dry_run:
        start(plans, chosen)
    jobs = (TrainingJob(p.name, chosen, request=p.request.parameters, sent=not dry_run) for p in plans)
    return FoldJobs(name, tuple(jobs))


def start(plans: Sequence[JobPlan], settings: AwsSettings) -> None:
    """Uploads once and sends all; a job that is there already from the same request is not started twice."""
    for plan in plans:
        submit(plan, settings)


def plan_folds(
    recipe: Recipe | str,
    channels: Mapping[str, str | Path],
    hyperparameters: Mapping[str, Any],
    options: Mapping[str, Any],
    settings: AwsSettings,
    folds: int,
) -> tuple[str, list[JobPlan]]:
    """(name, the plan of each fold's job): one request, in which name, fold and checkpoints differ. The first has the
    uploads.

    Raises:
        ThoraxError: what AWS or the trainer would refuse, in one line.
    """
    loaded = Recipe.load(recipe) if isinstance(recipe, str) else recipe
    merged = loaded.for_folds(folds, hyperparameters, channels)
    for name in ("resume", "debugger", "profiler"):
        if options.get(name):
            raise ThoraxError(f"--{name} with --folds {folds} is for one job; leave one of them out")
    found, task = describe_job(loaded, channels, merged, options, LONGEST - len("-fold-00"))
    if len(task.name) > LONGEST - len("-fold-00"):
        raise ThoraxError(
            f"--job-name {task.name} is too long for --folds: at most {LONGEST - len('-fold-00')} letters"
        )
    stem = task.name
    with_fold = {**task.hyperparameters, "folds": str(folds), "fold": "0"}
    first = training_jobs.plan(
        found, settings, dataclasses.replace(task, name=f"{stem}-fold-0", hyperparameters=with_fold)
    )
    return stem, [first, *(_other(first, settings, f"{stem}-fold-{fold}", fold) for fold in range(1, folds))]


def together(name: str, plans: Sequence[JobPlan]) -> JobPlan:
    """All of them as one plan, for the summary of what they make and cost."""
    first, count = plans[0], len(plans)
    names = f"{name}-fold-0 to {name}-fold-{count - 1}"
    return dataclasses.replace(first, name=names, scale=SearchScale(count, count))


def attach_folds(name: str, settings: AwsSettings | None = None) -> FoldJobs:
    """The jobs of the cross-validation of that name.

    Args:
        settings: profile and region are used; None: those of ./thorax.yaml or of the AWS session.

    Raises:
        ThoraxError: there is none.
    """
    first = TrainingJob(f"{name}-fold-0", settings)
    stored = first.describe().get("HyperParameters", {}).get("folds", "")
    try:
        folds = int(str(json.loads(stored)))
    except ValueError:
        raise ThoraxError(f"job {first.name} is no fold of a cross-validation") from None
    return FoldJobs(name, (first, *(TrainingJob(f"{name}-fold-{fold}", settings) for fold in range(1, folds))))


def _other(first: JobPlan, settings: AwsSettings, name: str, fold: int) -> JobPlan:
    parameters = dict(first.request.parameters)
    parameters["TrainingJobName"] = name
    parameters["HyperParameters"] = {**parameters["HyperParameters"], "fold": json.dumps(str(fold))}
    parameters["CheckpointConfig"] = {"S3Uri": f"{settings.root}/{name}/checkpoints/"}
    request = AwsRequest.checked("TrainingJob", parameters, first.request.by_boto3)
    return dataclasses.replace(first, request=request, uploads=(), name=name, notes=())


def _is_here(place: Path) -> bool:
    return (place / "model" / "bundle.json").is_file() and (place / "output" / "data" / HELD_OUT).is_file()


def _bring(job: TrainingJob, place: Path) -> None:
    """Unpacks the job's bundle into model/ and its output/data."""
    job.download(place / "model")
    address = f"{job.bundle.rpartition('/')[0]}/{OUTPUT}"
    with tempfile.TemporaryDirectory() as temporary, one_line_errors(job.settings):
        archive = Path(temporary) / OUTPUT
        download(client(job.session, "s3"), {bucket_and_key(address): archive}, "downloading the answers")
        target = place / "output"
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
    if not _is_here(place):
        raise ThoraxError(f"{address} has no data/{HELD_OUT}: the job {job.name} was no fold of a cross-validation")
