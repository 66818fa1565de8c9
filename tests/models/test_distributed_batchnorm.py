"""Batch norm over all processes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from networks import random_images
from thorax.models import build, sync_batchnorm
from thorax.models.distributed_batchnorm import SyncBatchNormCPU


@pytest.fixture
def one_process(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_synced_batch_norm_of_one_process_is_batch_norm(one_process, offset):
    plain, synced = nn.BatchNorm2d(5), SyncBatchNormCPU(5)
    for norm in (plain, synced):
        torch.manual_seed(2)
        nn.init.uniform_(norm.weight)
        nn.init.uniform_(norm.bias)
    for _ in range(3):
        x = (torch.randn(4, 5, 6, 7) * 2 + offset).requires_grad_()
        y = x.detach().clone().requires_grad_()
        upstream = torch.randn(4, 5, 6, 7)
        left, right = plain(x), synced(y)
        left.backward(upstream)
        right.backward(upstream)
        torch.testing.assert_close(right, left, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(y.grad, x.grad, atol=1e-4, rtol=1e-3)
    for name in ("weight", "bias"):
        torch.testing.assert_close(getattr(synced, name).grad, getattr(plain, name).grad, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(synced.running_mean, plain.running_mean)
    torch.testing.assert_close(synced.running_var, plain.running_var, atol=1e-4, rtol=1e-4)
    assert synced.num_batches_tracked == plain.num_batches_tracked == 3
    x = torch.randn(2, 5, 3, 3)
    torch.testing.assert_close(synced.eval()(x), plain.eval()(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "cnn5"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_synced_network_trains_as_before(one_process, name, checkpointing):
    plain = build(name, 1, 2, activation_checkpointing=checkpointing)
    synced = sync_batchnorm(copy.deepcopy(plain), "cpu")
    norms = [m for m in synced.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(type(m) is SyncBatchNormCPU for m in norms)
    assert list(synced.state_dict()) == list(plain.state_dict())
    exact = copy.deepcopy(plain).double()  # torch's own float32 gradients are some 3e-3 off from it
    x = random_images(count=4, size=(64, 64))
    exact(x.double()).square().sum().backward()
    synced(x).square().sum().backward()
    for (key, left), right in zip(exact.named_parameters(), synced.parameters(), strict=True):
        assert float((right.grad - left.grad).norm() / left.grad.norm()) < 0.02, key
    for (key, left), right in zip(exact.named_buffers(), synced.buffers(), strict=True):
        torch.testing.assert_close(right.double(), left.double(), atol=1e-4, rtol=1e-3, msg=key)


def test_synced_batch_norm_keeps_the_images_dtype(one_process):
    x = torch.randn(2, 3, 4, 4, dtype=torch.bfloat16)
    assert SyncBatchNormCPU(3)(x).dtype == torch.bfloat16


def test_on_a_gpu_torchs_own_is_taken():
    synced = sync_batchnorm(build("cnn5", 1, 1), "cuda")
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in synced.modules()) == 5
