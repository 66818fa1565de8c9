"""Out of memory, as advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError

#: In the messages of plain errors: of the CPU's allocator, of the driver and nccl, of cuBLAS as it starts.
WORDS = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


@contextmanager
def advise(config: TrainingConfig, device: torch.device) -> Iterator[None]:
    """Turns an out-of-memory error inside into a ThoraxError that names the settings to change."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.cuda.OutOfMemoryError) and not any(words in str(error) for words in WORDS):
            raise
        height, width = config.image_size
        raise ThoraxError(
            f"out of memory on {device} with batch_size={config.batch_size},"
            f" accumulation_steps={config.accumulation_steps}, image_shape={config.channels},{height},{width}; raise"
            f" accumulation_steps (to {2 * config.accumulation_steps}), "
            + ("" if config.activation_checkpointing else "set activation_checkpointing=true, ")
            + "or lower batch_size or image_shape"
        ) from None
    except MemoryError:
        raise ThoraxError(
            f"out of memory with num_workers={config.num_workers}; lower num_workers or batch_size"
        ) from None
