"""A run of the Trainer: the epoch that is kept, when it ends, what it warns of, and what is frozen."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from runs import equal
from thorax import models
from thorax.data.loading import BatchRequest, ImageDataset
from thorax.data.samples import SampleSet
from thorax.errors import ThoraxError
from thorax.text import counted
from thorax.training import meter
from thorax.training import trainer as module
from thorax.training.ema import MovingAverage
from trainers import TinyNet, a_trainer, before_each_batch, copied, some_images, validated_as

#: Logits of two normal images and two others, by the AUC that they have.
LOGITS = {1.0: [-1, -1, 1, 1], 0.75: [-1, 1, 1, 1], 0.5: [1, 1, 1, 1], 0.0: [1, 1, -1, -1]}
#: Their AUC is 0.75 and their loss 0.45; that of [0.1, 0.1, 0.2, 0.2] is 1, and 0.67.
MIXED = [-9, 1, 9, 0.5]
#: AUC 1, and half of the decisions wrong.
POSITIVE = [3, 4, 5, 6]


def scaled(*by: float) -> list[list[float]]:
    """Logits of AUC 1, surer and surer with the scale: the loss falls."""
    return [[value * scale for value in LOGITS[1.0]] for scale in by]


# -- The epoch that is kept ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "logits", "best"),
    [
        ("auc", [LOGITS[0.5], LOGITS[1.0], LOGITS[0.75]], 1),
        ("auc", [LOGITS[1.0], LOGITS[0.75], LOGITS[0.5]], 0),
        ("auc", [LOGITS[0.5], LOGITS[0.75], LOGITS[1.0]], 2),
        ("auc", scaled(1, 3, 2), 1),
        ("auc", scaled(3, 1, 3), 0),
        ("auc", [MIXED, [0.1, 0.1, 0.2, 0.2], MIXED], 1),
        ("loss", [MIXED, [0.1, 0.1, 0.2, 0.2], MIXED], 0),
        ("loss", scaled(1, 2, 3), 2),
        ("loss", scaled(3, 2, 1), 0),
        ("loss", [LOGITS[0.5], LOGITS[1.0], LOGITS[0.75]], 1),
        ("accuracy", [POSITIVE, LOGITS[0.75], POSITIVE], 1),
        ("balanced_accuracy", [POSITIVE, LOGITS[0.75], POSITIVE], 1),
        ("f1", [[-1, -1, -1, 1], LOGITS[0.75], [-1, -1, -1, 1]], 1),
    ],
)
def test_the_best_epoch_is_kept_and_scored(train, tmp_path, monkeypatch, objective, logits, best):
    trainer, record = a_trainer(train, tmp_path, epochs=3, objective=objective)
    validated_as(trainer, monkeypatch, logits)
    assert trainer.fit()
    assert equal(copied(trainer.eval_model), record.eval_models[2])
    assert trainer.load_best() == best
    assert equal(copied(trainer.eval_model), record.eval_models[best])
    assert not any(equal(record.eval_models[best], other) for k, other in enumerate(record.eval_models) if k != best)
    assert np.allclose(trainer.logits(train), outputs(record.eval_models[best], trainer, train), atol=1e-5)


def test_the_best_epochs_average_comes_back_and_the_network_stays(train, tmp_path, monkeypatch):
    trainer, record = a_trainer(train, tmp_path, epochs=2, ema_decay=0.5)
    validated_as(trainer, monkeypatch, [LOGITS[1.0], LOGITS[0.5]])
    trainer.fit()
    assert trainer.load_best() == 0
    assert equal(copied(trainer.eval_model), record.eval_models[0])
    assert equal(copied(trainer.net), copied(record.nets[-1]))


def test_the_loss_decides_where_the_objective_is_undefined(train, tmp_path, monkeypatch):
    normal = train.subset([0, 1, 2], "validation")
    trainer, _ = a_trainer(train, tmp_path, validation=normal, epochs=3)
    given = iter([0.0, -2.0, -1.0])
    read = trainer.validation_logits
    monkeypatch.setattr(trainer, "validation_logits", lambda: np.full_like(read(), next(given)))
    trainer.fit()
    assert all(np.isnan(row["validation_auc"]) for row in trainer.state.history)
    assert trainer.load_best() == 1


def outputs(weights: dict[str, torch.Tensor], trainer: module.Trainer, images: SampleSet) -> np.ndarray:
    """What a network of these weights says of the images, without the trainer's hand in it."""
    net = TinyNet()
    net.load_state_dict(weights)
    batch = ImageDataset(images, trainer.preprocessing)[BatchRequest(np.arange(len(images)))]
    with torch.no_grad():
        return net.eval()(trainer.preprocessing.tensor(batch.images)).numpy()


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_average_is_scored_and_kept_where_there_is_one_else_the_network(train, tmp_path, decay):
    trainer, record = a_trainer(train, tmp_path, epochs=1, ema_decay=decay, learning_rate=0.3)
    trainer.fit()
    expected = copied(record.nets[-1])
    if decay:
        average = MovingAverage(record.nets[0], decay)
        for net in record.nets[1:]:
            average.update(net)
        expected = copied(average.module)
        assert not equal(expected, copied(trainer.net))
    assert equal(copied(trainer.net), copied(record.nets[-1]))
    assert equal(trainer.checkpoints.load_best()["model"], expected)
    assert np.allclose(trainer.logits(train), outputs(expected, trainer, train), atol=1e-5)
    some = trainer.validation_images
    loss = nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(outputs(expected, trainer, some)), torch.from_numpy(some.targets)
    )
    assert trainer.state.history[0]["validation_loss"] == pytest.approx(float(loss), abs=1e-5)


