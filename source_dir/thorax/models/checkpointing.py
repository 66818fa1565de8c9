"""Activation checkpointing: less memory for a second forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_activations(blocks: Iterable[nn.Module]) -> None:
    """Makes every block, a module of one input, compute its inside again in the backward pass."""
    for block in blocks:
        # A bound method, so that a deep copy of the network (the average of the weights) has its own.
        block.forward = MethodType(_again(type(block).forward), block)  # type: ignore[method-assign]


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(block: nn.Module, x: torch.Tensor) -> Any:
        if not torch.is_grad_enabled():
            return forward(block, x)
        return checkpoint(
            forward, block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(block))
        )

    return run


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Batch norm's running statistics stay as they are: the second pass over the same images must not count."""
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [(m.momentum, m.num_batches_tracked.clone() if m.num_batches_tracked is not None else None) for m in norms]
    for m in norms:
        m.momentum = 0.0
    try:
        yield
    finally:
        for m, (momentum, tracked) in zip(norms, kept, strict=True):
            m.momentum = momentum
            if tracked is not None and m.num_batches_tracked is not None:
                m.num_batches_tracked.copy_(tracked)
