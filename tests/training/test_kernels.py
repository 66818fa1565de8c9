"""The choice of a GPU's kernels belongs to the process: it is made and put back; a CPU is left alone."""

from __future__ import annotations

import os

import pytest
import torch

from thorax.training.kernels import first_step, gpu_kernels


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


CPU = torch.device("cpu")


def test_a_first_step_has_a_line_where_it_compiles_or_is_slow():
    assert first_step(4.9, False, CPU) == ""
    assert first_step(31.25, True, CPU) == "first step: 31.2 s: compile=true compiles the network in it"
    assert first_step(8.8, False, torch.device("cuda")) == "first step: 8.8 s: cuDNN tries its kernels"
    told = first_step(45.3, True, torch.device("cuda"))
    assert told == "first step: 45.3 s: compile=true compiles the network in it and cuDNN tries its kernels"
    assert first_step(6.0, False, CPU) == "first step: 6.0 s"
