"""Averaging the weights of the last epochs: the mean, its batch norms, whether it is kept, and what the run says."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import update_bn

import trainers
from conftest import TINY
from thorax import Bundle, train
from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.training.averaging import finish_average
from thorax.training.swa import MEASURED, measured_on


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    """A trainer after three epochs, of which the last two are averaged, its record and what it said."""
    said: list[str] = []
    samples = trainers.some_images(images)
    folder = tmp_path_factory.mktemp("swa")
    settings = {"epochs": 3, "swa_epochs": 2, "objective": "loss", "learning_rate": 0.02}
    trainer, record = trainers.a_trainer(samples, folder, log=said.append, **settings)
    assert trainer.fit()
    return trainer, record, said


def test_the_mean_of_the_last_epochs_weights(finished):
    trainer, record, _ = finished
    assert trainer.swa.count == 2
    for name, value in trainer.swa.module.named_parameters():
        mean = (record.eval_models[1][name] + record.eval_models[2][name]) / 2
        torch.testing.assert_close(value, mean)


def test_batch_norms_are_measured_as_torch_does_it(finished):
    trainer, _, _ = finished
    theirs = copy.deepcopy(trainer.swa.module)
    batches = [
        trainer.evaluator.dataset(trainer.train_images, 1)[request]
        for request in measured_on(len(trainer.train_images), trainer.batch_size)
    ]
    update_bn([trainer.prepare(b.images, b.draws) for b in batches], theirs)
    ours = trainer.swa.module.state_dict()
    norms = [name for name in ours if "running" in name]
    assert len(norms) == 4
    for name in norms:
        torch.testing.assert_close(ours[name], theirs.state_dict()[name])
        assert not torch.allclose(ours[name], trainer.net.state_dict()[name], rtol=1e-4)


def test_it_is_kept_where_validation_says_so(finished):
    trainer, _, said = finished
    (line,) = [line for line in said if line.startswith("average of epochs 2 to 3: loss on validation ")]
    best = trainer.checkpoints.load_best()
    losses = [row["validation_loss"] for row in trainer.state.history]
    if line.endswith("; kept"):
        assert trainer.swa_row["validation_loss"] <= min(losses)
        wanted = trainer.swa.module.state_dict()
    else:
        assert not trainer.swa_row and "not kept: epoch" in line
        wanted = trainers.copied(trainer.net) if int(np.argmin(losses)) == 2 else None
    assert wanted is None or all(torch.equal(best["model"][k], v) for k, v in wanted.items())


@pytest.mark.usefixtures("signals_as_before")
def test_the_bundle_of_a_run_that_kept_it(images, tmp_path, capsys):
    config = {**TINY, "network": "shufflenet_v2_x0_5", "swa_epochs": "2", "objective": "loss"}
    config |= {"learning_rate": "0.02", "optimizer": "sgd", "lr_scheduler": "constant"}
    result = train(config, train=images / "train", output=tmp_path)
    lines = capsys.readouterr().out.splitlines()
    (told,) = [line for line in lines if line.startswith("average of epochs 1 to 2: loss on validation")]
    kept = told.endswith("; kept")
    assert ("averaged_epochs" in result.metrics) == kept
    loss = min(row["validation_loss"] for row in result.history)
    assert result.metrics["at_best_epoch"]["validation_loss"] <= loss
    assert any(line.startswith("average of epochs 1 to 2: train_loss" if kept else "best epoch ") for line in lines)
    assert Bundle.load(result.bundle).configuration["swa_epochs"] == 2


def test_a_refit_keeps_it_whatever_its_training_images_say(images, tmp_path):
    settings = {"epochs": 2, "swa_epochs": 2, "objective": "loss", "learning_rate": 0.02}
    trainer, _ = trainers.a_trainer(trainers.some_images(images), tmp_path, **settings)
    trainer.keep_last = True  # as held-out answers in a refit's data do
    trainer.state.best_value = 1e9
    finish_average(trainer, trainer.swa)
    assert trainer.swa_row and trainer.checkpoints.load_best()["epoch"] == 1


class Killed(Exception):  # noqa: N818  stands for a kill
    pass


@pytest.mark.parametrize("step", [3, 5, 6, 9, 11])
def test_a_run_that_breaks_off_anywhere_goes_on_to_the_same_bits(finished, images, tmp_path, step):
    settings = {"epochs": 3, "swa_epochs": 2, "objective": "loss", "learning_rate": 0.02}
    samples = trainers.some_images(images)
    settings |= {"checkpoint_frequency": 1}
    trainer, record = trainers.a_trainer(samples, tmp_path, **settings)

    def kill(number, loss, rate):
        if number == step:
            raise Killed

    record.step = kill
    with pytest.raises(Killed):
        trainer.fit()
    again, _ = trainers.a_trainer(samples, tmp_path, **settings)
    assert again.fit()
    whole = finished[0].swa
    assert again.swa.count == whole.count == 2
    for name, value in whole.module.state_dict().items():
        assert torch.equal(again.swa.module.state_dict()[name], value)
    assert again.swa_row == finished[0].swa_row


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"swa_epochs": 1}, "swa_epochs=1 must be 2 to epochs=5, or 0: off"),
        ({"swa_epochs": 6}, "swa_epochs=6 must be 2 to epochs=5"),
        ({"swa_epochs": 2, "early_stopping": True}, "which epochs are the last ones would not be known"),
    ],
)
def test_what_cannot_be_averaged_is_refused(values, message):
    with pytest.raises(ThoraxError, match=message):
        TrainingConfig(epochs=5, **values)


@pytest.mark.parametrize(("images", "batch", "sizes"), [(10, 4, [4, 4]), (3, 4, [3]), (8, 4, [4, 4])])
def test_whole_batches_evenly_from_all(images, batch, sizes):
    assert [len(request.places) for request in measured_on(images, batch)] == sizes


def test_large_sets_are_sampled_evenly():
    places = np.concatenate([request.places for request in measured_on(100_000, 64)])
    assert len(places) == len(set(places.tolist())) == MEASURED
    assert np.diff(places).max() <= 26
