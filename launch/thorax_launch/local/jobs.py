"""A training job on this machine: a handle that runs in the background."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from thorax.config import TrainingConfig
from thorax.config.pretrained import check_weights_given
from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax_launch import paths
from thorax_launch.local.channels import Paths, channels_of
from thorax_launch.local.display import Display, Lines
from thorax_launch.local.job_directory import JobDirectory
from thorax_launch.local.toolkit import INTERRUPTED, Toolkit, failure_reason
from thorax_launch.names import dated
from thorax_launch.recipe import Recipe

PROGRAM = "train_model.py"


class LocalJob:
    """A training job in a folder laid out as /opt/ml, in the background; a `with` block stops it at its end.

    Attributes:
        name: of the job, and of its folder.
        directory: its folders and files.
        resumed: whether the folder holds an earlier run, from whose checkpoint this one goes on.
    """

    def __init__(
        self,
        directory: JobDirectory,
        toolkit: Toolkit,
        *,
        resumed: bool,
        recipe: Mapping[str, str],
        put_back: Callable[[], None] | None = None,
    ) -> None:
        """
        Args:
            recipe: the recipe's hyperparameters, for the table of what differs.
            put_back: of a folder whose job was finished: makes it as it was, where this run is refused.
        """
        self.directory, self.resumed, self.name = directory, resumed, directory.base.name
        self._toolkit, self._recipe, self._put_back = toolkit, recipe, put_back
        self._refused: str | None = None

    def __repr__(self) -> str:
        return f"<LocalJob {self.name} {self.status} in {self.directory.base}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.running:
            self.stop()
        self.wait(quiet=True)

    @property
    def running(self) -> bool:
        return self._toolkit.running

    @property
    def status(self) -> str:
        """InProgress, Completed, Stopped or Failed, as SageMaker calls them."""
        if self.running:
            return "InProgress"
        if self._toolkit.stopped:
            return "Stopped"
        if (
            self._refused is not None or self.directory.failure.exists()
        ):  # the toolkit takes some failures of gloo for a success
            return "Failed"
        code = self._toolkit.wait()
        if code == 0:  # without a new bundle the script stopped at a checkpoint
            new = any(path.stat().st_mtime >= self._toolkit.began for path in self.bundle.rglob("*"))
            return "Completed" if new else "Stopped"
        return "Failed"

    def wait(self, *, quiet: bool = False) -> int:
        """Waits for the end, and prints the log as it comes unless `quiet`.

        Returns:
            0: it is done (or stopped by itself at a checkpoint); 130: it was stopped; else it failed, see `failure`.
        """
        if quiet:
            code = self._toolkit.wait()
        else:
            with Display(lambda: self.directory.progress) as display:
                lines = Lines(self.log, self._recipe, display.live)
                for line in self._toolkit.lines():
                    if (shown := lines.read(line)) is not None:
                        display.show(shown)
                code = self._toolkit.wait()
                if not code and not self.directory.failure.exists():
                    for line in lines.held:
                        display.show(line)
        self.directory.progress.unlink(missing_ok=True)
        if code == INTERRUPTED:
            self.directory.failure.unlink(missing_ok=True)  # the toolkit calls it a failure
        elif self._put_back is not None and self.status == "Failed":
            self._refused = failure_reason(self.directory)
            self._put_back()
            self._put_back = None
        return code or int(self._refused is not None or self.directory.failure.exists())

    def stop(self) -> None:
        """Stops the run as Ctrl-C does, and returns at once: it saves a checkpoint, from which `train` with the same
        job_name goes on."""
        self._toolkit.stop()

    def kill(self) -> None:
        """Ends the run at once; what came after the last checkpoint is lost."""
        self._toolkit.kill()

    @property
    def failure(self) -> str | None:
        """Why it failed, in one line; None where it did not."""
        return self._refused or (failure_reason(self.directory) if self.status == "Failed" else None)

    @property
    def bundle(self) -> Path:
        """Folder of the bundle; empty until the job is done."""
        return self.directory.bundle

    @property
    def report(self) -> Path:
        """The report, one HTML page."""
        return self.directory.data / "report.html"

    @property
    def log(self) -> Path:
        """All that the run has written, and those before it in this folder."""
        return self.directory.log

    @property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds: the scores of the best epoch, and how they came about.

        Raises:
            ThoraxError: the job has not come to its end, or the file is damaged.
        """
        file = self.directory.data / "metrics.json"
        try:
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ThoraxError(f"job {self.name} is {self.status} and has no metrics; wait for it to complete") from None
        except (OSError, ValueError, RecursionError):
            raise ThoraxError(f"{file} is damaged; train again under another job name") from None
        return found

    def results(self) -> dict[str, Path]:
        """What the run left, by name; only what is there."""
        left = {
            "bundle": self.bundle,
            "report": self.report,
            "metrics": self.directory.data / "metrics.json",
            "log": self.log,
        }
        return {what: path for what, path in left.items() if path.is_file() or (path.is_dir() and any(path.iterdir()))}


