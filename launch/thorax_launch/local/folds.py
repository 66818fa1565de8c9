"""A cross-validation on this machine: a job for each fold, one after the other, then all folds together, then a refit.

Everything is in runs/NAME: fold-0 to fold-K-1 and refit, each a job's folder with its bundle in model/, and
out-of-fold, what all folds came to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thorax.config import TrainingConfig
from thorax.config.pretrained import check_weights_given
from thorax.errors import ThoraxError
from thorax_launch.local.channels import Paths, channels_of
from thorax_launch.local.job_directory import JobDirectory
from thorax_launch.local.jobs import LocalJob, train
from thorax_launch.local.toolkit import INTERRUPTED
from thorax_launch.names import dated
from thorax_launch.recipe import Recipe

if TYPE_CHECKING:
    from thorax.cross_validation import Gathered

#: In the folder of a cross-validation: its settings, and the folder of what all folds came to.
PLAN, OUT_OF_FOLD, REFIT = "cross-validation.json", "out-of-fold", "refit"
#: What thorax.cross_validation.gather writes for the refit.
FILE = "held_out.npz"


@dataclass
class LocalFolds:
    """A cross-validation in a folder of its own. `wait` runs what is left of it.

    Attributes:
        folder: of all folds.
        recipe: what is trained.
        channels: name -> folder.
        hyperparameters: name -> text, those of the folds alone left out.
        folds: how many.
        refit: whether all images are trained on at the end.
        processes: that train one job together.
    """

    folder: Path
    recipe: Recipe
    channels: Mapping[str, Path]
    hyperparameters: Mapping[str, str]
    folds: int
    refit: bool = False
    processes: int = 1
    _job: LocalJob | None = field(default=None, repr=False)
    _stopped: bool = field(default=False, repr=False)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def jobs(self) -> dict[str, JobDirectory]:
        """fold-0 ... fold-K-1 -> its job's folder."""
        return {f"fold-{fold}": JobDirectory(self.folder / f"fold-{fold}") for fold in range(self.folds)}

    @property
    def bundles(self) -> list[Path]:
        """The bundles of the finished folds, in order, as `thorax ensemble` takes them."""
        return [job.bundle for job in self.jobs.values() if job.finished]

    @property
    def bundle(self) -> Path:
        """The refit's bundle."""
        return self.folder / REFIT / "model"

    def wait(self, say: Callable[[str], None] = print, *, quiet: bool = False) -> int:
        """Trains the folds that are not finished, puts all together, and refits where that was asked for.

        Args:
            say: takes lines.
            quiet: do not show the jobs' logs.

        Returns:
            0, or 130 where it was stopped; the same call goes on with the fold that it was in.

        Raises:
            ThoraxError: a job failed; the message is its own.
        """
        for fold, (name, job) in enumerate(self.jobs.items()):
            if job.finished:
                say(f"{name} is done already: {job.bundle}")
            elif code := self._run(name, {"folds": self.folds, "fold": fold}, {}, say, quiet):
                return code
        found = self.gather(say)
        for line in found.lines():
            say(line)
        if not self.refit:
            return 0
        changes = {"epochs": found.held_out.epochs, "early_stopping": "false"}
        done = JobDirectory(self.folder / REFIT)
        if done.finished and done.hyperparameters.get("epochs") == str(found.held_out.epochs):
            say(f"{REFIT} is done already: {done.bundle}")
            return 0
        return self._run(REFIT, changes, {"held_out": found.folder / FILE}, say, quiet)

    def gather(self, say: Callable[[str], None] = print) -> Gathered:
        """All folds together, also written to out-of-fold/; see thorax.cross_validation.gather.

        Raises:
            ThoraxError: a fold is not finished.
        """
        from thorax.cross_validation import gather

        if unfinished := [name for name, job in self.jobs.items() if not job.finished]:
            raise ThoraxError(f"{', '.join(unfinished)} of {self.name} {_is(len(unfinished))} not finished")
        return gather([job.base for job in self.jobs.values()], self.folder / OUT_OF_FOLD, say)

    def stop(self) -> None:
        """Stops the job that runs as Ctrl-C does: it saves a checkpoint, from which the next `wait` goes on."""
        self._stopped = True
        if self._job:
            self._job.stop()

    def kill(self) -> None:
        """Ends the job that runs at once."""
        self._stopped = True
        if self._job:
            self._job.kill()

    def _run(
        self, name: str, changes: Mapping[str, object], channels: Paths, say: Callable[[str], None], quiet: bool
    ) -> int:
        if self._stopped:
            return INTERRUPTED
        self._job = train(
            self.recipe,
            {**self.channels, **channels},
            hyperparameters={**self.hyperparameters, **changes},
            runs=self.folder,
            job_name=name,
            processes=self.processes,
        )
        say(f"{name} {'goes on' if self._job.resumed else 'starts'} in {self._job.directory.base}")
        if self._stopped:  # between the question above and the start
            self._job.stop()
        code = self._job.wait(quiet=quiet)
        if self._job.failure:
            raise ThoraxError(f"{name}: {self._job.failure}")
        return 0 if self._job.status == "Completed" else code or INTERRUPTED


