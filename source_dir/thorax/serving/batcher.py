"""Batches of the images of many requests: one forward pass for all that wait, each image with its own result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from thorax.serving.clients import UNKNOWN
from thorax.serving.turns import FairQueue

#: Seconds for which a client that has asked counts as one that asks, and how many times smaller batches are then where
#: one has many images.
RECENT, SMALLER = 1.0, 8
#: Prepared images of one shape and type -> (N, L) probabilities.
Score = Callable[[np.ndarray], np.ndarray]


@dataclass
class _Image:
    pixels: np.ndarray
    arrived: float = field(default_factory=time.monotonic)
    result: Future[np.ndarray] = field(default_factory=Future)


class Batcher:
    """Threads that score images as they come.

    A free thread takes all images that wait, up to `max_batch`. It waits for more only while the images of some known
    request are still being read, and at most `max_wait` seconds from the first image's arrival: a single caller never
    waits.

    Args:
        score: the forward pass; called from several threads at once.
        max_batch: images of one forward pass, at most.
        max_wait: seconds.
        workers: threads.
        on_batch: called with the size of every batch.
    """

    def __init__(
        self,
        score: Score,
        *,
        max_batch: int,
        max_wait: float,
        workers: int,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._score, self._max_batch, self._max_wait, self._on_batch = score, max_batch, max_wait, on_batch
        self._images: FairQueue[_Image] = FairQueue()
        self._recent: dict[str, float] = {}  # clients, and when each asked last
        self._coming = 0
        self._closed = False
        self._changed = threading.Condition()
        self._running: dict[int, float] = {}
        self.failures = 0  #: forward passes that failed since the last good one
        self.last_good = float("-inf")  #: when the last one succeeded, on the monotonic clock
        self._threads = [
            threading.Thread(target=self._work, args=(k,), name=f"forward-{k}", daemon=True) for k in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def expect(self) -> PendingRequest:
        """Announces a request whose images are still being read: see PendingRequest."""
        with self._changed:
            self._coming += 1
        return PendingRequest(self)

    def score(
        self, images: Sequence[np.ndarray], timeout: float | None = None, client: str | None = UNKNOWN
    ) -> np.ndarray:
        """(N, L) probabilities of prepared images, each in whatever batch it falls into.

        Args:
            images: prepared.
            timeout: seconds.
            client: for whom (see Clients); None: for the server itself, before all others.

        Raises:
            TimeoutError: not within `timeout` seconds.
            RuntimeError: the batcher is closed.
            Exception: what the forward pass raised for one of them.
        """
        waiting = [_Image(pixels) for pixels in images]
        with self._changed:
            if self._closed:
                raise RuntimeError("the server is stopping")
            if client is not None:
                self._recent[client] = time.monotonic()
            for image in waiting:
                if client is None:
                    self._images.push_first(image)
                else:
                    self._images.push(client, image)
            self._changed.notify_all()
        end = None if timeout is None else time.monotonic() + timeout
        try:
            return np.stack(
                [image.result.result(None if end is None else max(0.0, end - time.monotonic())) for image in waiting]
            )
        finally:
            for image in waiting:
                image.result.cancel()  # after a timeout they are not scored any more

    def stuck(self, seconds: float) -> bool:
        """Whether a thread is gone, or a forward pass runs for longer than that."""
        now = time.monotonic()
        return not all(thread.is_alive() for thread in self._threads) or any(
            now - began > seconds for began in list(self._running.values())
        )

    def close(self) -> None:
        """Scores what waits, then ends the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=30)

    def arrived(self) -> None:
        """The images of one announced request are there, or never will be."""
        with self._changed:
            self._coming -= 1
            self._changed.notify_all()

    def _work(self, number: int) -> None:
        while (batch := self._next()) is not None:
            if batch:
                self._running[number] = time.monotonic()
                self._run(batch)
                del self._running[number]

    def _next(self) -> list[_Image] | None:
        """The next batch; empty if another thread was faster, None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._images) or self._closed)
            while len(self._images) and len(self._images) < self._max_batch and self._coming and not self._closed:
                left = self._images.first().arrived + self._max_wait - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            if not len(self._images):
                return None if self._closed else []
            taken = self._take()
        return [image for image in taken if image.result.set_running_or_notify_cancel()]

    def _take(self) -> list[_Image]:
        """The images of the next batch. Where a client has many waiting beside others, batches are small: whoever comes
        meanwhile waits for what is being scored, and then goes before them."""
        now = time.monotonic()
        self._recent = {client: asked for client, asked in self._recent.items() if now - asked < RECENT}
        crowded = len(self._recent) > 1 and self._images.longest() > max(1, self._max_batch // len(self._recent))
        most = max(1, self._max_batch // SMALLER) if crowded else self._max_batch
        return [self._images.pop() for _ in range(min(len(self._images), most))]

    def _run(self, batch: list[_Image]) -> None:
        """One forward pass for all images of one shape and type: a request may send tensors that are normalised."""
        alike: dict[tuple[object, ...], list[_Image]] = {}
        for image in batch:
            alike.setdefault((image.pixels.shape, image.pixels.dtype), []).append(image)
        for images in alike.values():
            self._score_together(images)

    def _score_together(self, batch: list[_Image]) -> None:
        """One forward pass; if it fails, one for each image, so that an image fails only by itself."""
        try:
            rows = self._score(np.stack([image.pixels for image in batch]))
        except Exception as error:
            self.failures += 1
            for image in batch:
                if len(batch) > 1:
                    self._score_together([image])
                else:
                    image.result.set_exception(error)
            return
        self.failures, self.last_good = 0, time.monotonic()
        self._on_batch(len(batch))
        for image, row in zip(batch, rows, strict=True):
            image.result.set_result(row)


class PendingRequest:
    """One announced request, from its first byte until its images are there; a context manager.

    A batch may wait for it meanwhile.
    """

    def __init__(self, batcher: Batcher) -> None:
        self._batcher: Batcher | None = batcher

    def arrive(self) -> None:
        """The images are there, or never will be."""
        batcher, self._batcher = self._batcher, None
        if batcher is not None:
            batcher.arrived()

    def __enter__(self) -> PendingRequest:
        return self

    def __exit__(self, *error: object) -> None:
        self.arrive()
