"""One step of the Trainer, against plain torch: gradients, clipping, rates, the average of the weights."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim.swa_utils import AveragedModel

from images import FINDINGS, sample_set
from runs import equal
from thorax import models
from thorax.config import TrainingConfig
from thorax.data.loading import BatchRequest, ImageDataset, epoch_order
from thorax.training.ema import MovingAverage
from thorax.training.optimizers import build_optimizer
from thorax.training.schedules import rate
from trainers import TinyNet, a_trainer, copied, length

#: Losses of the first five steps of the run below; other instruction sets and thread counts give the same to 2e-6.
LOSSES = [0.728882, 0.726026, 0.723509, 0.771021, 0.697731]


def without_norm(outputs: int = 1) -> nn.Module:
    torch.manual_seed(5)
    return TinyNet(norm=False, outputs=outputs)


# -- Gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 3, 4, 8])
def test_steps_are_those_of_plain_torch_in_however_many_parts(train, tmp_path, parts):
    """Three labels, some unknown: a batch's mean is over the known ones, whichever part they are in."""
    targets = np.random.default_rng(0).choice([0, 1, np.nan], (len(train), 3), p=[0.4, 0.3, 0.3])
    images = sample_set(targets, space=FINDINGS, sources=list(train.table.sources))
    net = without_norm(3)
    trainer, record = a_trainer(images, tmp_path, net, epochs=1, learning_rate=0.3, accumulation_steps=parts)
    trainer.fit()
    plain, losses = copy.deepcopy(net), []
    sgd = torch.optim.SGD(plain.parameters(), lr=0.3)
    for places in epoch_order(len(images), 3, 0).reshape(-1, 8):
        x = trainer.preprocessing.tensor(ImageDataset(images, trainer.preprocessing)[BatchRequest(places)].images)
        y = torch.from_numpy(images.targets[places])
        loss = nn.functional.binary_cross_entropy_with_logits(plain(x)[~y.isnan()], y[~y.isnan()])
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    assert record.losses == pytest.approx(losses, abs=1e-5)
    moved = [float((value - net.state_dict()[key]).abs().max()) for key, value in plain.state_dict().items()]
    assert min(moved) > 1e-3
    for key, value in plain.state_dict().items():
        assert torch.allclose(trainer.net.state_dict()[key], value, atol=1e-5), key


def test_parts_of_a_batch_give_the_weights_of_the_whole_batch(train, tmp_path):
    one, four = (
        a_trainer(train, tmp_path / str(k), without_norm(), epochs=2, accumulation_steps=k, augmentation_type="xray")[0]
        for k in (1, 4)
    )
    shapes = []
    four.net.register_forward_pre_hook(lambda net, x: shapes.append(len(x[0])))
    for trainer in (one, four):
        trainer.fit()
    assert set(shapes) == {2}
    assert all(
        torch.allclose(value, four.net.state_dict()[key], atol=1e-6) for key, value in one.net.state_dict().items()
    )


@pytest.mark.parametrize("parts", [1, 4])
def test_a_longer_gradient_is_clipped_to_its_bound(train, tmp_path, parts):
    trainer, record = a_trainer(train, tmp_path, learning_rate=0.5, clip_grad_norm=0.01, accumulation_steps=parts)
    trainer.fit()
    assert min(length(gradients) for gradients in record.gradients_of) > 0.02
    assert [length(move) for move in record.moves()] == pytest.approx([0.5 * 0.01] * 8, rel=1e-3)
    for gradients, move in zip(record.gradients_of, record.moves(), strict=True):
        turned = sum(float((gradients[key] * -move[key]).sum()) for key in move)
        assert turned == pytest.approx(length(gradients) * length(move), rel=1e-3)


def test_a_shorter_gradient_is_left_alone_to_the_bit(train, tmp_path):
    free, bound = (a_trainer(train, tmp_path / str(clip), clip_grad_norm=clip)[0] for clip in (None, 1000.0))
    for trainer in (free, bound):
        trainer.fit()
    assert equal(copied(free.net), copied(bound.net))


def test_a_step_goes_through_its_stages_by_name(train, tmp_path):
    trainer, record = a_trainer(train, tmp_path, epochs=1, accumulation_steps=2)
    trainer.fit()
    part = ["augmentation", "forward", "backward"]
    assert record.stages == ["data", "copy", *part, *part, "optimizer", "logging"] * 4


# -- Rates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"lr_scheduler": "cosine", "warmup_epochs": 1.5, "layer_decay": 0.5},
        {"lr_scheduler": "step", "lr_scheduler_step": (1, 2), "layer_decay": 1.0},
        {"lr_scheduler": "constant", "layer_decay": 0.25},
    ],
)
def test_each_step_has_the_scheduled_rate_and_each_stage_its_share(train, tmp_path, settings):
    trainer, record = a_trainer(train, tmp_path, epochs=3, learning_rate=0.2, **settings)
    trainer.fit()
    stages = models.stages(record.nets[0])
    names = {id(p): key for key, p in record.nets[0].named_parameters()}
    assert len(record.losses) == 12
    for step, (gradients, move) in enumerate(zip(record.gradients_of, record.moves(), strict=True)):
        lr = rate(trainer.config, step / 4)
        for k, stage in enumerate(stages):
            keys = [names[id(p)] for p in stage.parameters()]
            scale = settings["layer_decay"] ** (len(stages) - 1 - k)
            gone, bound = length({key: move[key] for key in keys}), length({key: gradients[key] for key in keys})
            assert gone == pytest.approx(lr * scale * bound, rel=1e-3, abs=1e-7), (step, k)
    assert [row["learning_rate"] for row in trainer.state.history] == pytest.approx(
        [rate(trainer.config, epoch + 0.75) for epoch in range(3)]
    )