# -- The end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "aucs", "epochs"),
    [
        ({"early_stopping_patience": 2}, [1.0, 0.5, 0.5, 1.0, 1.0, 1.0], 3),
        ({"early_stopping_patience": 3}, [1.0, 0.5, 0.5, 1.0, 1.0, 1.0], 4),
        ({"early_stopping_patience": 2, "early_stopping_min_epochs": 5}, [1.0, 0.5, 0.5, 0.5, 0.5, 0.5], 5),
        ({"early_stopping_patience": 2}, [0.0, 0.0, 0.5, 0.5, 0.75, 1.0], 6),
        ({"early_stopping_patience": 1, "early_stopping_tolerance": 0.3}, [0.0, 0.5, 0.75, 1.0, 1.0, 1.0], 3),
        ({"early_stopping": False, "early_stopping_patience": 1}, [1.0, 0.5, 0.5, 0.5, 0.5, 0.5], 6),
    ],
)
def test_early_stopping_ends_after_its_patience_and_not_before_its_least(
    train, tmp_path, monkeypatch, settings, aucs, epochs
):
    lines: list[str] = []
    usual = {"epochs": 6, "early_stopping": True, "early_stopping_min_epochs": 1}
    trainer, _ = a_trainer(train, tmp_path, log=lines.append, **usual | settings)
    validated_as(trainer, monkeypatch, [LOGITS[auc] for auc in aucs])
    assert trainer.fit()
    assert [row["validation_auc"] for row in trainer.state.history] == aucs[:epochs]
    assert trainer.load_best() == aucs.index(max(aucs[:epochs]))
    found = [line for line in lines if "stopped early" in line]
    assert found == (
        [f"stopped early: auc has not improved for {counted(trainer.state.bad_epochs, 'epoch')}"] if epochs < 6 else []
    )


@pytest.mark.parametrize(("logit", "loss"), [(float("nan"), "nan"), (3e38, "inf")])
def test_a_loss_that_is_not_finite_ends_the_run_and_names_step_and_rate(train, tmp_path, logit, loss):
    trainer, record = a_trainer(
        train, tmp_path, learning_rate=0.01, lr_scheduler="step", lr_scheduler_step=(1,), checkpoint_minutes=0.0
    )
    trainer.net.register_forward_hook(lambda net, _, logits: logits * 0 + logit if len(record.losses) == 6 else logits)
    with pytest.raises(
        ThoraxError, match=re.escape(f"the loss is {loss} at epoch 2 step 3, learning_rate=0.00100000; lower")
    ):
        trainer.fit()
    saved = trainer.checkpoints.load_latest()
    assert saved["state"]["global_step"] == 6
    assert equal(saved["model"], copied(record.nets[6]))


