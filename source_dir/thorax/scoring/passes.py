"""Many images through a classifier.

Workers read ahead, several forward passes run at once, and what is done survives a kill.
"""

from __future__ import annotations

import fcntl
import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from thorax.data.images import Preprocessing
from thorax.data.loading import Batch, BatchRequest, ImageDataset, loader
from thorax.data.samples import SampleSet
from thorax.errors import ThoraxError
from thorax.tracking.progress import Progress

#: Prepared images (n, height, width) uint8 -> (n, L) float32 probabilities; called by several threads.
Score = Callable[[np.ndarray], np.ndarray]


def score_all(
    score: Score,
    preprocessing: Preprocessing,
    images: SampleSet,
    partial: Path,
    *,
    identity: dict[str, Any],
    batch: int,
    workers: int,
    at_once: int,
) -> tuple[np.ndarray, dict[int, str]]:
    """Scores every image, in batches that are the same whenever the run is stopped and taken up again.

    Args:
        score: the classifier's.
        preprocessing: how images are read.
        images: which.
        partial: file for what is done so far; it is left there.
        identity: what makes two runs the same one; another identity in `partial` starts anew.
        batch: images of a forward pass.
        workers: processes that read ahead.
        at_once: forward passes at once.

    Returns:
        (N, L) float32 probabilities, NaN for images that cannot be read; and why, by their places.

    Raises:
        ThoraxError: another run writes to `partial`, or the disk is full.
    """
    result = np.full((len(images), len(images.space.outputs)), np.nan, np.float32)
    unreadable: dict[int, str] = {}
    with Partial(partial, identity) as done:
        for places, rows, reasons in done.batches:
            result[places] = rows
            unreadable |= reasons
        everything = [np.arange(start, min(start + batch, len(images))) for start in range(0, len(images), batch)]
        left = everything[len(done.batches) :]
        progress = Progress("images", len(images), len(images) - sum(map(len, left)), shown=True, every=15.0)
        reader = ImageDataset(images, preprocessing, skip_corrupt=True)
        batches = loader(reader, [BatchRequest(places) for places in left], workers if left else 0)
        for read, rows in _passes(score, batches, at_once):
            places, corrupt = read.indices.numpy(), set(read.corrupt)
            rows[[k for k, place in enumerate(places) if int(place) in corrupt]] = np.nan
            reasons = {place: _why(images, preprocessing, place) for place in sorted(corrupt)}
            done.add(places, rows, reasons)
            result[places] = rows
            unreadable |= reasons
            for _ in places:
                progress.step()
        progress.close()
    return result, unreadable


def _passes(score: Score, batches: Iterator[Batch], at_once: int) -> Iterator[tuple[Batch, np.ndarray]]:
    """Every batch with its probabilities, in order; `at_once` of them are worked on at a time."""
    with ThreadPoolExecutor(at_once) as pool:
        waiting: deque[tuple[Batch, Future[np.ndarray]]] = deque()
        for batch in batches:
            waiting.append((batch, pool.submit(score, batch.images.numpy())))
            if len(waiting) > 2 * at_once:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


def _why(images: SampleSet, preprocessing: Preprocessing, place: int) -> str:
    return ImageDataset(images, preprocessing)[BatchRequest(np.array([place]))].problem or "cannot be read"


class Partial:
    """What is done so far: a file of JSON lines that only grows. A line that a kill cut short is dropped.

    Attributes:
        batches: (places, (n, L) probabilities, reasons by place) of each batch that is done, in order.
    """

    def __init__(self, file: Path, identity: dict[str, Any]) -> None:
        self.file, self.identity = file, identity
        self.batches: list[tuple[np.ndarray, np.ndarray, dict[int, str]]] = []

    def __enter__(self) -> Partial:
        try:
            self._out = self.file.open("a+b")
            fcntl.flock(self._out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ThoraxError(f"another run is writing to {self.file}; wait for it, or choose another --out") from None
        except OSError as error:
            raise ThoraxError(f"{self.file} cannot be written: {error.strerror}") from None
        self._out.seek(0)
        lines = self._out.read().split(b"\n")[:-1]  # what follows the last line's end was cut short
        if lines and lines[0] != self._header():
            print(f"{self.file} is of other images, another bundle or other settings: starting anew", flush=True)
            lines = []
        self.batches = [self._read(line) for line in lines[1:]]
        self._out.truncate(sum(len(line) + 1 for line in lines))
        if not lines:
            self._write(self._header())
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()

    def add(self, places: np.ndarray, rows: np.ndarray, reasons: dict[int, str]) -> None:
        stored = {"places": [int(places[0]), int(places[-1]) + 1], "rows": rows.tolist(), "unreadable": reasons}
        self._write(json.dumps(stored).encode())

    def _header(self) -> bytes:
        return json.dumps(self.identity, sort_keys=True).encode()

    def _write(self, line: bytes) -> None:
        try:
            self._out.write(line + b"\n")
            self._out.flush()
        except OSError as error:
            raise ThoraxError(
                f"{self.file} cannot be written: {error.strerror}; free some space, the same command then goes on"
            ) from None

    @staticmethod
    def _read(line: bytes) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        stored = json.loads(line)
        return (
            np.arange(*stored["places"]),
            np.array(stored["rows"], np.float32),
            {int(k): why for k, why in stored["unreadable"].items()},
        )
