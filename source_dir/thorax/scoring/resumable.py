"""Many images through a classifier: workers read ahead, several forward passes run at once, and a run that was killed
goes on where it was."""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from thorax.data.loading import Batch, BatchRequest, ImageDataset, loader
from thorax.data.samples import SampleSet
from thorax.errors import ThoraxError
from thorax.scoring.options import BatchOptions
from thorax.serving.classifier import Classifier
from thorax.text import counted
from thorax.tracking.progress import Progress, say

_APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def score_all(
    classifier: Classifier, images: SampleSet, partial: Path, identity: dict[str, Any], options: BatchOptions
) -> tuple[np.ndarray, dict[int, str]]:
    """Scores every image, in batches that are the same whenever the run is stopped and taken up again.

    Args:
        classifier: scores the images; several threads call it.
        images: all of them.
        partial: file of the batches that are done; it is left there.
        identity: what makes two runs the same one; another identity in `partial` starts anew.
        options: see there; workers None is 0, threads None is 1 and batch None is the classifier's.

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
        size = options.batch or classifier.batch
        starts = range(0, len(images), size)
        left = [np.arange(start, min(start + size, len(images))) for start in starts][len(done.batches) :]
        progress = Progress("scoring", len(images), start=len(images) - sum(map(len, left)), every=15.0)
        reader = ImageDataset(images, classifier.bundle.preprocessing, skip_corrupt=True)
        requests = [BatchRequest(places) for places in left]
        loaded = loader(reader, requests, (options.workers or 0) if left else 0)
        for read, rows in _passes(classifier.score, loaded, options.threads or 1):
            places, corrupt = read.indices.numpy(), set(read.corrupt)
            rows[[k for k, place in enumerate(places) if int(place) in corrupt]] = np.nan
            reasons = {place: _why(reader, place) for place in sorted(corrupt)}
            done.add(places, rows, reasons)
            result[places] = rows
            unreadable |= reasons
            progress.step(count=len(places))
        progress.close()
    return result, unreadable


def _passes(
    score: Callable[[np.ndarray], np.ndarray], batches: Iterator[Batch], at_once: int
) -> Iterator[tuple[Batch, np.ndarray]]:
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


def _why(reader: ImageDataset, place: int) -> str:
    """Why that image cannot be read."""
    strict = ImageDataset(reader.samples, reader.preprocessing)
    return strict[BatchRequest(np.array([place]))].problem or "cannot be read"


class Partial:
    """The batches that are done: a file of lines that only grows, each a CRC-32 and JSON. A line that a kill cut short
    is dropped; so is one whose bytes have changed since, with all after it.

    Attributes:
        batches: (places, (n, L) probabilities, reasons by place) of each batch that is done, in order.
    """

    def __init__(self, file: Path, identity: dict[str, Any]) -> None:
        self.file, self.identity = file, identity
        self.batches: list[tuple[np.ndarray, np.ndarray, dict[int, str]]] = []

    def __enter__(self) -> Partial:
        try:
            self._out = os.fdopen(os.open(self.file, _APPEND, 0o600), "a+b")
            fcntl.flock(self._out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ThoraxError(f"another run is writing to {self.file}; wait for it, or choose another --out") from None
        except OSError as error:
            raise ThoraxError(f"{self.file} cannot be written: {error.strerror}") from None
        self._out.seek(0)
        lines = self._out.read().split(b"\n")[:-1]  # what follows the last line's end was cut short
        if lines and lines[0] != self._header():
            say(f"{self.file} is of other images, another bundle or other settings: starting anew")
            lines = []
        for number, line in enumerate(lines[1:], 1):
            if (batch := self._read(line)) is None:
                anew = counted(len(lines) - number, "batch", "batches")
                say(f"warning: {self.file} line {number + 1} is damaged: {anew} anew")
                lines = lines[:number]
                break
            self.batches.append(batch)
        self._out.truncate(sum(len(line) + 1 for line in lines))
        if not lines:
            self._write(self._header())
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()

    def add(self, places: np.ndarray, rows: np.ndarray, reasons: dict[int, str]) -> None:
        stored = {"places": [int(places[0]), int(places[-1]) + 1], "rows": rows.tolist(), "unreadable": reasons}
        line = json.dumps(stored).encode()
        self._write(b"%08x %b" % (zlib.crc32(line), line))

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
    def _read(line: bytes) -> tuple[np.ndarray, np.ndarray, dict[int, str]] | None:
        """None where the line is not as it was written."""
        checksum, _, text = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(text):
            return None
        stored = json.loads(text)
        return (
            np.arange(*stored["places"]),
            np.array(stored["rows"], np.float32),
            {int(k): why for k, why in stored["unreadable"].items()},
        )