# -- Images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "compute", "percent"), [(1, 9, "10 %"), (6, 94, "6 %"), (4, 96, None), (0, 1, None), (3, 1, "75 %")]
)
def test_waiting_for_images_is_measured_and_logged_above_5_percent(
    train, tmp_path, monkeypatch, read, compute, percent
):
    lines: list[str] = []
    trainer, _ = a_trainer(train, tmp_path, log=lines.append, epochs=1)
    clock = SimpleNamespace(now=0.0)

    def passes(seconds: float) -> None:
        clock.now += seconds

    for timed in (module, meter):
        monkeypatch.setattr(timed, "time", SimpleNamespace(monotonic=lambda: clock.now))
    before_each_batch(monkeypatch, lambda *_: passes(read))
    trainer.net.register_forward_hook(lambda *_: passes(compute))
    trainer.fit()
    row = trainer.state.history[0]
    assert row["data_wait"] == pytest.approx(read / (read + compute))
    assert row["images_per_second"] == pytest.approx(8 / (read + compute))
    assert row["epoch_seconds"] >= read + compute  # and validation
    found = [line for line in lines if "waiting for images" in line]
    assert len(found) == (percent is not None)
    assert not found or found[0].startswith(
        f"warning: {percent} of the time was spent waiting for images; raise num_workers (now 0)"
    )


@pytest.mark.parametrize("balanced", [False, True])
def test_the_balanced_sampler_draws_rare_and_common_images_alike(images, tmp_path, monkeypatch, balanced):
    train = some_images(images, normal=18, pneumonia=2)
    trainer, _ = a_trainer(train, tmp_path, epochs=20, batch_size=20, balanced_sampler=balanced)
    drawn: list[int] = []
    before_each_batch(monkeypatch, lambda request: drawn.extend(request.places if request.epoch is not None else ()))
    trainer.fit()
    assert len(drawn) == 400
    share = float(train.targets[drawn, 0].mean())
    assert share == pytest.approx(0.5, abs=0.06) if balanced else share == pytest.approx(0.1)
    assert set(drawn) == set(range(20))


# -- Freezing and precision ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freeze", "unfreeze", "trained"),
    [
        ("head", (), [1, 1, 1, 1]),
        ("head", (1, 3), [1, 2, 2, 3]),
        ("head", (1, 2, 3), [1, 2, 3, 4]),
        ("head", (0, 1, 1), [2, 4, 4, 4]),
        ("none", (), [4, 4, 4, 4]),
    ],
)
def test_frozen_stages_keep_every_bit_and_thaw_at_their_epochs(train, tmp_path, freeze, unfreeze, trained):
    trainer, record = a_trainer(
        train, tmp_path, epochs=4, optimizer="adamw", weight_decay=0.1, freeze=freeze, unfreeze_epochs=unfreeze
    )
    trainer.fit()
    steps = trainer.steps_per_epoch
    for epoch, count in enumerate(trained):
        before, after = (models.stages(record.nets[k * steps]) for k in (epoch, epoch + 1))
        for k, (old, new) in enumerate(zip(before, after, strict=True)):
            moves = k >= len(before) - count
            same = [torch.equal(value, new.state_dict()[key]) for key, value in old.state_dict().items()]
            assert not any(same) if moves else all(same), (epoch, k)


def test_bfloat16_trains_and_keeps_float32_weights(train, tmp_path):
    trainer, _ = a_trainer(train, tmp_path, epochs=12, precision="bfloat16", optimizer="adamw", learning_rate=0.01)
    kinds: set[torch.dtype] = set()
    trainer.net.fc.register_forward_hook(lambda net, _, logits: kinds.add(logits.dtype))
    trainer.fit()
    assert kinds == {torch.bfloat16}
    losses = [row["train_loss"] for row in trainer.state.history]
    assert losses[-1] < losses[0] / 3
    saved = trainer.checkpoints.load_best()["model"]
    assert {value.dtype for key, value in saved.items() if "num_batches" not in key} == {torch.float32}
    assert not any(
        torch.equal(value, value.bfloat16().float()) for key, value in saved.items() if key.endswith("weight")
    )
    assert trainer.logits(train).dtype == np.float32
