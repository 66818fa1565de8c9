"""Batches: the order of an epoch, each process's share of every global batch, and the workers that read images."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from thorax.data.augment import DOWN, DRAWS, RIGHT, Augmentation, draws_for
from thorax.data.columns import ByteRangeColumn
from thorax.data.decoders import RGB
from thorax.data.images import DecodeError, DecoderMissing, Preprocessing, header
from thorax.data.preprocessing import Levels
from thorax.data.samples import SampleSet
from thorax.data.shards import INDEX
from thorax.data.shared_memory import check_room, lack_of_room
from thorax.errors import ThoraxError


@dataclass(frozen=True)
class Batch:
    """One process's images of a step.

    Attributes:
        images: (n, H, W) uint8, in colour (n, H, W, 3); or float32 in 0..255 where the reader augments.
        draws: (n, DRAWS) float32; empty where nothing is random, or what they are for is done.
        indices: (n,) int64, places in the SampleSet.
        global_indices: (N,) int64, places of the whole global batch, before it was shared out.
        corrupt: places of images that could not be read (only with skip_corrupt); their rows are all black.
        problem: why the batch could not be read; then the run ends with this line.
        full: why the batch could not be handed over by a worker; it never leaves `loader`.
    """

    images: torch.Tensor
    draws: torch.Tensor
    indices: torch.Tensor
    global_indices: torch.Tensor
    corrupt: tuple[int, ...] = ()
    problem: str = ""
    full: str = ""

    def pin_memory(self) -> Batch:
        return replace(
            self, images=self.images.pin_memory(), draws=self.draws.pin_memory(), indices=self.indices.pin_memory()
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


@dataclass(frozen=True)
class BatchRequest:
    """What ImageDataset is asked for.

    Attributes:
        places: (N,) int64, places in the SampleSet: of a whole global batch in training, else of this process's images.
        epoch: the epoch of training, from 0; None: the images are evaluated.
        view: 0 as served; 1, 2, ... augmented, each image always in the same way. Only where they are evaluated.
        encoded: the bytes of this process's images, where they were read already.
    """

    places: np.ndarray
    epoch: int | None = None
    view: int = 0
    encoded: list[bytes] | None = None

    @property
    def random(self) -> bool:
        """Whether images are augmented."""
        return self.epoch is not None or self.view > 0

    def draws(self, seed: int, places: np.ndarray) -> np.ndarray:
        """(n, DRAWS) float32 in [0, 1): the random numbers of these images; (0, DRAWS) where nothing is random.

        Views count their random numbers down from the last epoch that there could be.
        """
        if not self.random or not len(places):
            return np.zeros((0, DRAWS), np.float32)
        epoch = 2**32 - 1 - self.view if self.epoch is None else self.epoch
        return np.stack([draws_for(seed, epoch, int(place)) for place in places])


class TrainingBatches(Sampler[BatchRequest]):
    """The global batches of one epoch from some step on; every process walks the same list.

    The last images of an epoch that do not fill a batch are left out (another epoch's order takes them in); a set
    smaller than one batch is one batch.
    """

    def __init__(self, order: np.ndarray, batch_size: int, epoch: int, start: int = 0) -> None:
        self.order, self.batch_size, self.epoch, self.start = order, min(batch_size, len(order)), epoch, start

    def __len__(self) -> int:
        return len(self.order) // self.batch_size - self.start

    def __iter__(self) -> Iterator[BatchRequest]:
        for step in range(self.start, len(self.order) // self.batch_size):
            yield BatchRequest(self.order[step * self.batch_size : (step + 1) * self.batch_size], self.epoch)


class EvaluationBatches(Sampler[BatchRequest]):
    """This process's images in order, each image of the set in exactly one process: no padding, no duplicates.

    See BatchRequest for `view`.
    """

    def __init__(self, count: int, batch_size: int, rank: int, world_size: int, view: int = 0) -> None:
        self.mine, self.batch_size, self.view = np.arange(rank, count, world_size), batch_size, view

    def __len__(self) -> int:
        return -(-len(self.mine) // self.batch_size)

    def __iter__(self) -> Iterator[BatchRequest]:
        for start in range(0, len(self.mine), self.batch_size):
            yield BatchRequest(self.mine[start : start + self.batch_size], view=self.view)


class ImageDataset(Dataset[Batch]):
    """Reads whole batches: index it with a BatchRequest.

    Args:
        augment: is applied to random images as they are read; None: whoever takes the batch does it, by its draws.
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
        augment: Augmentation | None = None,
    ) -> None:
        self.samples, self.preprocessing, self.seed, self.augment = samples, preprocessing, seed, augment
        self.random_crop, self.rank, self.world_size, self.skip_corrupt = random_crop, rank, world_size, skip_corrupt

    def __getitem__(self, request: BatchRequest) -> Batch:
        mine = request.places if request.epoch is None else request.places[self.rank :: self.world_size]
        images = np.zeros((len(mine), *self.preprocessing.shape), np.uint8)
        draws = request.draws(self.seed, mine)
        corrupt: list[int] = []
        for row, index in enumerate(mine):
            source = self.samples.table.sources[int(index)]
            image, name = request.encoded[row] if request.encoded else source, str(source)
            try:
                if request.random and self.random_crop and self.preprocessing.fit == "crop":
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
            except Exception as error:  # no mistake of the image's that we know: it is named, and the log has the rest
                traceback.print_exc()
                return _failed(f"{name} cannot be read: {type(error).__name__}: {error}")
        pixels, numbers = torch.from_numpy(images), torch.from_numpy(draws)
        if self.augment is not None and len(numbers):
            pixels, numbers = self.augment(pixels, numbers), numbers[:0]
        return Batch(
            pixels,
            numbers,
            torch.from_numpy(mine.astype(np.int64)),
            torch.from_numpy(request.places.astype(np.int64)),
            tuple(corrupt),
        )