def cross_validate(
    recipe: Recipe | str,
    channels: Paths | None = None,
    *,
    folds: int = 5,
    refit: bool = False,
    hyperparameters: Mapping[str, object] | None = None,
    runs: str | Path = "runs",
    job_name: str | None = None,
    processes: int = 1,
) -> LocalFolds:
    """A cross-validation on this machine; `.wait()` runs it. One of that name goes on where it was.

        >>> from thorax_launch import local
        >>> found = local.cross_validate("pneumonia-resnet18", {"train": "images/train"}, folds=5, refit=True)
        >>> found.wait(), found.bundle

    Args:
        folds: the training images are cut by patient into so many.
        refit: train once more on all of them, for the median of the folds' best epochs.
        recipe, channels, hyperparameters, runs, job_name, processes: as of `train`. Channel `test` is scored by the
            refit alone.

    Raises:
        ThoraxError: wrong input, or a cross-validation of that name has other settings.
    """
    if processes < 1:
        raise ThoraxError(f"--processes {processes} must be 1 or more")
    recipe = Recipe.load(recipe) if isinstance(recipe, str) else recipe
    root = Path(runs)
    folder = _folder(root, job_name or dated(recipe.name))
    recipe.for_folds(folds, hyperparameters or {}, channels or {})
    given = channels_of(recipe, root, channels or {})
    merged = recipe.for_folds(folds, hyperparameters or {}, given)
    check_weights_given(TrainingConfig.parse(merged), given)
    paths = {name: str(path.resolve()) for name, path in given.items()}
    _same_plan(folder, {"folds": folds, "hyperparameters": merged, "channels": paths})
    return LocalFolds(folder, recipe, given, merged, folds, refit, processes)


def _folder(runs: Path, name: str) -> Path:
    """runs/name: a cross-validation's, or not there yet."""
    folder = runs.absolute() / Path(name).name
    if (folder / PLAN).is_file():
        return folder
    job = JobDirectory.named(runs, name)
    if job.exists:
        raise ThoraxError(f"--job-name {name}: that is a training job's folder; choose another name")
    return job.base


def _same_plan(folder: Path, plan: dict[str, Any]) -> None:
    """Writes the plan, or compares it with the one that is there.

    Raises:
        ThoraxError: another one is there, or the folder cannot be written.
    """
    file = folder / PLAN
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        before = None
    except (OSError, ValueError):
        raise ThoraxError(f"{file} cannot be read; choose another --job-name") from None
    if before is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise ThoraxError(f"--runs: {error.filename or folder} cannot be written: {error.strerror}") from None
        return
    if changed := _changed(before, plan):
        more = f"; and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ThoraxError(
            f"cross-validation {folder.name} has begun with {'; '.join(changed[:3])}{more}; it is left as it was:"
            " choose another --job-name, or the same values"
        )


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Each difference as "name=before, now after"; of hyperparameters those that give another result."""
    found = [f"folds={before.get('folds')}, now {now['folds']}"] if before.get("folds") != now["folds"] else []
    try:
        old, new = (TrainingConfig.parse(dict(plan["hyperparameters"])).identity() for plan in (before, now))
    except (ThoraxError, KeyError, TypeError):  # another version's
        old, new = before.get("hyperparameters", {}), now["hyperparameters"]
    for a, b, sign in ((old, new, ""), (before.get("channels", {}), now["channels"], "--")):
        names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
        found += [f"{sign}{name}={a.get(name)}, now {b.get(name)}" for name in names]
    return found


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
