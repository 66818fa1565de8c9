"""Out of memory is reported as advice."""

from __future__ import annotations

import pytest
import torch

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.training import memory


def test_the_advice_names_settings_and_their_values() -> None:
    config = TrainingConfig(batch_size=48, accumulation_steps=2, image_shape=(1, 896, 896))
    with (
        pytest.raises(ThoraxError, match="batch_size=48, accumulation_steps=2, image_shape=1,896,896") as caught,
        memory.advise(config, torch.device("cpu")),
    ):
        torch.empty(2**62, dtype=torch.uint8)
    assert "raise accumulation_steps (to 4), set activation_checkpointing=true" in str(caught.value)


def test_what_is_set_already_is_not_advised() -> None:
    config = TrainingConfig(activation_checkpointing=True)
    with pytest.raises(ThoraxError) as caught, memory.advise(config, torch.device("cpu")):
        torch.empty(2**62, dtype=torch.uint8)
    assert "activation_checkpointing" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"]
)
def test_what_a_gpu_says_is_known(text: str) -> None:
    with pytest.raises(ThoraxError, match="out of memory on cpu"), memory.advise(TrainingConfig(), torch.device("cpu")):
        raise RuntimeError(text)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory.advise(TrainingConfig(), torch.device("cpu")):
        torch.zeros(2).view(3)
