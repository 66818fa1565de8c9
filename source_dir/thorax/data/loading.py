"""Batches: the order of an epoch, each process's share of every global batch, and the workers that read images."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from thorax.data.augment import DOWN, DRAWS, RIGHT, draws_for
from thorax.data.columns import ByteRangeColumn
from thorax.data.images import DecodeError, DecoderMissing, Preprocessing, header
from thorax.data.samples import SampleSet
from thorax.data.shards import INDEX
from thorax.errors import ThoraxError


@dataclass(frozen=True)
class Batch:
    """One process's images of a step.

    Attributes:
        images: (n, H, W) uint8.
        draws: (n, DRAWS) float32; empty where nothing is random.
        indices: (n,) int64, places in the SampleSet.
        everyone: (N,) int64, places of the whole global batch, before it was shared out.
        corrupt: places of images that could not be read (only with skip_corrupt); their rows are all black.
        problem: why the batch could not be read; then the run ends with this line.
    """

    images: torch.Tensor
    draws: torch.Tensor
    indices: torch.Tensor
    everyone: torch.Tensor
    corrupt: tuple[int, ...] = ()
    problem: str = ""

    def pin_memory(self) -> Batch:
        return Batch(
            self.images.pin_memory(), self.draws.pin_memory(), self.indices, self.everyone, self.corrupt, self.problem
        )


def epoch_order(count: int, seed: int, epoch: int, weights: np.ndarray | None = None) -> np.ndarray:
    """(count,) indices in the order of one epoch: a permutation, or draws with replacement by `weights`."""
    rng = np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, 1, 0]))
    if weights is None:
        return rng.permutation(count)
    return rng.choice(count, size=count, p=weights / weights.sum())


def balanced_weights(images: SampleSet) -> np.ndarray:
    """(N,) weights that make every label combination equally likely; unknown labels count as absent."""
    _, inverse, counts = np.unique(
        np.nan_to_num(images.class_targets()), axis=0, return_inverse=True, return_counts=True
    )
    return 1.0 / counts[inverse.ravel()]


#: What Images is asked for: epoch, places of a global batch and, where they were read already, the bytes of this
#: process's images.
Item: TypeAlias = tuple[int, np.ndarray] | tuple[int, np.ndarray, list[bytes]]


class TrainingBatches(Sampler[Item]):
    """The global batches of one epoch from some step on; every process walks the same list.

    The last images of an epoch that do not fill a batch are left out (another epoch's order takes them in); a set
    smaller
    than one batch is one batch.
    """

    def __init__(self, order: np.ndarray, batch_size: int, epoch: int, start: int = 0) -> None:
        self.order, self.batch_size, self.epoch, self.start = order, min(batch_size, len(order)), epoch, start

    def __len__(self) -> int:
        return len(self.order) // self.batch_size - self.start

    def __iter__(self) -> Iterator[Item]:
        for step in range(self.start, len(self.order) // self.batch_size):
            yield self.epoch, self.order[step * self.batch_size : (step + 1) * self.batch_size]


class EvaluationBatches(Sampler[Item]):
    """This process's images in order, each image of the set in exactly one process: no padding, no duplicates.

    View 0 is the image as it is served; views 1, 2, ... are augmented, each image always in the same way.
    """

    def __init__(self, count: int, batch_size: int, rank: int, world_size: int, view: int = 0) -> None:
        self.mine, self.batch_size, self.view = np.arange(rank, count, world_size), batch_size, view

    def __len__(self) -> int:
        return -(-len(self.mine) // self.batch_size)

    def __iter__(self) -> Iterator[Item]:
        for start in range(0, len(self.mine), self.batch_size):
            yield -1 - self.view, self.mine[start : start + self.batch_size]


class ImageDataset(Dataset[Batch]):
    """Reads whole batches: index it with (epoch, global batch); epoch -1 is evaluation as served, -2, -3, ...

    Its augmented views.
    """

    def __init__(
        self,
        samples: SampleSet,
        preprocessing: Preprocessing,
        *,
        seed: int = 0,
        random_crop: bool = False,
        rank: int = 0,
        world_size: int = 1,
        skip_corrupt: bool = False,
    ) -> None:
        self.samples, self.preprocessing, self.seed = samples, preprocessing, seed
        self.random_crop, self.rank, self.world_size, self.skip_corrupt = random_crop, rank, world_size, skip_corrupt

    def __getitem__(self, item: Item) -> Batch:
        epoch, everyone, *read = item
        training, random = epoch >= 0, epoch != -1
        mine = everyone[self.rank :: self.world_size] if training else everyone
        images = np.zeros((len(mine), self.preprocessing.height, self.preprocessing.width), np.uint8)
        draws = (
            np.stack([draws_for(self.seed, epoch % 2**32, int(i)) for i in mine])
            if random and len(mine)
            else np.zeros((0, DRAWS), np.float32)
        )
        corrupt: list[int] = []
        for row, index in enumerate(mine):
            source = self.samples.table.sources[int(index)]
            image, name = read[0][row] if read else source, str(source)
            try:
                if random and self.random_crop and self.preprocessing.fit == "crop":
                    whole = self.preprocessing.uncropped(image, name)
                    images[row] = self.preprocessing.crop(
                        whole, name, float(draws[row, DOWN]), float(draws[row, RIGHT])
                    )
                else:
                    images[row] = self.preprocessing.image(image, name)
            except DecodeError as error:
                if not self.skip_corrupt:
                    return _failed(str(error))
                corrupt.append(int(index))
        return Batch(
            torch.from_numpy(images),
            torch.from_numpy(draws),
            torch.from_numpy(mine.astype(np.int64)),
            torch.from_numpy(everyone.astype(np.int64)),
            tuple(corrupt),
        )


def _failed(problem: str) -> Batch:
    nothing = torch.zeros(0, dtype=torch.int64)
    return Batch(nothing, nothing, nothing, nothing, problem=problem)


def loader(images: ImageDataset, batches: Sampler[Item], workers: int, pin: bool = False) -> Iterator[Batch]:
    """Reads `batches` in order with worker processes; an error in an image arrives as Batch.problem.

    Raises:
        ThoraxError: a worker was killed; torch may also say so outside, see `reading`.
    """
    with reading():
        yield from DataLoader(
            images,
            sampler=batches,
            batch_size=None,
            num_workers=workers,
            pin_memory=pin,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_start_worker if workers else None,
        )


@contextmanager
def reading() -> Iterator[None]:
    """Turns torch's word that a worker was killed into a ThoraxError.

    It comes wherever the main process is at that moment.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        told = str(error).splitlines()[0].strip().rstrip(".")
        raise ThoraxError(
            f"a process that reads images ended: {told}; memory has most likely run out: lower num_workers, or free"
            " memory or shared memory (/dev/shm)"
        ) from None


def _start_worker(_: int) -> None:
    """One thread each; signals to the whole group (Ctrl-C) are the main process's to answer: it saves first."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def check_headers(samples: SampleSet, preprocessing: Preprocessing, threads: int = 8) -> dict[int, str]:
    """Index -> reason of images that cannot be used, told by their first bytes: in seconds, before hours are spent.

    Images that are damaged further on are found when they are read. Shards with an index are passed over: all of their
    images were decoded when they were packed, and to look at each again would be to read a set that may not fit twice.

    Raises:
        DecoderMissing: an image needs a package that is not installed; to leave such images out would hide it.
    """
    sources = samples.table.sources
    if isinstance(sources, ByteRangeColumn) and all((file.parent / INDEX).is_file() for file in sources.columns[0]):
        return {}

    def look(index: int) -> tuple[int, str]:
        source = sources[index]
        try:
            told = header(source, str(source))
            if (
                preprocessing.fit == "crop"
                and not preprocessing.resize
                and (told.height < preprocessing.height or told.width < preprocessing.width)
            ):
                preprocessing.image(source)  # says so
        except DecoderMissing:
            raise
        except DecodeError as error:
            return index, str(error)
        return index, ""

    with ThreadPoolExecutor(threads) as pool:
        return {index: reason for index, reason in pool.map(look, range(len(samples)), chunksize=64) if reason}


def mean_std(samples: SampleSet, preprocessing: Preprocessing, workers: int) -> tuple[float, float]:
    """Mean and standard deviation of grey/255 over all pixels of all prepared images of the set, in 0..1."""
    total = squares = count = 0
    for batch in loader(
        ImageDataset(samples, preprocessing, skip_corrupt=True), EvaluationBatches(len(samples), 64, 0, 1), workers
    ):
        keep = ~torch.isin(batch.indices, torch.tensor(batch.corrupt, dtype=torch.int64))
        x = batch.images[keep].to(torch.int64)
        total, squares, count = total + int(x.sum()), squares + int((x * x).sum()), count + x.numel()
    mean = total / max(count, 1)
    return mean / 255.0, max((squares / max(count, 1) - mean * mean) ** 0.5, 1.0) / 255.0
