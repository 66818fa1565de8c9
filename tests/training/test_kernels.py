"""The choice of a GPU's kernels belongs to the process: it is made and put back; a CPU is left alone."""

from __future__ import annotations

import os

import pytest
import torch

from thorax.training.kernels import gpu_kernels


def modes() -> tuple[object, ...]:
    cudnn, filling = torch.backends.cudnn, torch.utils.deterministic
    return (
        torch.get_deterministic_debug_mode(),
        filling.fill_uninitialized_memory,
        cudnn.benchmark,
        cudnn.allow_tf32,
        torch.get_float32_matmul_precision(),
    )


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_cpu_is_left_alone(deterministic):
    before = modes()
    with gpu_kernels(True, torch.device("cpu"), deterministic):
        assert modes() == before


@pytest.mark.parametrize(
    ("deterministic", "inside"),
    [(False, (0, True, True, False, "highest")), (True, (1, False, False, False, "highest"))],
)
def test_a_gpus_modes_are_set_and_put_back(deterministic, inside, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = modes()
    with gpu_kernels(False, torch.device("cuda", 0), deterministic):
        assert modes() == inside
        assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == deterministic
    assert modes() == before
