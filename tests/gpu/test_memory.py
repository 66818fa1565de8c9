"""What fills a GPU's memory: these tests have the card for themselves."""

from __future__ import annotations

import pytest
import torch

from thorax.errors import ThoraxError
from thorax.training import memory

from .conftest import losses

pytestmark = [pytest.mark.gpu, pytest.mark.whole_gpu]


def test_a_full_gpu_becomes_advice_and_the_memory_comes_back(cuda, make):
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(cuda)
    free, _ = torch.cuda.mem_get_info(cuda)
    blocker = torch.empty(free - (1 << 30), dtype=torch.uint8, device=cuda)
    trainer = make(cuda, network="resnet50", image_shape=(1, 896, 896), batch_size=16)
    with (
        pytest.raises(ThoraxError, match="out of memory on cuda:0 with batch_size=16") as caught,
        memory.advise(trainer.config, cuda),
    ):
        losses(trainer, 1)
    assert "accumulation_steps=1, image_shape=1,896,896; raise accumulation_steps (to 2)" in str(caught.value)
    assert "set activation_checkpointing=true" in str(caught.value)
    assert caught.value.__suppress_context__
    del blocker, trainer, caught
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated(cuda) < before + (1 << 30)


def test_896_px_fit_and_checkpointing_saves_memory(cuda, make):
    peaks = {}
    for checkpointing in (False, True):
        trainer = make(
            cuda,
            "bfloat16",
            network="resnet50",
            image_shape=(1, 896, 896),
            batch_size=8,
            activation_checkpointing=checkpointing,
        )
        torch.cuda.reset_peak_memory_stats(cuda)
        assert all(loss == loss for loss in losses(trainer, 2))
        peaks[checkpointing] = torch.cuda.max_memory_allocated(cuda)
        del trainer
        torch.cuda.empty_cache()
    assert peaks[True] < 0.7 * peaks[False], peaks
