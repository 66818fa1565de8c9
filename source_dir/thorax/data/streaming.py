"""Streaming: images of shards in an order that reads a disk or a bucket forward only, and still shuffles well.

The order of an epoch follows from seed, epoch, batch size and shuffle_buffer alone. The shards are shuffled and laid
end to end, and that row of images is cut into as many equal lanes as a global batch has images. Each step takes one
image of each lane, by way of a small shuffle buffer of its own. So a batch has images of many places, and yet each lane
is read from its start to its end in large pieces. Of W processes, process r reads the lanes r, r + W, r + 2W ...: the
batches are the same for any W, no image is read twice, and to go on at step k is to leave out the first k steps.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from thorax.data.columns import ByteRangeColumn
from thorax.data.loading import BatchRequest, TrainingBatches
from thorax.data.samples import SampleSet
from thorax.data.source import read_at
from thorax.errors import ThoraxError

#: Bytes that a process reads ahead, over all of its lanes, and the least and the most of one read.
AHEAD, LEAST, MOST = 32 << 20, 64 << 10, 4 << 20
#: Images of other parts are read over, rather than skipped by another read, where they take up to this many bytes.
HOLE = 128 << 10
#: Lanes that keep their file open between reads; more would reach the limit of open files.
KEPT_OPEN = 256
#: Threads that read, and global batches that are read ahead of the one that is asked for.
THREADS, BATCHES = 8, 2


def streams(wanted: bool | None, balanced: bool, images: SampleSet) -> bool:
    """Whether the images are read in order.

    Args:
        wanted: the hyperparameter `streaming`; None: where the images are in tar shards.
        balanced: they are drawn by class, which needs random places.

    Raises:
        ThoraxError: it is asked for, but each image is a file of its own.
    """
    sources = images.table.sources
    if not isinstance(sources, ByteRangeColumn):
        if wanted:
            raise ThoraxError(
                f"streaming=true but the images of {images.part} are files of their own, which have no order to be read"
                " in; pack them (thorax prepare pack), or leave streaming out"
            )
        return False
    if wanted is None:
        return not balanced and all(file.suffix == ".tar" for file in sources.columns[0])
    return wanted


def generator(seed: int, epoch: int) -> np.random.Generator:
    """Random numbers of one epoch's streaming; not those of `epoch_order` nor of any image's augmentation."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, 2, 0]))


def reading_order(sources: ByteRangeColumn, rng: np.random.Generator) -> np.ndarray:
    """(N,) images in the order of one epoch's reading: shards shuffled, each front to back, from a random image on."""
    _, which, offsets, _, _ = sources.columns
    place = rng.permutation(int(which.max(initial=0)) + 1)
    return np.roll(np.lexsort((offsets, place[which])), int(rng.integers(max(len(which), 1))))


