"""Room in shared memory for the batches that reading workers hand over.

Where /dev/shm is full torch loses the batch, and the run waits for it for ever: a container has 64 MB by default.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from thorax.errors import ThoraxError
from thorax.text import counted, size

SHARED = Path("/dev/shm")
#: Seconds that a worker waits for room before it gives up.
PATIENCE = 30.0


def check_room(workers: int, folder: Path = SHARED) -> None:
    """Refuses shared memory that has no room for the semaphores between a process and its workers.

    Raises:
        ThoraxError: it has not.
    """
    needed = os.sysconf("SC_PAGE_SIZE") * (3 * workers + 8)  # three of each queue, five of an event: a page each
    free, whole = _free(folder)
    if workers and whole and free < needed:
        raise ThoraxError(_told(workers, free, whole, needed, folder))


def lack_of_room(tensors: Iterable[torch.Tensor], workers: int, folder: Path = SHARED) -> str:
    """Waits until every worker could put such tensors into shared memory at once; why that will not be, or "".

    Args:
        tensors: of one batch.
        workers: that may be about to do the same.
        folder: where shared memory is; a system without it has room.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    needed = workers * sum(-(-tensor.nbytes // page) * page for tensor in tensors)
    end = time.monotonic() + PATIENCE
    while True:
        free, whole = _free(folder)
        if not whole or free >= needed:
            return ""
        if whole < needed or time.monotonic() > end:
            return _told(workers, free, whole, needed, folder)
        time.sleep(0.05)


def _free(folder: Path) -> tuple[int, int]:
    """(free, whole) bytes; (0, 0) where nothing limits them: no such folder, or a tmpfs without a limit."""
    try:
        about = os.statvfs(folder)
    except OSError:
        return 0, 0
    return about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize


def _told(workers: int, free: int, whole: int, needed: int, folder: Path) -> str:
    return (
        f"shared memory is too small for {counted(workers, 'reading worker')}: {folder} has {size(free)} free of"
        f" {size(whole)}, {size(needed)} are needed; set num_workers=0, or enlarge it (docker run --shm-size=1g); a"
        " smaller batch_size needs less"
    )
