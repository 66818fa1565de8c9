"""The process group: start and end, stopping together, and gathering each image's logits exactly once."""

from __future__ import annotations

import datetime
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from thorax.errors import ThoraxError
from thorax.job import Process

T = TypeVar("T")


def device_of(process: Process) -> torch.device:
    """This process's GPU, or the CPU where there is none.

    Raises:
        ThoraxError: there are more processes than GPUs.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if process.local_world_size > torch.cuda.device_count():  # nccl refuses two processes on one GPU
        raise ThoraxError(
            f"processes={process.local_world_size} on a machine with {torch.cuda.device_count()} GPUs: each process"
            " needs its own; start fewer, or set CUDA_VISIBLE_DEVICES= to train on the CPUs"
        )
    return torch.device("cuda", process.local_rank)


@contextmanager
def process_group(process: Process, device: torch.device) -> Iterator[None]:
    """Joins the run's processes (nccl on GPUs, gloo on CPUs) and leaves them; one process alone joins nothing.

    Before it leaves, what still refers to the group (a DistributedDataParallel in a cycle) is collected: the group's
    threads end with its last reference, and one that lives on while Python shuts down aborts the process.

    After an error an nccl group is not left: that would wait for the others, and they for this process. See `end`.
    """
    if process.world_size == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=datetime.timedelta(minutes=30))
    try:
        yield
    except RuntimeError as error:
        if "gloo" not in str(error) or "onnection" not in str(error):
            raise
        message = f"process {process.rank}: another process of this run has ended, and so does this one"
        print(message, file=sys.stderr, flush=True)
        os._exit(1)  # the other process reports why; a traceback here would hide its message
    except BaseException:
        if device.type != "cuda":
            _leave()
        raise
    _leave()


def _leave() -> None:
    gc.collect()
    dist.destroy_process_group()


def end(code: int) -> NoReturn:
    """Ends this process: at once, where it is still in a group, as Python's own end would wait for the others too."""
    if dist.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def vote(flags: tuple[bool, ...], process: Process) -> tuple[bool, ...]:
    """For each flag, whether it is set in any process; all must call it."""
    if process.world_size == 1:
        return flags
    votes = torch.tensor([int(flag) for flag in flags])
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return tuple(bool(v) for v in votes.tolist())


def from_main(work: Callable[[], T], process: Process) -> T:
    """What `work` returns in the main process, in every process; its ThoraxError too. All must call it."""
    if process.world_size == 1:
        return work()
    outcome: list[Any] = [None, None]
    if process.is_main:
        try:
            outcome[0] = work()
        except ThoraxError as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return cast(T, outcome[0])


def share_buffers(net: nn.Module, process: Process) -> None:
    """Gives every process the main one's buffers (batch norm's statistics); all must call it."""
    if process.world_size > 1:
        for buffer in net.buffers():
            dist.broadcast(buffer, 0)


def total(values: torch.Tensor, process: Process) -> torch.Tensor:
    """Sum over all processes of a CPU tensor; all must call it."""
    if process.world_size > 1:
        dist.all_reduce(values)
    return values


def gather(indices: np.ndarray, logits: np.ndarray, count: int, process: Process, once: bool = True) -> np.ndarray:
    """(count, L) float32: row i holds the logits of image i; corrupt images, which no process scored, are NaN.

    Args:
        once: whether an image that is given twice is an error; else one of its rows is taken.

    Raises:
        RuntimeError: an image was scored twice; the samplers are wrong.
    """
    parts: list[tuple[np.ndarray, np.ndarray]] = [(indices, logits)]
    if process.world_size > 1:
        gathered: list[tuple[np.ndarray, np.ndarray] | None] = [None] * process.world_size
        dist.all_gather_object(gathered, (indices, logits))
        parts = [part for part in gathered if part is not None]
    global_indices = np.concatenate([part[0] for part in parts])
    if once and (repeated := len(global_indices) - len(np.unique(global_indices))):
        raise RuntimeError(f"{repeated} images were scored more than once")
    rows = np.full((count, logits.shape[1]), np.nan, np.float32)
    for some, values in parts:
        rows[some] = values
    return rows
