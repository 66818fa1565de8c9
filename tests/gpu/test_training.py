"""Training steps on a GPU against float32 on the CPU, and that no step waits for the GPU."""

from __future__ import annotations

import pytest
import torch

from thorax.data.loading import BatchRequest, ImageDataset
from thorax.training.kernels import gpu_kernels
from thorax.training.loss_log import READ_EVERY

from .conftest import losses

CPU = torch.device("cpu")
pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def exact(gpu):
    """float32 means float32, unless a test says otherwise."""
    with gpu_kernels(False, gpu):
        yield


@pytest.mark.parametrize(
    "settings", [{}, {"channels_last": False}, {"augmentation_type": "xray"}, {"optimizer": "adamw"}]
)
def test_float32_steps_are_those_of_the_cpu(gpu, make, settings):
    settings = {"learning_rate": 1e-4, **settings}
    found, want = losses(make(gpu, **settings)), losses(make(CPU, **settings))
    assert found[0] == pytest.approx(want[0], rel=1e-3)
    assert found == pytest.approx(want, rel=0.03)  # rounding grows from step to step


def change_of(trainer) -> tuple[float, torch.Tensor]:
    """The first step's loss, and what that step of plain gradient descent did to the weights."""
    before = [p.detach().clone() for p in trainer.net.parameters()]
    loss = losses(trainer, 1)[0]
    return loss, torch.cat([(p - b).flatten() for p, b in zip(trainer.net.parameters(), before, strict=True)]).detach()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_step_of_short_floats_goes_the_way_of_float32(gpu, make, precision):
    settings = {"learning_rate": 1e-2, "image_shape": (1, 64, 64), "batch_size": 16}
    short = make(gpu, precision, **settings)
    if precision == "float16":  # at its first scale, 65536, a scaler may skip a step; at a low one gradients vanish
        short.scaler.load_state_dict({**short.scaler.state_dict(), "scale": 1024.0})
    found, change = change_of(short)
    want, true = change_of(make(gpu, **settings))
    assert found == pytest.approx(want, rel=0.02)
    # bfloat16 keeps 8 bits, float16 11. Through 18 layers with batch norm, at random weights, the cosine of bfloat16's
    # gradient was 0.947 on a CPU. Rounding makes a change longer, but not along the true one.
    assert float(torch.cosine_similarity(change, true, dim=0)) > (0.85 if precision == "bfloat16" else 0.95)
    assert float(change @ true / (true @ true)) == pytest.approx(1.0, rel=0.1)


def test_float16_has_a_scaler_that_skips_overflowing_steps(cuda, make):
    trainer = make(cuda, "float16", momentum=0.9, clip_grad_norm=1.0, ema_decay=0.9)
    assert trainer.scaler.is_enabled()
    losses(trainer, 1)
    trainer.scaler.update(1e30)
    before = [p.clone() for p in trainer.net.parameters()]
    losses(trainer, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.net.parameters(), strict=True))
    assert trainer.scaler.get_scale() < 1e30
    trainer.scaler.update(1024.0)
    losses(trainer, 1)
    assert not all(torch.equal(a, b) for a, b in zip(before, trainer.net.parameters(), strict=True))


def test_tf32_is_a_choice_and_is_put_back(cuda):
    torch.manual_seed(0)
    x, w = torch.randn(8, 64, 32, 32, device=cuda), torch.randn(64, 64, 3, 3, device=cuda)
    a, b = torch.randn(512, 512, device=cuda), torch.randn(512, 512, device=cuda)
    true = torch.nn.functional.conv2d(x.double(), w.double()), a.double() @ b.double()
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    errors = {}
    for tf32 in (False, True):
        with gpu_kernels(tf32, cuda):
            assert torch.backends.cudnn.benchmark
            found = torch.nn.functional.conv2d(x, w), a @ b
        errors[tf32] = [float((f - t).norm() / t.norm()) for f, t in zip(found, true, strict=True)]
    assert max(errors[False]) < 2e-6
    if torch.cuda.get_device_capability(cuda) >= (8, 0):
        assert min(errors[True]) > 5e-5
    assert max(errors[True]) < 5e-3
    now = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    assert now == before


def test_deterministic_steps_give_the_same_bits_and_the_mode_is_put_back(gpu, make):
    found = []
    for _ in range(2):
        with gpu_kernels(False, gpu, deterministic=True):
            assert torch.are_deterministic_algorithms_enabled() == (gpu.type == "cuda")
            trainer = make(gpu, "bfloat16", network="densenet121", augmentation_type="xray", momentum=0.9)
            found.append((losses(trainer, 3), [p.detach().clone() for p in trainer.net.parameters()]))
    assert not torch.are_deterministic_algorithms_enabled()
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


def test_accumulation_gives_the_same_losses_but_for_batch_norm(gpu, make):
    """Without batch norm in the way: cnn5's norms see half batches, so its first loss alone is compared loosely."""
    whole, parts = make(gpu), make(gpu, accumulation_steps=2)
    assert losses(parts, 1) == pytest.approx(losses(whole, 1), rel=0.2)
    assert len(set(losses(parts, 3))) == 3


@pytest.mark.parametrize("network", ["resnet50", "densenet121"])
def test_activation_checkpointing_gives_the_same_losses(gpu, make, network):
    settings = {"network": network, "learning_rate": 1e-4, "image_shape": (1, 64, 64)}
    plain = losses(make(gpu, **settings), 2)
    assert losses(make(gpu, activation_checkpointing=True, **settings), 2) == pytest.approx(plain, rel=2e-3)


def test_compile_gives_the_same_losses(cuda, make):
    """Of the network and of the augmentation, which is compiled too."""
    settings = {"learning_rate": 1e-4, "augmentation_type": "xray"}
    plain = losses(make(cuda, **settings), 2)
    assert losses(make(cuda, compile=True, **settings), 2) == pytest.approx(plain, rel=5e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_never_waits_for_the_gpu(cuda, make, precision, optimizer):
    """torch raises for every call that waits; losses are read once in READ_EVERY steps."""
    assert READ_EVERY > 1
    settings = {"optimizer": optimizer, "augmentation_type": "xray", "clip_grad_norm": 1.0, "ema_decay": 0.9}
    trainer = make(cuda, precision, use_weighted_loss=True, label_smoothing=0.1, **settings)
    losses(trainer, 2)  # the first steps measure kernels and make the optimizer's state
    images = ImageDataset(trainer.train_images, trainer.preprocessing)
    batch = images[BatchRequest(torch.arange(trainer.batch_size).numpy(), epoch=0)].pin_memory()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            trainer.optimize(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_fit_with_workers_ends_and_scores(gpu, make):
    trainer = make(gpu, "bfloat16" if gpu.type == "cuda" else "float32", epochs=2, ema_decay=0.9)
    trainer.reader.workers = 2
    assert trainer.fit()
    assert len(trainer.state.history) == 2
    assert all(0 <= row["data_wait"] <= 1 and row["train_loss"] > 0 for row in trainer.state.history)