def test_an_epochs_loss_is_the_mean_over_its_own_steps(train, tmp_path):
    trainer, record = a_trainer(train, tmp_path, epochs=3, learning_rate=0.3)
    trainer.fit()
    means = np.array(record.losses).reshape(3, 4).mean(axis=1)
    assert [row["train_loss"] for row in trainer.state.history] == pytest.approx(means, abs=1e-6)
    assert np.ptp(means) > 0.01


def test_the_loss_curve_is_the_recorded_one(train, tmp_path):
    torch.manual_seed(3)
    net = models.build("cnn5", 1, 1, dropout=0.2)
    changed = {
        "optimizer": "nag",
        "momentum": 0.9,
        "weight_decay": 0.5,
        "learning_rate": 0.01,
        "lr_scheduler": "cosine",
        "warmup_epochs": 0.5,
    }
    trainer, record = a_trainer(
        train, tmp_path, net, epochs=2, augmentation_type="xray", label_smoothing=0.1, clip_grad_norm=1.0, **changed
    )
    trainer.fit()
    assert record.losses[:5] == pytest.approx(LOSSES, abs=1e-4)


# -- The average of the weights ------------------------------------------------------------------------------------


def walk(net: nn.Module, steps: int, seed: int = 1) -> list[nn.Module]:
    """The network after 1, 2, ... steps of a training that moves weights, statistics and the count of batches."""
    random, path = torch.Generator().manual_seed(seed), []
    for _ in range(steps):
        net = copy.deepcopy(net)
        for value in net.state_dict().values():
            value.add_(torch.randn(value.shape, generator=random) if value.is_floating_point() else 1)
        path.append(net)
    return path


@pytest.mark.parametrize("decay", [0.6, 0.998])
def test_the_average_is_torchs_with_the_same_warm_up_to_the_bit(decay):
    def move(averaged: list[torch.Tensor], current: list[torch.Tensor], count: torch.Tensor) -> None:
        n = int(count)
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))
        else:
            torch._foreach_copy_(averaged, current)

    torch.manual_seed(0)
    start = TinyNet()
    ours, theirs = MovingAverage(start, decay), AveragedModel(start, multi_avg_fn=move, use_buffers=True)
    for net in walk(start, 30):
        ours.update(net)
        theirs.update_parameters(net)
        assert equal(copied(ours.module), copied(theirs.module))
    assert ours.steps == 30
    assert int(ours.module.state_dict()["features.0.1.num_batches_tracked"]) == 30


def test_a_saved_average_goes_on_as_if_it_had_not_been():
    torch.manual_seed(0)
    start = TinyNet()
    path = walk(start, 15)
    whole, first, second = MovingAverage(start, 0.9), MovingAverage(start, 0.9), MovingAverage(TinyNet(), 0.9)
    for net in path:
        whole.update(net)
    for net in path[:6]:
        first.update(net)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for net in path[6:]:
        second.update(net)
    assert second.steps == 15
    assert equal(copied(second.module), copied(whole.module))


# -- The first step with a gradient scaler -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "nag"])
def test_a_first_step_that_the_scaler_skips_leaves_no_trace(name):
    torch.manual_seed(0)
    nets = [TinyNet(norm=False)]
    nets.append(copy.deepcopy(nets[0]))
    config = TrainingConfig(network="cnn5", optimizer=name, momentum=0.9, learning_rate=0.1)
    (skipping, plain), start = (build_optimizer(config, net) for net in nets), copied(nets[0])
    buffers = [skipping.state[p]["momentum_buffer"] for p in nets[0].parameters()]
    assert all(not buffer.any() for buffer in buffers)
    scaler = GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.zeros(()))
    for p in nets[0].parameters():
        p.grad = torch.full_like(p, float("inf"))
    scaler.step(skipping)
    scaler.update()
    assert equal(copied(nets[0]), start)
    assert all(not buffer.any() for buffer in buffers)
    for _ in range(3):
        for mine, theirs in zip(*(net.parameters() for net in nets), strict=True):
            theirs.grad = torch.randn_like(theirs)
            mine.grad = theirs.grad * scaler.get_scale()
        scaler.step(skipping)
        scaler.update()
        plain.step()
        assert equal(copied(nets[0]), copied(nets[1]))
    assert not equal(copied(nets[0]), start)


def test_half_precision_goes_on_after_a_skipped_first_step(train, tmp_path):
    trainer, record = a_trainer(train, tmp_path, precision="float16", momentum=0.9)
    hook = trainer.net.fc.weight.register_hook(
        lambda gradient: gradient * float("inf") if not record.losses else gradient
    )
    trainer.fit()
    hook.remove()
    moves = [length(move) for move in record.moves()]
    assert moves[0] == 0
    assert moves[1] == pytest.approx(0.05 * length(record.gradients_of[1]), rel=1e-3)
    assert np.isfinite(moves).all()
    assert trainer.scaler.get_scale() < 65536