def streaming_order(
    sources: ByteRangeColumn, batch_size: int, shuffle_buffer: int, seed: int, epoch: int
) -> np.ndarray:
    """(N,) a permutation of the images: one epoch's order, batch after batch.

    The last N % batch_size images fill no batch and are left out by the trainer: others in each epoch.

    Args:
        sources: where the images are.
        batch_size: images of a global batch.
        shuffle_buffer: images in all shuffle buffers together.
        seed, epoch: the same give the same order.
    """
    rng = generator(seed, epoch)
    row = reading_order(sources, rng)
    lanes = min(batch_size, len(row))
    steps = len(row) // lanes
    taken = _through_buffers(lanes, steps, max(1, shuffle_buffer // lanes), rng)
    return np.concatenate([row[taken + np.arange(lanes) * steps].ravel(), row[lanes * steps :]])


def _through_buffers(lanes: int, steps: int, depth: int, rng: np.random.Generator) -> np.ndarray:
    """(steps, lanes): which of a lane's images each step takes: a random one of `depth` that wait, which the next one
    then replaces."""
    depth = min(depth, steps)
    waiting = np.tile(np.arange(depth), (lanes, 1))
    taken = np.empty((steps, lanes), np.int64)
    every = np.arange(lanes)
    for step in range(steps):
        left = min(depth, steps - step)
        slot = (rng.random(lanes) * left).astype(np.int64)
        taken[step] = waiting[every, slot]
        waiting[every, slot] = step + depth if step + depth < steps else waiting[:, left - 1]
    return taken


class Lane:
    """One process's reader of one lane: reads forward in large pieces, keeps what is not asked for yet.

    Args:
        sources: where the images are.
        images: (n,) images of the lane in the order they will be asked for.
        place: (N,) each image's place in the epoch's order of reading.
        ahead: bytes of one read; a larger image is one read.
        keep_open: the file stays open between reads.
    """

    def __init__(
        self, sources: ByteRangeColumn, images: np.ndarray, place: np.ndarray, ahead: int, keep_open: bool
    ) -> None:
        self.sources, self.ahead, self.keep_open = sources, ahead, keep_open
        self.todo = images[np.argsort(place[images])].tolist()
        self.next = 0
        self.held: dict[int, bytes] = {}
        self._file: tuple[int, Path] | None = None

    def read_until(self, image: int) -> None:
        """Reads on until the image is held; raises ThoraxError where a shard cannot be read."""
        while image not in self.held:
            self._read_on()

    def _read_on(self) -> None:
        files, which, offsets, sizes, split = self.sources.columns
        first = self.todo[self.next]
        start, end = int(offsets[first]), int(offsets[first]) + int(sizes[first])
        run = [first]
        self.next += 1
        while self.next < len(self.todo):
            image = self.todo[self.next]
            a, b = int(offsets[image]), int(offsets[image]) + int(sizes[image])
            if which[image] != which[first] or a < end or a - end > HOLE or b - start > self.ahead:
                break
            run.append(image)
            end = b
            self.next += 1
        data = self._bytes(files[which[first]], start, end - start)
        for image in run:
            a, source = int(offsets[image]) - start, self.sources[image]
            # A RecordIO record in several parts is put together by its own reader.
            self.held[image] = source.read() if split[image] else source.checked(data[a : a + int(sizes[image])])

    def _bytes(self, file: Path, start: int, size: int) -> bytes:
        try:
            if self._file is None or self._file[1] != file:
                self.close()
                self._file = os.open(file, os.O_RDONLY), file
            data = read_at(self._file[0], size, start)
        except OSError as error:
            raise ThoraxError(f"{file} at byte {start} cannot be read: {error.strerror}") from None
        if len(data) < size:
            raise ThoraxError(f"{file} is cut short: it ends {size - len(data)} bytes before the end of its images")
        if not self.keep_open or self.next == len(self.todo):
            self.close()
        return data

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file[0])
            self._file = None


class StreamedBatches(TrainingBatches):
    """TrainingBatches with the bytes of this process's images in each request, read ahead by threads.

    One reader feeds all workers of a process: they decode, and none reads what another has read.

    Args:
        images: images in shards or RecordIO files.
        batch_size, shuffle_buffer, seed, epoch: see `streaming_order`.
        start: steps of the epoch that are done.
        rank, world_size: this process and how many there are.
    """

    def __init__(
        self,
        images: SampleSet,
        batch_size: int,
        shuffle_buffer: int,
        seed: int,
        epoch: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        assert isinstance(images.table.sources, ByteRangeColumn)
        self.sources, self.seed, self.rank, self.world_size = images.table.sources, seed, rank, world_size
        super().__init__(
            streaming_order(self.sources, batch_size, shuffle_buffer, seed, epoch), batch_size, epoch, start
        )

    def __iter__(self) -> Iterator[BatchRequest]:
        requests = list(super().__iter__())
        lanes = self._lanes([request.places for request in requests])
        with ThreadPoolExecutor(THREADS) as readers, ThreadPoolExecutor(1) as ahead:

            def read(request: BatchRequest) -> BatchRequest:
                mine = request.places[self.rank :: self.world_size].tolist()
                waiting = [(lane, image) for lane, image in zip(lanes, mine, strict=True) if image not in lane.held]
                list(readers.map(lambda pair: pair[0].read_until(pair[1]), waiting))
                encoded = [lane.held.pop(image) for lane, image in zip(lanes, mine, strict=True)]
                return replace(request, encoded=encoded)

            try:
                coming = deque(ahead.submit(read, request) for request in requests[:BATCHES])
                for request in requests[BATCHES:]:
                    done = coming.popleft().result()
                    coming.append(ahead.submit(read, request))
                    yield done
                while coming:
                    yield coming.popleft().result()
            finally:
                ahead.shutdown(cancel_futures=True)
                for lane in lanes:
                    lane.close()

    def _lanes(self, batches: Sequence[np.ndarray]) -> list[Lane]:
        if not batches:
            return []
        place = np.argsort(reading_order(self.sources, generator(self.seed, self.epoch)))
        images = np.stack(batches)[:, self.rank :: self.world_size]
        lanes = images.shape[1]
        ahead = min(MOST, max(LEAST, AHEAD // max(lanes, 1)))
        return [Lane(self.sources, images[:, k], place, ahead, lanes <= KEPT_OPEN) for k in range(lanes)]
