"""Work on many images by several processes, in order and with bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.process import BaseProcess
from typing import TypeVar

from thorax.errors import ThoraxError

#: Images that a process gets at once, and how many such tasks wait for each process.
CHUNK, WAITING = 8, 4
T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Iterable[T], processes: int) -> Iterator[R]:
    """`work` of every item, in their order; a few results wait in memory, never all.

    Args:
        work: a function that can be pickled, where there are several processes.
        items: what it takes.
        processes: 1 works in this process.

    Raises:
        ThoraxError: a process died.
    """
    if processes == 1:
        yield from map(work, items)
        return
    left = iter(items)
    with ProcessPoolExecutor(processes, initializer=_start) as pool:
        waiting: deque[Future[list[R]]] = deque()
        try:
            while True:
                while len(waiting) < processes * WAITING and (chunk := list(islice(left, CHUNK))):
                    waiting.append(pool.submit(_work_on_all, work, chunk))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            raise ThoraxError(
                "a process that reads images died, perhaps for want of memory; give --processes 1 to see at which image"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Leaves Ctrl-C to the main process, and ends this one when that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _work_on_all(work: Callable[[T], R], items: list[T]) -> list[R]:
    return [work(item) for item in items]
