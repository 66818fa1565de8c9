"""The units of a job: which are done, which are this machine's, and waiting for those of the others."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thorax.data.color import ColorSample, sample_colors, sampled
from thorax.data.source import Source
from thorax.dataset.cluster.machines import Machine
from thorax.dataset.cluster.plan import ClusterPlan
from thorax.dataset.cluster.skeleton import Skeletons
from thorax.dataset.cluster.store import Store
from thorax.errors import ThoraxError

#: Seconds between looks for the others' units: at first, and at most.
FIRST_POLL, MOST_POLL = 0.2, 15.0
#: Seconds without a new unit of the others after which the first machine gives up, so that no job waits for ever.
PATIENCE = 3600.0
#: Below a plan's state: what all came to, and why machines of a job failed.
RESULT, FAILED = "result.json", "failed/"


@dataclass(frozen=True)
class ClusterJob:
    """One machine's view of a job.

    Attributes:
        name: of the SageMaker job.
        args: the command's flags, with folders for places.
        work: a folder for files of this machine.
    """

    name: str
    plan: ClusterPlan
    machine: Machine
    store: Store
    skeletons: Skeletons
    args: argparse.Namespace
    work: Path

    def done(self, stage: str) -> Mapping[str, int]:
        """Names of the finished units of a stage."""
        return self.store.sizes(f"{self.plan.state}{stage}/")

    def save(self, stage: str, unit: str, data: bytes) -> None:
        """Notes what a unit came to, which makes it finished."""
        self.store.write(f"{self.plan.state}{stage}/{unit}", data)

    def load(self, stage: str, unit: str) -> bytes:
        """See save."""
        return self.store.read(f"{self.plan.state}{stage}/{unit}")

    def with_images(self, stage: str, todo: Sequence[int], sources: Sequence[Sequence[Source]]) -> Iterator[int]:
        """Each of the units `todo` in turn, while its images are there.

        Args:
            stage: what the units are of, for a line.
            sources: of all units.

        Raises:
            ThoraxError: images lie in larger files, are gone or were changed.
        """
        paths = [[_path(source) for source in sources[k]] for k in todo]
        print(f"{self.machine}: {stage}: {len(todo)} of {len(sources)} units to do here", flush=True)
        for at, (k, images) in enumerate(zip(todo, paths, strict=True), 1):
            with self.skeletons.content(images):
                yield k
            print(f"{self.machine}: {stage}: unit {k} is done, {len(todo) - at} to go", flush=True)

    def sample(self, sources: Sequence[Source]) -> ColorSample:
        """Whether a sample of the images carries colour; every machine looks at the same ones.

        Raises:
            ThoraxError: as with_images.
        """
        with self.skeletons.content([_path(sources[place]) for place in sampled(len(sources))]):
            return sample_colors(sources)

    def wait_for(self, stage: str, units: Sequence[str]) -> None:
        """Returns once all units of a stage are finished.

        Raises:
            ThoraxError: another machine failed, or none has finished a unit for PATIENCE seconds.
        """
        pause, missing, since = FIRST_POLL, set(units), time.monotonic()
        while left := missing - self.done(stage).keys():
            if len(left) < len(missing):
                missing, since, pause = left, time.monotonic(), FIRST_POLL
                print(f"{self.machine}: {stage}: waiting for {len(left)} units of the other machines", flush=True)
            if failed := self.store.sizes(f"{self.plan.state}{FAILED}{self.name}/"):
                which = sorted(failed)[0]
                raise ThoraxError(self.store.read(f"{self.plan.state}{FAILED}{self.name}/{which}").decode())
            if time.monotonic() - since > PATIENCE:
                raise ThoraxError(
                    f"the other machines have finished no unit of {stage} for {PATIENCE / 60:.0f} minutes"
                )
            time.sleep(pause)
            pause = min(1.5 * pause, MOST_POLL)

    def fail(self, why: str) -> None:
        """Tells the first machine that this one failed, and why."""
        self.store.write(f"{self.plan.state}{FAILED}{self.name}/{self.machine.rank:03d}", why.encode())


def _path(source: Source) -> Path:
    if isinstance(source, Path):
        return source
    raise ThoraxError(
        f"{source}: several machines share images that are objects of their own, not parts of larger ones"
    )