def _failed(problem: str) -> Batch:
    nothing = torch.zeros(0, dtype=torch.int64)
    return Batch(nothing, nothing, nothing, nothing, problem=problem)


def loader(
    images: Dataset[Batch], batches: Iterable[BatchRequest], workers: int, pin: bool = False, ahead: int | None = None
) -> Iterator[Batch]:
    """Reads `batches` in order with worker processes, which start at once and end with the iterator.

    An error in an image arrives as Batch.problem.

    Args:
        pin: into pinned memory, for a GPU.
        ahead: batches that each worker reads ahead, all in shared memory; None: 4, and 2 where there are many workers.

    Raises:
        ThoraxError: a worker was killed; torch may also say so outside, see `reading`.
    """
    ahead = (4 if workers <= 4 else 2) if ahead is None else ahead
    check_room(workers)
    with reading():
        source = iter(
            DataLoader(
                _HandedOver(images) if workers else images,
                sampler=batches,
                batch_size=None,
                num_workers=workers,
                pin_memory=pin,
                prefetch_factor=ahead if workers else None,
                worker_init_fn=_start_worker if workers else None,
            )
        )
    return _read(source)


class _HandedOver(Dataset[Batch]):
    """Batches of a worker: one for which shared memory has no room becomes a problem, and is not lost."""

    def __init__(self, images: Dataset[Batch]) -> None:
        self.images = images

    def __getitem__(self, request: BatchRequest) -> Batch:
        batch, worker = self.images[request], get_worker_info()
        tensors = (batch.images, batch.draws, batch.indices, batch.global_indices)
        problem = lack_of_room(tensors, worker.num_workers if worker else 1)
        return replace(_failed(""), full=problem) if problem else batch


def _read(source: Iterator[Batch]) -> Iterator[Batch]:
    with reading():
        for batch in source:
            if batch.full:
                raise ThoraxError(batch.full)
            yield batch


@contextmanager
def reading() -> Iterator[None]:
    """Turns torch's error about a killed worker, raised wherever the main process is, into a ThoraxError."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        reason = str(error).splitlines()[0].strip().rstrip(".")
        raise ThoraxError(
            f"a process that reads images ended: {reason}; memory has most likely run out: lower num_workers, or free"
            " memory or shared memory (/dev/shm)"
        ) from None


def _start_worker(_: int) -> None:
    """One thread each; signals to the whole group (Ctrl-C) are the main process's to answer: it saves first."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def check_headers(samples: SampleSet, preprocessing: Preprocessing, threads: int = 8) -> dict[int, str]:
    """Index -> reason of images that cannot be used, from their first bytes alone: in seconds, before hours are spent.

    Images that are damaged further on are found when they are read. Shards with an index are passed over: all of their
    images were decoded when they were packed.

    Raises:
        DecoderMissing: an image needs a package that is not installed; to leave such images out would hide it.
    """
    sources = samples.table.sources
    if isinstance(sources, ByteRangeColumn) and all((file.parent / INDEX).is_file() for file in sources.columns[0]):
        return {}

    def look(index: int) -> tuple[int, str]:
        source = sources[index]
        try:
            info = header(source, str(source))
            if (
                preprocessing.fit == "crop"
                and not preprocessing.resize
                and (info.height < preprocessing.height or info.width < preprocessing.width)
            ):
                preprocessing.image(source)  # raises
        except DecoderMissing:
            raise
        except DecodeError as error:
            return index, str(error)
        return index, ""

    with ThreadPoolExecutor(threads) as pool:
        return {index: reason for index, reason in pool.map(look, range(len(samples)), chunksize=64) if reason}


def mean_std(samples: SampleSet, preprocessing: Preprocessing, workers: int) -> tuple[Levels, Levels]:
    """Mean and standard deviation of level/255 over all pixels of all prepared images of the set, in 0..1; in colour
    of each channel."""
    total = squares = torch.zeros(3 if preprocessing.color == RGB else 1, dtype=torch.int64)
    count = 0
    for batch in loader(
        ImageDataset(samples, preprocessing, skip_corrupt=True), EvaluationBatches(len(samples), 64, 0, 1), workers
    ):
        keep = ~torch.isin(batch.indices, torch.tensor(batch.corrupt, dtype=torch.int64))
        x = batch.images[keep].reshape(-1, len(total)).to(torch.int64)
        total, squares, count = total + x.sum(0), squares + (x * x).sum(0), count + len(x)
    means = [channel / max(count, 1) for channel in total.tolist()]
    spread = [squared / max(count, 1) - mean * mean for squared, mean in zip(squares.tolist(), means, strict=True)]
    mean, std = tuple(m / 255.0 for m in means), tuple(max(max(s, 0.0) ** 0.5, 1.0) / 255.0 for s in spread)
    return (mean, std) if len(mean) == 3 else (mean[0], std[0])