def train(
    recipe: Recipe | str,
    channels: Paths | None = None,
    *,
    hyperparameters: Mapping[str, object] | None = None,
    runs: str | Path = "runs",
    job_name: str | None = None,
    processes: int = 1,
) -> LocalJob:
    """Starts a training job on this machine, through SageMaker's own training toolkit.

    A job of that name which was stopped goes on from its checkpoint. A recipe of the package that is given no channel
    `train` trains on the synthetic images that it names.

        >>> from thorax_launch import local
        >>> with local.train("demo", hyperparameters={"epochs": 3}) as job:
        ...     job.wait()
        ...     job.metrics["test"]

    Args:
        recipe: what to train, or its name.
        channels: name (train, validation, test, weights ...) -> folder, or a file.
        hyperparameters: name -> value, put over the recipe's.
        runs: folder of all local jobs.
        job_name: default: the recipe's name and the time.
        processes: how many train together, under torchrun.

    Returns:
        The job, running.

    Raises:
        ThoraxError: wrong input, or SageMaker's training toolkit is not installed.
    """
    if processes < 1:
        raise ThoraxError(f"--processes {processes} must be 1 or more")
    recipe = Recipe.load(recipe) if isinstance(recipe, str) else recipe
    merged = recipe.merged(hyperparameters or {})
    check_weights_given(TrainingConfig.parse(merged), channels or {})
    directory = JobDirectory.named(Path(runs), job_name or dated(recipe.name))
    folders = channels_of(recipe, Path(runs), channels or {})
    resumed = directory.exists
    put_back = None
    if resumed:
        check_same(directory, merged)
        put_back = directory.keep() if directory.finished else None
    directory.lay_out(merged, folders, source_dir=paths.source_dir(), program=PROGRAM, processes=processes)
    write_whole(f"{recipe.name}\n".encode(), directory.recipe, "recipe's name")
    toolkit = Toolkit(directory, PROGRAM)
    toolkit.start()
    return LocalJob(directory, toolkit, resumed=resumed, recipe=recipe.hyperparameters, put_back=put_back)


def check_same(directory: JobDirectory, hyperparameters: Mapping[str, str]) -> None:
    """Refuses another run in a job's folder before anything in it is touched.

    Raises:
        ThoraxError: the folder's job was trained, or began to be, with values that give another result.
    """
    if not directory.finished and not any(directory.checkpoints.glob("checkpoint-*.pt")):
        return
    try:
        before = TrainingConfig.parse(directory.hyperparameters).identity()
    except ThoraxError:  # another version's: the trainer compares checkpoints
        return
    now = TrainingConfig.parse(dict(hyperparameters)).identity()
    other = [f"{name}={before.get(name)}, now {now[name]}" for name in now if before.get(name) != now[name]]
    if other:
        is_what = "is finished" if directory.finished else "has begun"
        more = f"; and {len(other) - 3} more" if len(other) > 3 else ""
        raise ThoraxError(
            f"job {directory.base.name} {is_what} with {'; '.join(other[:3])}{more}; it is left as it was: choose"
            " another --job-name, or the same values"
        )
